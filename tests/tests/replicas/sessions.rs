//! A legacy session whose requests arrive at any replica.

use anyhow::{Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{Replicas, SOON};

use crate::kit::{all_ended, at, client_sessions, delete, echo, ping, text};

/// Issue 4, section 5: one upstream session, whichever replica a request arrives at.
#[tokio::test]
async fn a_session_works_through_alternating_replicas_with_one_upstream_session() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;

    let client = LegacyClient::open(replicas.address).await?;
    ensure!(client.tools().await?.contains(&"a_echo".to_owned()));
    for turn in 0..8 {
        let said = format!("turn {turn}");
        let answer = client.call("a_echo", echo(&said)).await?;
        ensure!(text(&answer) == said, "{answer}");
    }

    let sessions = client_sessions(&backend);
    ensure!(sessions.len() == 1, "{sessions:?}");
    Ok(())
}

/// Both eras through the same balancer; a modern client needs no owner.
#[tokio::test]
async fn modern_clients_are_served_by_any_replica() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;

    for turn in 0..4 {
        let said = format!("turn {turn}");
        let params = json!({ "name": "a_echo", "arguments": echo(&said) });
        let answer = http::modern(replicas.address, "tools/call", params).await?;
        let answer = answer.json()?;
        ensure!(text(&answer) == said, "{answer}");
    }
    Ok(())
}

/// Issue 4, Show: DELETE reaches its session through any replica, and ends what it has upstream.
#[tokio::test]
async fn a_deletion_at_one_replica_ends_the_session_at_all_of_them() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    client.call("a_echo", echo("once")).await?;

    let ended = delete(&at(y, &client)).await?;

    ensure!(ended.status == 204, "{}", ended.status);
    for address in [x, y] {
        let again = at(address, &client).post(&ping()).await?;
        ensure!(again.status == 404, "{}", again.status);
    }
    all_ended(&backend)
}

/// A deletion is known to the others even when the owner is gone afterwards.
#[tokio::test]
async fn a_deleted_session_stays_deleted_when_its_owner_is_gone() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    let ended = delete(&client).await?;
    ensure!(ended.status == 204, "{}", ended.status);

    replicas.kill("x")?;

    let there = at(y, &client);
    eventually("it is unknown there too", SOON, || async {
        let again = there.post(&ping()).await?;
        ensure!(again.status == 404, "{}", again.status);
        Ok(())
    })
    .await
}

/// Issue 4, Show: a cancellation reaches its call through any replica (R4.10).
#[tokio::test]
async fn a_cancellation_at_one_replica_reaches_the_call_at_another() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;

    // The call comes to the other replica, the cancellation to the owner, and the reverse.
    for (called, cancelled) in [(y, x), (x, y)] {
        backend.clear_log();
        let slow = at(called, &client);
        let call = tokio::spawn(async move { slow.call("a_slow", json!({ "ms": 20_000 })).await });
        eventually("the call runs", SOON, || async {
            ensure!(!backend.requests("tools/call").is_empty());
            Ok(())
        })
        .await?;

        let notice = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": { "requestId": 1 } });
        let answer = at(cancelled, &client).post(&notice).await?;
        ensure!(answer.status == 202, "{}", answer.status);

        eventually("the backend is told", SOON, || async {
            let told = backend.requests("notifications/cancelled").len();
            ensure!(told == 1, "{told} cancellations");
            Ok(())
        })
        .await?;
        call.abort();
    }
    Ok(())
}

/// The GET stream of a session stands at its owner, whichever replica it was opened at.
#[tokio::test]
async fn a_stream_opened_at_one_replica_hears_what_belongs_to_its_session() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    let near = http::listen(y, &client.session).await?;

    backend.set_tools(vec![Tool::new("fresh", Behaviour::Echo)]);

    eventually("the client is told", SOON, || async {
        let seen = near.seen();
        ensure!(
            seen.contains("notifications/tools/list_changed"),
            "{seen:?}"
        );
        Ok(())
    })
    .await
}
