//! Standing streams of legacy sessions.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::Era;
use vmcp_tests::eventually::eventually;

use crate::kit::{Said, World, lock, shut};

const SOON: Duration = Duration::from_secs(10);

/// Far longer than any pause between two tries; the clock is paused.
const LONG: Duration = Duration::from_secs(600);

fn subscribe() -> Said {
    Said::Send("resources/subscribe".to_owned())
}

fn listen(resources: &[&str]) -> Said {
    Said::Listen(resources.iter().map(|uri| (*uri).to_owned()).collect())
}

/// T7: a client that ends while its stream is opened anew leaves nothing behind: whatever its
/// session has at backends is ended last.
#[tokio::test(start_paused = true)]
async fn nothing_is_opened_for_a_client_that_has_ended() -> Result<()> {
    let world = World::new(Era::Legacy).await;
    let client = world.client().await;
    for uri in ["x:1", "x:2"] {
        let answer = client.subscribe(uri).await;
        ensure!(!answer.is_error(), "{answer:?}");
    }
    let before = world.port.count(&subscribe());
    shut(&world.port.sends);
    world.port.break_streams();
    eventually("it is subscribed again", LONG, || async {
        let again = world.port.count(&subscribe());
        ensure!(again > before, "{again}");
        Ok(())
    })
    .await?;

    client.delete().await;
    world.port.sends.add_permits(100);
    settle().await;

    let said = world.port.said();
    ensure!(said.last() == Some(&Said::End), "{said:?}");
    Ok(())
}

/// A subscription is answered for itself, not with what became of an earlier one.
#[tokio::test]
async fn a_subscription_is_done_when_it_was_tried() -> Result<()> {
    let world = World::new(Era::Modern).await;
    let client = world.client().await;
    shut(&world.port.listens);
    let subscribing = |uri: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.subscribe(uri).await })
    };

    let first = subscribing("x:1");
    said(&world, &listen(&["x:1"])).await?;
    let second = subscribing("x:2");
    // One thread: it runs until it waits.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    world.port.listens.add_permits(1);
    let first = first.await?;
    ensure!(!first.is_error(), "{first:?}");
    said(&world, &listen(&["x:1", "x:2"])).await?;
    ensure!(!second.is_finished(), "it was not tried yet");

    world.port.listens.add_permits(1);
    let second = second.await?;
    ensure!(!second.is_error(), "{second:?}");
    Ok(())
}

/// What the backend refused is not repeated for it.
#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_forgotten() -> Result<()> {
    let world = World::new(Era::Legacy).await;
    let client = world.client().await;
    let answer = client.subscribe("x:1").await;
    ensure!(!answer.is_error(), "{answer:?}");
    lock(&world.port.refusals).push_back(RpcError::new(-32_602, "no such resource"));
    let answer = client.subscribe("x:2").await;
    ensure!(answer.is_error(), "{answer:?}");
    let before = world.port.count(&subscribe());

    world.port.break_streams();
    settle().await;

    let again = world.port.count(&subscribe()) - before;
    ensure!(again == 1, "{again} subscriptions were repeated");
    Ok(())
}

/// R2.8: nothing listens for a backend that was removed; one that comes by its name is listened to
/// when it is used.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_backend() -> Result<()> {
    let mut world = World::new(Era::Legacy).await;
    let client = world.client().await;
    let stream = client.listen();
    let uri = json!({ "uri": "x:1" });
    let read = || client.request("resources/read", &uri);
    read().await;
    said(&world, &listen(&[])).await?;

    world.remove().await;
    settle().await;
    world.add(Era::Legacy).await;
    settle().await;

    ensure!(
        world.port.count(&listen(&[])) == 1,
        "{:?}",
        world.port.said()
    );
    read().await;
    eventually("it is listened to again", SOON, || async {
        let streams = world.port.count(&listen(&[]));
        ensure!(streams == 2, "{streams} streams");
        Ok(())
    })
    .await?;
    drop(stream);
    Ok(())
}

/// Runs the paused clock on, far beyond whatever is left to be tried.
async fn settle() {
    // That nothing comes can only be seen after it would have come.
    sleep(LONG).await;
}

async fn said(world: &World, what: &Said) -> Result<()> {
    eventually("it is asked for", SOON, || async {
        let said = world.port.said();
        ensure!(said.contains(what), "{said:?}");
        Ok(())
    })
    .await
}
