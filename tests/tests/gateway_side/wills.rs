//! What sessions want, as replicas tell each other.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use vmcp::gateway::message::Answer;
use vmcp::gateway::place::HandedClient;
use vmcp::gateway::session::Departing;
use vmcp_core::limits::PEER_ASK;
use vmcp_tests::eventually::eventually;

use crate::kit::{Client, World};

const SOON: Duration = Duration::from_secs(30);

/// Nobody knows anything.
const NOTHING: &[u8] = b"[]";

async fn level(client: &Client, level: &str) -> Result<()> {
    let params = json!({ "level": level });
    let answer = client.request("logging/setLevel", &params).await;
    ensure!(matches!(answer, Answer::Json { .. }), "{answer:?}");
    Ok(())
}

/// All that `from` has to say is heard by `to`, the only other replica.
fn tell(from: &World, to: &World) -> Result<()> {
    while let Some((attempt, body)) = from.gateway.next_to_tell() {
        let answer = to.gateway.keep_wills(&body).context("not understood")?;
        from.gateway.was_told(&attempt, Some(&answer));
    }
    Ok(())
}

/// `world` is one of two, and nobody has heard anything.
fn beside(world: &World, other: &str) {
    world.gateway.others_are(&[other.into()]);
}

/// What the replica would go on with.
fn known(world: &World, client: &Client) -> Vec<u8> {
    world
        .gateway
        .known_will(&client.session)
        .unwrap_or_default()
}

/// The level that the session has at this replica from now on.
fn taken_over(world: &World, client: &Client) -> Result<Option<String>> {
    let live = world.gateway.take_over(&client.session);
    let live = live.context("no session")?;
    Ok(live.log_level().map(|level| level.to_string()))
}

fn departing(world: &World) -> Result<HandedClient> {
    let mut departed = world.gateway.depart(Departing::All, &HashSet::new());
    let departed = departed.pop().context("no session")?;
    Ok(departed.handed)
}

async fn replica(pod: &str) -> World {
    World::replica(pod, |sessions| sessions).await
}

/// A replica whose sessions go as soon as it looks for those that nobody uses.
async fn short_lived(pod: &str) -> World {
    World::replica(pod, |sessions| sessions.with_idle(Duration::ZERO)).await
}

/// Sweeps until no session is left.
async fn sweep(world: &World, client: &Client) -> Result<()> {
    let gateway = world.gateway.clone();
    let sweep = tokio::spawn(async move { gateway.sweep().await });
    eventually("it has gone", SOON, || async {
        ensure!(known(world, client) == NOTHING, "it is still here");
        Ok(())
    })
    .await?;
    sweep.abort();
    Ok(())
}

/// Decision 8: the successor goes on with what the session wanted, whatever the level was at first.
#[tokio::test(start_paused = true)]
async fn the_successor_knows_what_was_said() -> Result<()> {
    let (x, y) = (replica("x").await, replica("y").await);
    beside(&x, "y");
    let client = x.client().await;
    level(&client, "notice").await?;
    client.subscribe("x:one").await;
    client.subscribe("x:two").await;
    tell(&x, &y)?;

    let live = y.gateway.take_over(&client.session).context("no session")?;

    ensure!(live.log_level().as_deref() == Some("\"notice\""));
    let mut resources = live.standing.subscriptions();
    resources.sort();
    ensure!(
        *resources == ["x:one".into(), "x:two".into()],
        "{resources:?}"
    );
    // It tells in its turn.
    beside(&y, "z");
    let z = replica("z").await;
    tell(&y, &z)?;
    ensure!(taken_over(&z, &client)?.as_deref() == Some("\"notice\""));
    Ok(())
}

/// The client is answered when the others know, and not much later where they cannot be told.
#[tokio::test(start_paused = true)]
async fn a_client_is_answered_when_the_others_know() -> Result<()> {
    let (x, y) = (replica("x").await, replica("y").await);
    let client = x.client().await;
    let took = async |said: &str| {
        let began = Instant::now();
        level(&client, said).await?;
        anyhow::Ok(began.elapsed())
    };
    ensure!(took("debug").await? == Duration::ZERO, "alone");

    beside(&x, "y");
    ensure!(took("info").await? >= PEER_ASK, "it has not been told");

    let slow = Duration::from_millis(700);
    let teller = async {
        loop {
            // As long as it takes to tell.
            sleep(slow).await;
            if let Err(error) = tell(&x, &y) {
                break error;
            }
        }
    };
    let took = tokio::select! {
        took = took("notice") => took?,
        error = teller => return Err(error),
    };
    ensure!(took == slow, "{took:?}");
    ensure!(taken_over(&y, &client)?.as_deref() == Some("\"notice\""));
    Ok(())
}

/// What has ended here, by its client or for want of use, comes to life again nowhere.
#[tokio::test(start_paused = true)]
async fn what_is_over_is_forgotten_by_all() -> Result<()> {
    let (x, y) = (short_lived("x").await, replica("y").await);
    beside(&x, "y");
    let (swept, deleted) = (x.client().await, x.client().await);
    for client in [&swept, &deleted] {
        level(client, "notice").await?;
    }
    tell(&x, &y)?;
    for client in [&swept, &deleted] {
        ensure!(known(&y, client) != NOTHING, "not told");
    }

    deleted.delete().await;
    tell(&x, &y)?;
    ensure!(known(&y, &deleted) == NOTHING);
    ensure!(known(&y, &swept) != NOTHING);
    sweep(&x, &swept).await?;
    tell(&x, &y)?;

    ensure!(known(&y, &swept) == NOTHING);
    Ok(())
}

/// A session that has lost its state and comes back is newer than what others remember of it, even
/// where they have not heard of its end.
#[tokio::test(start_paused = true)]
async fn what_comes_back_is_newer_than_what_was_forgotten() -> Result<()> {
    let (x, y) = (short_lived("x").await, replica("y").await);
    beside(&x, "y");
    let client = x.client().await;
    for said in ["debug", "info", "notice"] {
        level(&client, said).await?;
    }
    tell(&x, &y)?;
    sweep(&x, &client).await?;

    level(&client, "error").await?;
    tell(&x, &y)?;

    ensure!(taken_over(&y, &client)?.as_deref() == Some("\"error\""));
    Ok(())
}

/// A replica that was believed dead and forgets its copy takes nothing away from the successor's.
#[tokio::test(start_paused = true)]
async fn a_replica_that_is_behind_ends_nothing() -> Result<()> {
    let (x, y) = (short_lived("x").await, replica("y").await);
    let z = replica("z").await;
    beside(&x, "y");
    let client = x.client().await;
    level(&client, "notice").await?;
    tell(&x, &y)?;
    beside(&y, "z");
    ensure!(taken_over(&y, &client)?.as_deref() == Some("\"notice\""));
    level(&client.at(&y), "error").await?;
    tell(&y, &z)?;

    beside(&x, "z");
    sweep(&x, &client).await?;
    tell(&x, &z)?;

    ensure!(taken_over(&z, &client)?.as_deref() == Some("\"error\""));
    Ok(())
}

/// A hand-over that is repeated, or comes from a replica that is behind, takes nothing back.
#[tokio::test(start_paused = true)]
async fn a_hand_over_takes_nothing_back() -> Result<()> {
    let (x, y) = (replica("x").await, replica("y").await);
    let z = replica("z").await;
    beside(&y, "z");
    let client = x.client().await;
    level(&client, "notice").await?;
    client.subscribe("x:one").await;
    let handed = departing(&x)?;

    ensure!(y.gateway.adopt(handed.clone()));
    let there = client.at(&y);
    level(&there, "error").await?;
    there
        .request("resources/unsubscribe", &json!({ "uri": "x:one" }))
        .await;
    ensure!(y.gateway.adopt(handed.clone()), "not taken again");
    tell(&y, &z)?;

    let live = y.gateway.take_over(&client.session).context("no session")?;
    ensure!(live.log_level().as_deref() == Some("\"error\""));
    ensure!(live.standing.subscriptions().is_empty());
    ensure!(z.gateway.adopt(handed));
    ensure!(taken_over(&z, &client)?.as_deref() == Some("\"error\""));
    let live = z.gateway.take_over(&client.session).context("no session")?;
    ensure!(live.standing.subscriptions().is_empty());
    Ok(())
}

/// A hand-over that is made again after the client has said more takes the place of the first one.
#[tokio::test(start_paused = true)]
async fn a_newer_hand_over_takes_the_place_of_an_older_one() -> Result<()> {
    let (x, y) = (replica("x").await, replica("y").await);
    let client = x.client().await;
    client.subscribe("x:one").await;
    client.subscribe("x:two").await;
    let departed = x.gateway.depart(Departing::All, &HashSet::new());
    let departed = departed.into_iter().next().context("no session")?;
    ensure!(y.gateway.adopt(departed.handed.clone()));
    // It was taken, and nobody heard of that.
    x.gateway.stay(departed);
    let gone = json!({ "uri": "x:one" });
    client.request("resources/unsubscribe", &gone).await;

    ensure!(y.gateway.adopt(departing(&x)?));

    let live = y.gateway.take_over(&client.session);
    let resources = live.context("no session")?.standing.subscriptions();
    ensure!(*resources == ["x:two".into()], "{resources:?}");
    Ok(())
}

/// What is heard too late, when the session has come here already, still counts.
#[tokio::test(start_paused = true)]
async fn what_is_heard_late_still_counts() -> Result<()> {
    let (x, y) = (replica("x").await, replica("y").await);
    beside(&x, "y");
    let client = x.client().await;
    level(&client, "notice").await?;
    ensure!(taken_over(&y, &client)?.is_none());

    tell(&x, &y)?;

    ensure!(taken_over(&y, &client)?.as_deref() == Some("\"notice\""));
    Ok(())
}

/// A replica that ends its copy of a session that lives elsewhere costs nothing of what others keep.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_copy_is_not_the_end_of_a_session() -> Result<()> {
    let (x, y) = (replica("x").await, short_lived("y").await);
    let z = replica("z").await;
    beside(&x, "z");
    let client = x.client().await;
    level(&client, "notice").await?;
    tell(&x, &z)?;
    // y has taken it over while x stood still.
    level(&client.at(&y), "error").await?;
    y.gateway.others_are(&["x".into(), "z".into()]);

    sweep(&y, &client).await?;
    while let Some((attempt, body)) = y.gateway.next_to_tell() {
        for other in [&x, &z] {
            let answer = other.gateway.keep_wills(&body);
            y.gateway.was_told(&attempt, answer.as_deref());
        }
    }
    tell(&x, &z)?;

    ensure!(taken_over(&z, &client)?.as_deref() == Some("\"notice\""));
    Ok(())
}

/// What one replica does not understand, or that is not of this gateway, is left out; the rest is
/// kept.
#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_left_out() -> Result<()> {
    let (x, y) = (replica("x").await, replica("y").await);
    let client = x.client().await;
    let will = |id: &str| json!({ "wants": { "id": id, "revision": 1, "logLevel": "\"info\"" } });
    let told = json!([{ "later": {} }, 7, will("no id"), will(&client.session)]);

    ensure!(y.gateway.keep_wills(b"{}").is_none());
    ensure!(y.gateway.keep_wills(told.to_string().as_bytes()).is_some());

    ensure!(y.gateway.known_will("no id").as_deref() == Some(NOTHING));
    ensure!(taken_over(&y, &client)?.as_deref() == Some("\"info\""));
    Ok(())
}
