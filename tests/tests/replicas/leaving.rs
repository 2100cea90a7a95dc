//! A replica that stops: what becomes of its sessions, and how long it takes.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::{POLL, eventually};
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{Replicas, SOON};

use crate::kit::{all_ended, at, client_sessions, delete, echo, ping, text};

/// T7: the kubelet's patience is longer than the longest stop, with a call that outlives the drain
/// and a successor that answers nothing: the caller gets its error and the backends their DELETEs.
#[tokio::test]
async fn a_stop_is_over_before_the_kubelet_kills() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let client = LegacyClient::open(replicas.replica("x")?.listen).await?;
    client.call("a_echo", echo("before")).await?;
    let idle = LegacyClient::open(replicas.replica("x")?.listen).await?;
    idle.call("a_echo", echo("before")).await?;
    let call = tokio::spawn(async move { client.call("a_slow", json!({ "ms": 60_000 })).await });
    eventually("the call runs", SOON, || async {
        let calls = backend.requests("tools/call").len();
        ensure!(calls == 3, "{calls} calls");
        Ok(())
    })
    .await?;

    replicas.freeze("y")?;
    replicas.retire("x").await?;

    let stopped = call.await??;
    ensure!(stopped["error"]["code"] == json!(-32001), "{stopped}");
    let sessions = client_sessions(&backend);
    let left = sessions.iter().filter(|session| session.ended.is_none());
    ensure!(sessions.len() == 2 && left.count() == 0, "{sessions:?}");
    Ok(())
}

/// T7: where there is no successor, a stop ends what its clients have at backends.
#[tokio::test]
async fn the_last_replica_ends_what_its_clients_have_upstream() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x"]).await?;
    for _ in 0..3 {
        let client = LegacyClient::open(replicas.address).await?;
        client.call("a_echo", echo("once")).await?;
    }
    ensure!(client_sessions(&backend).len() == 3);

    replicas.retire("x").await?;

    all_ended(&backend)
}

/// A client that describes itself at length has a long id; a batch of them arrives all the same,
/// each in one place.
#[tokio::test]
async fn sessions_with_long_ids_arrive_in_one_place_each() -> Result<()> {
    const CLIENTS: usize = 130;
    let backend = Backend::start(Script::legacy()).await?;
    let pods = ["x", "y", "z"];
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &pods).await?;
    let x = replicas.replica("x")?.listen;
    let described = json!({ "name": "test", "version": "1", "description": "d".repeat(3_000) });
    let opening = (0..CLIENTS).map(|_| LegacyClient::open_as(x, described.clone()));
    let clients = try_join_all(opening).await?;
    try_join_all(clients.iter().map(|one| one.call("a_echo", echo("before")))).await?;

    replicas.retire("x").await?;

    let taken = "vmcp_sessions_handed_over_total{direction=\"from\"}";
    let at_y = counted(replicas.replica("y")?.admin, taken).await?;
    let at_z = counted(replicas.replica("z")?.admin, taken).await?;
    ensure!(at_y + at_z == CLIENTS, "{at_y} and {at_z} taken over");
    for client in &clients {
        let answer = at(replicas.address, client)
            .call("a_echo", echo("after"))
            .await?;
        ensure!(text(&answer) == "after", "{answer}");
        ensure!(answer["result"]["_meta"].is_null(), "{answer}");
    }
    let sessions = client_sessions(&backend);
    let ended = sessions.iter().filter(|session| session.ended.is_some());
    ensure!(
        sessions.len() == CLIENTS && ended.count() == 0,
        "{}",
        sessions.len()
    );
    Ok(())
}

/// What the metrics of a replica say.
async fn counted(admin: SocketAddr, series: &str) -> Result<usize> {
    let metrics = http::get(admin, "/metrics").await?.text();
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(series));
    Ok(value.context("no such series")?.trim().parse()?)
}

/// Architecture 8: a deletion is remembered until the id expires, although nobody is left who was
/// told of it when it happened.
#[tokio::test]
async fn a_deleted_session_stays_deleted_over_a_rolling_restart() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x"]).await?;
    let client = LegacyClient::open(replicas.address).await?;
    let ended = delete(&client).await?;
    ensure!(ended.status == 204, "{}", ended.status);

    replicas.add("y").await?;
    replicas.retire("x").await?;

    let again = at(replicas.replica("y")?.listen, &client)
        .post(&ping())
        .await?;
    ensure!(again.status == 404, "{} {}", again.status, again.text());
    Ok(())
}

/// T10: a session whose hand-over takes long is not over: nobody hears 404.
#[tokio::test]
async fn a_session_on_its_way_is_never_unknown() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let pods = ["x", "y", "z"];
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &pods).await?;
    let (x, z) = (replicas.replica("x")?.listen, replicas.replica("z")?.listen);
    let clients = try_join_all((0..20).map(|_| LegacyClient::open(x))).await?;
    // So that ways from one to the other are open already and are not found closed at once: several,
    // for what else replicas tell each other takes one, too.
    let there = LegacyClient::open(replicas.replica("y")?.listen).await?;
    let here = at(x, &there);
    let together = (0..4).map(|_| here.call("a_slow", json!({ "ms": 500 })));
    try_join_all(together).await?;
    let gone = CancellationToken::new();
    let asking = clients
        .iter()
        .map(|client| ask_on(at(z, client), gone.clone()));

    replicas.freeze("y")?;
    let stop = async {
        replicas.retire("x").await?;
        gone.cancel();
        Ok(())
    };
    let (told, ()) = tokio::try_join!(try_join_all(asking), stop)?;

    let waited: usize = told.iter().sum();
    ensure!(
        waited > 0,
        "no session was asked for while it was on its way"
    );
    Ok(())
}

/// Asks until told to stop; how often the session was on its way.
async fn ask_on(client: LegacyClient, stop: CancellationToken) -> Result<usize> {
    let mut moving = 0;
    while !stop.is_cancelled() {
        let answer = client.post(&ping()).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        let answer = answer.json()?;
        if answer["error"]["data"]["reason"] == json!("SessionMoving") {
            moving += 1;
        } else {
            ensure!(answer["error"].is_null(), "{answer}");
        }
        // A pace, not a wait: twenty of them without one would be a load test.
        tokio::time::sleep(POLL).await;
    }
    Ok(moving)
}
