//! What people and Flux read in a status, from a real API server: bad input with reason and fix,
//! columns, kstatus, events.

mod operator_kit;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use operator_kit::{Kit, QUICK, kstatus, says};
use serde_json::{Value, json};
use vmcp_tests::eventually::eventually;

fn remote(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": { "name": name, "labels": { "set": "main" } },
        "spec": { "remote": { "url": url, "allowInsecure": true } },
    })
}

/// Build 8: a URL that does not parse, a ref that names nobody and two equal prefixes are conditions
/// with reason and fix; every other backend is as if they were not there.
#[tokio::test]
async fn what_a_schema_cannot_see_is_said_and_stops_nobody_else() -> Result<()> {
    let kit = Kit::start("bad").await?;
    kit.create(&remote("good", "http://127.0.0.1:9/mcp"))
        .await?;
    kit.create(&remote("broken", "http://256.256.256.256/mcp"))
        .await?;
    kit.create(&remote("twin", "http://127.0.0.1:9/mcp"))
        .await?;
    let refs = json!({ "backends": { "refs": [
        { "name": "good" }, { "name": "nobody" }, { "name": "broken" },
        { "name": "twin", "prefix": "good_" }] } });
    kit.world.add_virtual("all", refs).await?;

    let object = kit
        .until_virtual("all", "all four are listed", |status| {
            status["backendCount"] == 4
        })
        .await?;
    let status = &object["status"];
    let list = status["discoveredBackends"].as_array().context("a list")?;
    let reasons: Vec<(&str, &str)> = list
        .iter()
        .map(|e| {
            (
                e["name"].as_str().unwrap_or("?"),
                e["reason"].as_str().unwrap_or("?"),
            )
        })
        .collect();
    ensure!(
        reasons
            == [
                ("broken", "InvalidUrl"),
                ("good", "Pending"),
                ("nobody", "BackendNotFound"),
                ("twin", "Pending")
            ],
        "{reasons:?}"
    );
    let conditions = status["conditions"].as_array().context("conditions")?;
    let discovered = conditions
        .iter()
        .find(|c| c["type"] == "BackendsDiscovered")
        .context("BackendsDiscovered")?;
    ensure!(discovered["status"] == "False");
    let message = discovered["message"].as_str().unwrap_or_default();
    for part in [
        "nobody",
        "create it or remove the ref",
        "broken",
        "good_",
        "give each a prefix",
    ] {
        ensure!(message.contains(part), "{part} is missing in: {message}");
    }
    ensure!(says(status, "Stalled") == "False/Reconciled");

    let broken = kit
        .until_server("broken", "it is stalled", |status| {
            says(status, "Stalled") == "True/InvalidUrl"
        })
        .await?;
    ensure!(kstatus(&broken) == "Failed");
    let good = kit
        .until_server("good", "it is visited", |status| {
            status["phase"] == "Pending"
        })
        .await?;
    ensure!(kstatus(&good) == "Current");
    Ok(())
}

/// R2.5, API truth table: Pending before anything is known, with every condition at the first visit.
#[tokio::test]
async fn a_new_virtual_server_is_pending_with_all_conditions() -> Result<()> {
    let kit = Kit::start("pending").await?;
    kit.world.add_virtual("all", json!({})).await?;

    let object = kit
        .until_virtual("all", "it is visited", |status| {
            status["phase"] == "Pending"
        })
        .await?;

    let status = &object["status"];
    let expected = [
        ("Ready", "Unknown/RollingOut"),
        ("Reconciling", "True/RollingOut"),
        ("Stalled", "False/Reconciled"),
        ("GatewayAvailable", "False/RollingOut"),
        ("BackendsReady", "Unknown/RollingOut"),
        ("BackendsDiscovered", "False/NoBackends"),
        ("ConflictsResolved", "Unknown/RollingOut"),
    ];
    for (type_, said) in expected {
        ensure!(
            says(status, type_) == said,
            "{type_}: {}",
            says(status, type_)
        );
    }
    let count = status["conditions"].as_array().map(Vec::len);
    ensure!(count == Some(expected.len()), "{count:?}");
    ensure!(status["observedGeneration"] == object["metadata"]["generation"]);
    ensure!(kstatus(&object) == "InProgress");
    Ok(())
}

/// R0.8: phase, failures and message are columns, for both kinds.
#[tokio::test]
async fn kubectl_get_shows_phase_and_message() -> Result<()> {
    let kit = Kit::start("columns").await?;
    kit.create(&remote("good", "http://127.0.0.1:9/mcp"))
        .await?;
    kit.world
        .add_virtual("all", json!({ "replicas": 0 }))
        .await?;
    kit.until_virtual("all", "it is visited", |status| status["backends"] == "0/1")
        .await?;
    kit.until_server("good", "it is visited", |status| {
        status["phase"] == "Pending"
    })
    .await?;

    let servers = kit.world.kubectl_get("mcpservers.vmcp.dev").await?;
    let virtuals = kit.world.kubectl_get("virtualmcpservers.vmcp.dev").await?;

    for (table, parts) in [
        (
            &servers,
            [
                "PHASE",
                "TRANSPORT",
                "MESSAGE",
                "Pending",
                "no running VirtualMCPServer",
            ],
        ),
        (
            &virtuals,
            ["PHASE", "READY", "MESSAGE", "0/1", "spec.replicas is 0"],
        ),
    ] {
        for part in parts {
            ensure!(table.contains(part), "{part} is missing in:\n{table}");
        }
    }
    Ok(())
}

/// API, events: on transitions, about the object, by the operator; none in a steady state.
#[tokio::test]
async fn transitions_are_events_and_each_is_told_once() -> Result<()> {
    let kit = Kit::start("events").await?;
    kit.create(&remote("one", "http://127.0.0.1:9/mcp")).await?;
    kit.world.add_virtual("all", json!({})).await?;
    kit.until_virtual("all", "it is listed", |status| status["backendCount"] == 1)
        .await?;

    kit.world.delete_server("one").await?;

    let reasons = || async {
        let events = kit.api::<Event>().list(&ListParams::default()).await?;
        let of_ours = events.items.into_iter().filter(|event| {
            event.reporting_controller.as_deref() == Some("vmcp.dev/vmcp-operator")
                && event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some("all")
        });
        anyhow::Ok(of_ours.filter_map(|event| event.reason).collect::<Vec<_>>())
    };
    eventually("both events", QUICK, || async {
        let found = reasons().await?;
        for reason in ["RolloutStarted", "BackendRemoved"] {
            ensure!(
                found.iter().any(|r| r == reason),
                "{reason} is missing in {found:?}"
            );
        }
        Ok(())
    })
    .await?;
    kit.until_quiet().await?;
    let found = reasons().await?;
    let removed = found
        .iter()
        .filter(|reason| *reason == "BackendRemoved")
        .count();
    ensure!(removed == 1, "{found:?}");
    Ok(())
}
