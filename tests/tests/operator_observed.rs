//! What the operator makes of what real gateways report: the status of an MCPServer, and kstatus of
//! both kinds from the start to the end of a gateway.

mod operator_kit;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{Config, Event};
use operator_kit::{Kit, kstatus, says};
use serde_json::{Value, json};
use tokio::time::timeout;
use vmcp_tests::backend::{Backend, Fault, Script};
use vmcp_tests::eventually::eventually;

/// A Lease that is not renewed is stale after 10 s; a busy machine needs some more.
const STALE: Duration = Duration::from_secs(30);

async fn one_gateway(prefix: &str, backend: &Backend) -> Result<Kit> {
    let kit = Kit::start(prefix).await?;
    kit.world.add_remote("git", &backend.url()).await?;
    let often = json!({ "healthCheck": { "periodSeconds": 1 } });
    kit.world.add_virtual("all", often).await?;
    Ok(kit)
}

/// T6, API truth table "all observers ready": the MCPServer says what its gateway found out, nothing
/// else, and kstatus of both kinds goes from InProgress to Current.
#[tokio::test]
async fn a_server_is_as_its_gateway_says() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let kit = one_gateway("observed", &backend).await?;
    kit.until_virtual("all", "it is visited", |status| status["backends"] == "0/1")
        .await?;
    ensure!(kstatus(&kit.virtual_object("all").await?) == "InProgress");

    let _gateway = kit.world.gateway("all").await?;

    let object = kit
        .until_server("git", "it is Ready", |status| status["phase"] == "Ready")
        .await?;
    let status = &object["status"];
    let entry = kit.virtual_object("all").await?["status"]["discoveredBackends"][0].clone();
    for field in [
        "tools",
        "protocolVersion",
        "serverInfo",
        "consecutiveFailures",
    ] {
        ensure!(
            status[field] == entry[field],
            "{field}: {status} and {entry}"
        );
    }
    ensure!(status["tools"].as_i64() > Some(0), "{status}");
    ensure!(status["observers"] == 1);
    ensure!(says(status, "Ready") == "True/AllObserversReady");
    ensure!(says(status, "Reachable") == "True/Reachable");
    ensure!(kstatus(&object) == "Current");
    let gateway = kit
        .until_virtual("all", "it is at rest", |status| {
            says(status, "Reconciling") == "False/Reconciled"
        })
        .await?;
    ensure!(kstatus(&gateway) == "Current", "{gateway}");
    Ok(())
}

/// R0.1, R0.4, R0.6, R2.4: a server that answers 500 is Unhealthy with the code and a growing counter
/// within 45 s, and Ready without a message at the first good check.
#[tokio::test]
async fn a_server_that_fails_is_unhealthy_with_the_code_and_comes_back() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let kit = one_gateway("failing", &backend).await?;
    let _gateway = kit.world.gateway("all").await?;
    kit.until_server("git", "it is Ready", |status| status["phase"] == "Ready")
        .await?;

    backend.set(Fault::http_status(500)).await?;
    let failing = kit
        .until_server("git", "it is Unhealthy", |status| {
            status["phase"] == "Unhealthy" && status["consecutiveFailures"].as_i64() >= Some(3)
        })
        .await?;
    let message = failing["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("500"), "{message}");
    ensure!(
        says(&failing["status"], "Ready") == "False/HttpStatus",
        "{failing}"
    );
    ensure!(kstatus(&failing) == "InProgress");
    let table = kit.world.kubectl_get("mcpservers.vmcp.dev").await?;
    ensure!(
        table.contains("Unhealthy") && table.contains("500"),
        "{table}"
    );

    backend.heal().await?;
    kit.until_server("git", "it is well again", |status| {
        status["phase"] == "Ready"
            && status.get("message").is_none()
            && status["consecutiveFailures"] == 0
    })
    .await?;
    Ok(())
}

/// API truth tables: "gateway away", and "no gateway observes it": when the only gateway is gone, the
/// aggregate is Failed, the server says that nobody looks at it, and no field stays from before that
/// nobody stands for.
#[tokio::test]
async fn without_its_gateway_a_server_is_no_longer_observed() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let kit = one_gateway("away", &backend).await?;
    let gateway = kit.world.gateway("all").await?;
    kit.until_server("git", "it is Ready", |status| status["phase"] == "Ready")
        .await?;

    gateway.program.kill()?;

    eventually("nobody observes it", STALE, || async {
        let object = kit.server("git").await?;
        let status = &object["status"];
        ensure!(
            status["observers"] == 0 && status["phase"] == "Pending",
            "{status}"
        );
        ensure!(says(status, "Ready") == "-", "{status}");
        ensure!(
            says(status, "Reachable") == "Unknown/NotObserved",
            "{status}"
        );
        ensure!(status.get("tools").is_none(), "{status}");
        ensure!(kstatus(&object) == "Current");
        Ok(())
    })
    .await?;
    let aggregate = kit
        .until_virtual("all", "it is Failed", |status| status["phase"] == "Failed")
        .await?;
    let status = &aggregate["status"];
    ensure!(
        says(status, "Ready") == "False/GatewayUnavailable",
        "{status}"
    );
    ensure!(
        says(status, "BackendsReady") == "Unknown/GatewayUnavailable",
        "{status}"
    );
    ensure!(
        status["backends"] == "0/1" && status["readyBackendCount"] == 0,
        "{status}"
    );
    let entry = &status["discoveredBackends"][0];
    ensure!(
        entry["state"] == "Pending" && entry["reason"] == "GatewayUnavailable",
        "{entry}"
    );
    ensure!(kstatus(&aggregate) == "InProgress");

    // R2.8: the entry is the gateway's, and the gateway is long gone.
    kit.world.delete_server("git").await?;
    eventually("the entry is gone", Duration::from_secs(5), || async {
        let object = kit.virtual_object("all").await?;
        let status = &object["status"];
        ensure!(status.get("discoveredBackends").is_none(), "{status}");
        ensure!(
            status["backends"] == "0/0" && status["toolCount"] == 0,
            "{status}"
        );
        Ok(())
    })
    .await
}

/// Every version of the object that the API server shows, until `last` is one of them.
async fn versions(kit: &Kit, last: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    let events = kube::runtime::watcher(kit.world.virtuals(), Config::default());
    let mut events = std::pin::pin!(events);
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await? {
        if let Event::Apply(object) | Event::InitApply(object) = event {
            let object = serde_json::to_value(object)?;
            let enough = last(&object["status"]);
            seen.push(object["status"].clone());
            if enough {
                return Ok(seen);
            }
        }
    }
    bail!("the watch ended")
}

/// Holds the gateway's Lease as somebody does who has just come.
async fn take_lease(kit: &Kit) -> Result<()> {
    let now = MicroTime(Timestamp::now());
    let spec = json!({ "spec": { "holderIdentity": "silent", "renewTime": now } });
    let params = PatchParams::default();
    kit.api::<Lease>()
        .patch("vmcp-all", &params, &Patch::Merge(spec))
        .await?;
    Ok(())
}

/// Decision 7, Show, hand-over: from the operator's word that the gateway is away until a gateway's
/// word that all is well, no version of the object lacks a served field.
#[tokio::test]
async fn no_field_is_missing_at_any_moment_of_a_hand_back() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let kit = one_gateway("handback", &backend).await?;
    let gateway = kit.world.gateway("all").await?;
    kit.until_virtual("all", "it is Ready", |status| status["phase"] == "Ready")
        .await?;
    gateway.program.kill()?;
    let failed = |status: &Value| status["phase"] == "Failed";
    let away = timeout(STALE, versions(&kit, failed)).await??;
    ensure!(!away.is_empty());

    // A gateway that has the Lease and has not written anything yet.
    take_lease(&kit).await?;
    let silent = |status: &Value| says(status, "GatewayAvailable") == "True/GatewayAvailable";
    let mut seen = timeout(STALE, versions(&kit, silent)).await??;

    let back = |status: &Value| {
        status["phase"] == "Ready" && says(status, "GatewayAvailable") == "True/GatewayAvailable"
    };
    let (_gateway, rest) = tokio::join!(
        kit.world.replica("all", "all-1"),
        timeout(STALE, versions(&kit, back))
    );

    seen.extend(rest??);
    ensure!(seen.len() > 2, "{seen:#?}");
    for status in &seen {
        for field in ["phase", "message", "backends", "backendCount", "toolCount"] {
            ensure!(status.get(field).is_some(), "{field} is missing: {status}");
        }
        let count = |field: &str| status[field].as_array().map(Vec::len);
        ensure!(count("discoveredBackends") == Some(1), "{status}");
        ensure!(count("conditions") == Some(7), "{status}");
    }
    Ok(())
}

/// Decision 7: one writer per fact: with a gateway, the operator writes control facts only, and while
/// all is well it writes nothing.
#[tokio::test]
async fn with_a_gateway_the_operator_owns_control_facts_only() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let kit = one_gateway("owners", &backend).await?;
    let _gateway = kit.world.gateway("all").await?;
    kit.until_virtual("all", "it is Ready", |status| status["phase"] == "Ready")
        .await?;
    kit.until_quiet().await?;

    let object = kit.virtual_object("all").await?;
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = |manager: &str| -> Vec<&Value> {
        let own = entries
            .iter()
            .filter(|e| e["manager"] == manager && e["subresource"] == "status");
        own.map(|entry| &entry["fieldsV1"]["f:status"]).collect()
    };
    let ours = of("vmcp-operator");
    ensure!(!ours.is_empty());
    for field in [
        "f:phase",
        "f:backends",
        "f:discoveredBackends",
        "f:toolCount",
    ] {
        ensure!(
            ours.iter().all(|set| set.get(field).is_none()),
            "{field}: {ours:?}"
        );
        ensure!(
            of("vmcp-status").iter().any(|set| set.get(field).is_some()),
            "{field}"
        );
    }
    Ok(())
}
