//! A changed list that one replica sees first.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_core::limits;
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, Listener};
use vmcp_tests::stack::{Replicas, SOON};
use vmcp_tests::talk::heard;

const LIST_CHANGED: &str = "notifications/tools/list_changed";

/// A backend, and replicas of which the first is `x`; the session in which that one listens there.
async fn listening(others: &[&str]) -> Result<(Backend, Replicas, String)> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x"]).await?;
    let streams = || backend.requests("GET").into_iter();
    eventually("x listens to the backend", SOON, || async {
        ensure!(streams().count() == 1);
        Ok(())
    })
    .await?;
    for other in others {
        replicas.add(other).await?;
    }
    replicas.settled().await?;
    eventually("all listen to the backend", SOON, || async {
        ensure!(streams().count() == others.len() + 1);
        Ok(())
    })
    .await?;
    let session = streams().find_map(|stream| stream.session);
    Ok((backend, replicas, session.context("no session")?))
}

/// The backend lists this tool from now on, and says so in one session alone.
fn change(backend: &Backend, session: &str, name: &str) {
    let tools = vec![Tool::new(name, Behaviour::Echo)];
    backend.update(|script| script.tools = tools);
    let news = json!({ "jsonrpc": "2.0", "method": LIST_CHANGED });
    backend.say(session, &news.to_string());
}

async fn modern_listener(address: SocketAddr) -> Result<Listener> {
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let stream = http::modern_stream(address, "subscriptions/listen", filter).await?;
    heard(&stream, "subscriptions/acknowledged").await?;
    Ok(stream)
}

fn times(stream: &Listener) -> usize {
    stream.seen().matches(LIST_CHANGED).count()
}

async fn told(stream: &Listener, wanted: usize, within: Duration) -> Result<()> {
    let what = format!("the listener is told {wanted} times at least");
    eventually(&what, within, || async {
        let told = times(stream);
        ensure!(told >= wanted, "{told} times");
        Ok(())
    })
    .await
}

async fn listed(address: SocketAddr) -> Result<Value> {
    let answer = http::modern(address, "tools/list", json!({})).await?;
    Ok(answer.json()?["result"]["tools"][0]["name"].clone())
}

/// R4.11, T15: a modern client that was told by one replica sees the new list at whichever replica
/// it asks then: the others look at once, and when the last one shows the new list it is told again.
/// Whoever listens at the others is told once, and nobody looks more often than there was news.
#[tokio::test]
async fn a_change_that_one_replica_sees_is_seen_by_all_when_it_is_told_again() -> Result<()> {
    const CHANGES: usize = 3;
    let (backend, replicas, session) = listening(&["y", "z"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let (at_x, at_y) = (modern_listener(x).await?, modern_listener(y).await?);

    for round in 1..=CHANGES {
        let before = backend.requests("tools/list").len();
        let name = format!("t{round}");
        change(&backend, &session, &name);

        told(&at_x, 2 * round, SOON).await?;
        ensure!(times(&at_x) == 2 * round, "{}", at_x.seen());

        for _ in 0..6 {
            let tool = listed(replicas.address).await?;
            ensure!(tool == json!(format!("a_{name}")), "{round}: {tool}");
        }
        let looks = backend.requests("tools/list").len() - before;
        // One more where a check was due anyway.
        ensure!((3..=4).contains(&looks), "{looks} looks of 3 replicas");
        eventually("whoever listens at y is told", SOON, || async {
            let told = times(&at_y);
            // Again where y was not the last one.
            ensure!(told >= round && told <= 2 * round, "{told} times");
            Ok(())
        })
        .await?;
    }
    let late = "vmcp_list_agreements_total{outcome=\"late\"} 0";
    let metrics = http::get(replicas.replica("x")?.admin, "/metrics").await?;
    ensure!(metrics.text().contains(late), "not agreed in time");
    Ok(())
}

/// R4.8: a replica that is gone, or answers nothing although everybody takes it for ready, holds an
/// announcement up for a moment at most.
#[tokio::test]
async fn a_replica_that_does_not_answer_does_not_keep_clients_from_being_told() -> Result<()> {
    let (backend, mut replicas, session) = listening(&["y", "z"]).await?;
    let stream = modern_listener(replicas.replica("x")?.listen).await?;

    replicas.freeze("y")?;
    change(&backend, &session, "fresh");
    told(&stream, 1, limits::AGREE_WITHIN).await?;
    // The one that answers came to show it too.
    told(&stream, 2, SOON).await?;
    ensure!(listed(replicas.replica("z")?.listen).await? == json!("a_fresh"));

    replicas.kill("y")?;
    replicas.kill("z")?;
    change(&backend, &session, "fresher");
    told(&stream, 3, limits::AGREE_WITHIN).await?;
    ensure!(listed(replicas.replica("x")?.listen).await? == json!("a_fresher"));
    Ok(())
}
