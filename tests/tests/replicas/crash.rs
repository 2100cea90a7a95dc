//! A replica that is killed.

use anyhow::{Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::LegacyClient;
use vmcp_tests::stack::{Replicas, SOON};

use crate::kit::{at, client_sessions, echo, text};

/// Issue 4, Show: a killed replica costs the calls that it served one exact error each, and nothing
/// else: the session goes on elsewhere, and nothing is executed twice.
#[tokio::test]
async fn a_killed_owner_costs_its_calls_one_error_and_the_session_goes_on() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let owned = LegacyClient::open(x).await?;
    let other = LegacyClient::open(y).await?;
    let there = at(y, &owned);
    ensure!(text(&there.call("a_echo", echo("before")).await?) == "before");

    let called = there.clone();
    let call = tokio::spawn(async move { called.call("a_slow", json!({ "ms": 20_000 })).await });
    eventually("the call runs", SOON, || async {
        let calls = backend.requests("tools/call");
        ensure!(
            calls
                .iter()
                .any(|call| call.tool.as_deref() == Some("slow"))
        );
        Ok(())
    })
    .await?;
    replicas.kill("x")?;

    let lost = call.await??;
    ensure!(lost["error"]["code"] == json!(-32001), "{lost}");
    ensure!(
        lost["error"]["data"]["reason"] == json!("ReplicaLost"),
        "{lost}"
    );
    ensure!(text(&there.call("a_echo", echo("after")).await?) == "after");
    ensure!(text(&other.call("a_echo", echo("mine")).await?) == "mine");
    let calls = backend.requests("tools/call");
    let slow = calls
        .iter()
        .filter(|call| call.tool.as_deref() == Some("slow"));
    ensure!(slow.count() == 1, "the lost call ran twice");
    // The successor opened a session of its own upstream.
    let sessions = client_sessions(&backend).len();
    ensure!(sessions == 3, "{sessions} sessions");
    Ok(())
}

/// The same name with a new process is another owner: its state is gone, its sessions are not.
#[tokio::test]
async fn a_restarted_owner_serves_its_sessions_anew() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let y = replicas.replica("y")?.listen;
    let client = LegacyClient::open(replicas.replica("x")?.listen).await?;

    replicas.kill("x")?;
    replicas.forget("x");
    replicas.add("x").await?;

    let x = replicas.replica("x")?.listen;
    for address in [x, y, x] {
        let there = at(address, &client);
        ensure!(text(&there.call("a_echo", echo("still")).await?) == "still");
    }
    let sessions = client_sessions(&backend).len();
    ensure!(sessions == 1, "{sessions} sessions, in two places at once");
    Ok(())
}
