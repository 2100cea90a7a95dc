//! `vmcp serve -f` as a process: bad files, bad reloads, edited and contradicting objects.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::process::{Launch, Output};
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// What R2.8 grants a deletion.
const GONE: Duration = Duration::from_secs(5);

/// A program that only has to say that its input is wrong.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn status(local: &Local) -> Result<Value> {
    http::get(local.gateway.admin, "/status").await?.json()
}

/// The entry of a backend in `discoveredBackends`.
async fn entry(local: &Local, name: &str) -> Result<Value> {
    let status = status(local).await?;
    let entries = status["discoveredBackends"].as_array().context("no list")?;
    let entry = entries.iter().find(|entry| entry["name"] == json!(name));
    entry
        .cloned()
        .with_context(|| format!("no {name} in {status}"))
}

async fn until_state(local: &Local, name: &str, state: &str) -> Result<Value> {
    eventually(&format!("{name} {state}"), SOON, || async {
        let entry = entry(local, name).await?;
        ensure!(entry["state"] == json!(state), "{entry}");
        Ok(entry)
    })
    .await
}

async fn run(args: &[&str]) -> Result<Output> {
    Launch::ours("vmcp")?.args(args).run(AT_ONCE).await
}

/// Build 8: a bad file ends the start with exit code 2 and says file, line and field.
#[tokio::test]
async fn a_bad_file_ends_the_start_with_exit_code_2_and_its_place() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("objects.yaml");
    let text = "apiVersion: vmcp.dev/v1alpha1\nkind: VirtualMCPServer\nmetadata: {name: all}\n\
                spec:\n  backends: {selector: {}}\n  minReadyBackend: 2\n";
    std::fs::write(&path, text)?;
    let file = path.display().to_string();

    let output = run(&["serve", "-f", &file]).await?;

    ensure!(output.status.code() == Some(2), "{output:?}");
    let expected = format!("{file}:6: spec.minReadyBackend: unknown field");
    ensure!(output.stderr.contains(&expected), "{}", output.stderr);

    let missing = run(&["serve", "-f", "/no/such/file.yaml"]).await?;
    ensure!(missing.status.code() == Some(2), "{missing:?}");
    ensure!(
        missing.stderr.contains("/no/such/file.yaml"),
        "{}",
        missing.stderr
    );
    Ok(())
}

/// Build 8: wrong flags end with clap's usage text and exit code 2.
#[tokio::test]
async fn wrong_flags_end_with_usage_and_exit_code_2() -> Result<()> {
    for wrong in [
        &["serve"][..],
        &["serve", "--listen", "here"],
        &["probe"],
        &["dance"],
    ] {
        let launch = Launch::ours("vmcp")?.args(wrong).env_remove("VMCP_NAME");
        let output = launch.run(AT_ONCE).await?;
        ensure!(output.status.code() == Some(2), "{wrong:?}: {output:?}");
        let words = ["Usage:", "try '--help'"];
        let usage = words.iter().any(|words| output.stderr.contains(words));
        ensure!(usage, "{wrong:?}: {}", output.stderr);
    }
    Ok(())
}

/// Build 8: a bad reload leaves the last good configuration; `/status`, the log and
/// `vmcp_config_valid` say so, and the next good one is taken.
#[tokio::test]
async fn a_bad_reload_keeps_the_last_good_configuration_and_says_so() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;

    let mut broken = remote("b", "https://b.example/mcp");
    broken["spec"]["transport"] = json!("carrier-pigeon");
    local.apply(&broken)?;
    eventually("the fault is shown", GONE, || async {
        let status = status(&local).await?;
        let error = status["config"]["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        ensure!(status["config"]["valid"] == false, "{status}");
        ensure!(
            error.contains("mcpserver-b.json:") && error.contains("spec.transport"),
            "{error}"
        );
        let metrics = http::get(local.gateway.admin, "/metrics").await?.text();
        ensure!(metrics.contains("vmcp_config_valid 0"), "{metrics}");
        Ok(())
    })
    .await?;
    ensure!(
        local
            .gateway
            .program
            .log()
            .contains("configuration refused"),
        "the log"
    );
    let answer = client
        .call("a_echo", json!({ "text": "still here" }))
        .await?;
    ensure!(answer.to_string().contains("still here"), "{answer}");

    broken["spec"]["transport"] = json!("streamable-http");
    local.apply(&broken)?;
    eventually("the fault is gone", GONE, || async {
        let status = status(&local).await?;
        ensure!(
            status["config"]["valid"] == true && status["backendCount"] == 2,
            "{status}"
        );
        Ok(())
    })
    .await
}

/// R4.2: a new URL is a new generation of the same backend; its tools stay listed meanwhile (R4.5).
#[tokio::test]
async fn an_edited_url_is_followed_and_the_backend_stays_the_same() -> Result<()> {
    let (first, second) = (
        Backend::start(Script::legacy()).await?,
        Backend::late(Script::legacy()).await?,
    );
    let local = Local::start(&[("a", first.url())], json!({})).await?;
    let client = local.ready_client().await?;
    let before = entry(&local, "a").await?;
    let tools = client.tools().await?;

    local.apply(&remote("a", &second.url()))?;
    until_state(&local, "a", "Unhealthy").await?;
    ensure!(client.tools().await? == tools, "last-good");
    second.restart().await?;
    let after = until_state(&local, "a", "Ready").await?;

    ensure!(
        after["uid"] == before["uid"] && after["url"] != before["url"],
        "{after}"
    );
    eventually("nothing is left at the old address", GONE, || async {
        ensure!(first.connections_open() == 0 && first.sessions_open() == 0);
        Ok(())
    })
    .await
}

/// Build 8: two equal prefixes are a condition with field and fix; all else works.
#[tokio::test]
async fn equal_prefixes_are_a_condition_and_stop_nobody() -> Result<()> {
    let (a, b) = (
        Backend::start(Script::legacy()).await?,
        Backend::start(Script::legacy()).await?,
    );
    let refs = json!([
        { "name": "a", "prefix": "same_" }, { "name": "b", "prefix": "same_" }, { "name": "none" },
    ]);
    let gateway = virtual_server("local", json!({ "backends": { "refs": refs } }));
    let objects = [gateway, remote("a", &a.url()), remote("b", &b.url())];
    let local = Local::of(&objects).await?;

    let status = local.until_phase("Degraded", SOON).await?;

    let condition = |kind: &str| -> Result<Value> {
        let list = status["conditions"].as_array().context("no conditions")?;
        let found = list
            .iter()
            .find(|condition| condition["type"] == json!(kind));
        found.cloned().context("no such condition")
    };
    let conflicts = condition("ConflictsResolved")?;
    ensure!(conflicts["status"] == "False", "{conflicts}");
    let discovered = condition("BackendsDiscovered")?;
    ensure!(discovered["reason"] == "BackendNotFound", "{discovered}");
    let missing = entry(&local, "none").await?;
    ensure!(
        missing["state"] == "Pending" && missing["reason"] == "BackendNotFound",
        "{missing}"
    );
    ensure!(
        status["config"]["problems"].to_string().contains("prefix"),
        "{status}"
    );
    Ok(())
}
