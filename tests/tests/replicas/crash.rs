//! A replica that is killed.

use anyhow::{Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::LegacyClient;
use vmcp_tests::stack::{Replicas, SOON};
use vmcp_tests::talk;

use crate::kit::{able, asked, asking, at, client_sessions, echo, retry, text};

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
    replicas.settled().await?;

    let x = replicas.replica("x")?.listen;
    for address in [x, y, x] {
        let there = at(address, &client);
        ensure!(text(&there.call("a_echo", echo("still")).await?) == "still");
    }
    let sessions = client_sessions(&backend).len();
    ensure!(sessions == 1, "{sessions} sessions, in two places at once");
    Ok(())
}

/// Issue 4, Show: a killed replica costs each call that waits there one exact error, on the retry,
/// and nothing else: no call is made twice, what waits elsewhere goes on, sessions are served on.
#[tokio::test]
async fn a_killed_replica_costs_its_parked_calls_one_error_each_and_nothing_else() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let session = LegacyClient::open(x).await?;
    let call = json!({ "name": "a_form", "arguments": {} });
    let mut lost = Vec::new();
    for _ in 0..3 {
        let answer = talk::modern(x, call.clone(), &able()).await?.json()?;
        lost.push(asked(&answer)?);
    }
    let kept = asked(&talk::modern(y, call.clone(), &able()).await?.json()?)?;

    replicas.kill("x")?;

    for (key, state) in lost {
        let said = json!({ key: { "action": "accept" } });
        let params = retry(&call, &state, &said);
        let answer = talk::modern(y, params, &able()).await?.json()?;
        let error = &answer["error"];
        ensure!(error["code"] == -31004, "{answer}");
        ensure!(error["data"]["reason"] == "ParkedCallLost", "{answer}");
    }
    let (key, state) = kept;
    let params = retry(&call, &state, &json!({ key: { "action": "accept" } }));
    let answer = talk::modern(y, params, &able()).await?.json()?;
    ensure!(text(&answer).contains("accept"), "{answer}");
    let calls = backend.requests("tools/call").len();
    ensure!(calls == 4, "{calls} calls for four");
    let session = at(y, &session);
    ensure!(text(&session.call("a_echo", echo("on")).await?) == "on");
    Ok(())
}
