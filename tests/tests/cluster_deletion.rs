//! A deleted MCPServer vanishes everywhere within 5 s, whoever is down (R2.8).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::Instant;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{GatewayProcess, SOON, World, entry};

/// R2.8: from the deletion, or from the first live writer, whichever is later.
const GONE: Duration = Duration::from_secs(5);

/// Until a Lease that nobody renews counts as stale: its duration, and the time to notice.
const STALE: Duration = Duration::from_secs(15);

async fn two_ready(world: &World) -> Result<(Backend, Backend)> {
    let doomed = Backend::start(Script::legacy()).await?;
    let other = Backend::start(Script::legacy()).await?;
    world.add_remote("doomed", &doomed.url()).await?;
    world.add_remote("other", &other.url()).await?;
    world
        .add_virtual("all", json!({ "healthCheck": { "periodSeconds": 2 } }))
        .await?;
    Ok((doomed, other))
}

async fn until_gone(world: &World, within: Duration) -> Result<()> {
    world
        .until("all", "the entry is gone", within, |status| {
            entry(status, "doomed").is_none()
        })
        .await?;
    Ok(())
}

async fn gone_from_the_gateway(gateway: &GatewayProcess) -> Result<()> {
    eventually("the gateway forgets the backend", GONE, || async {
        for path in ["/status", "/metrics", "/health"] {
            let text = http::get(gateway.admin, path).await?.text();
            ensure!(!text.contains("doomed"), "{path} still has it: {text}");
        }
        let tools = LegacyClient::open(gateway.listen).await?.tools().await?;
        ensure!(
            tools.iter().all(|tool| !tool.starts_with("doomed")),
            "{tools:?}"
        );
        Ok(())
    })
    .await
}

/// No new connection for longer than an interval, and no session left.
async fn nobody_comes(backend: &Backend) -> Result<()> {
    let before = backend.connections().len();
    // Only time shows that nothing comes: an interval of 2 s, twice.
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(
        backend.connections().len() == before,
        "a deleted backend was probed"
    );
    ensure!(backend.sessions_open() == 0, "{:?}", backend.sessions());
    Ok(())
}

/// R2.8, R4.12: with both programs up.
#[tokio::test]
async fn a_deleted_backend_vanishes_from_status_catalogue_metrics_and_sockets() -> Result<()> {
    let world = World::new("gone").await?;
    let (doomed, _other) = two_ready(&world).await?;
    let _operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;

    world.delete_server("doomed").await?;

    until_gone(&world, GONE).await?;
    gone_from_the_gateway(&gateway).await?;
    nobody_comes(&doomed).await
}

/// R2.8: the gateway is down during the deletion and stays down; the operator prunes.
#[tokio::test]
async fn a_backend_deleted_while_the_gateway_is_down_is_pruned_by_the_operator() -> Result<()> {
    let world = World::new("gwdown").await?;
    let (_doomed, _other) = two_ready(&world).await?;
    let _operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;

    gateway.program.kill()?;
    world.delete_server("doomed").await?;

    // The operator lives all along; it does not wait for the Lease to go stale.
    until_gone(&world, GONE).await
}

/// R2.8: the operator is down during the deletion; the gateway removes.
#[tokio::test]
async fn a_backend_deleted_while_the_operator_is_down_is_removed_by_the_gateway() -> Result<()> {
    let world = World::new("opdown").await?;
    let (doomed, _other) = two_ready(&world).await?;
    let operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;

    operator.program.kill()?;
    world.delete_server("doomed").await?;

    until_gone(&world, GONE).await?;
    gone_from_the_gateway(&gateway).await?;
    nobody_comes(&doomed).await
}

/// A deletion while neither program runs. Killed, so that their Leases have to go stale.
async fn deleted_while_both_are_down(world: &World) -> Result<(Backend, Backend)> {
    let backends = two_ready(world).await?;
    let operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;

    gateway.program.kill()?;
    operator.program.kill()?;
    world.delete_server("doomed").await?;
    Ok(backends)
}

/// Until a new operator may write: the Lease of the killed one lasts 15 s, and is asked for
/// every 3 s.
const NEW_LEADER: Duration = Duration::from_secs(20);

/// R2.8: both are down during the deletion; the operator comes first and stays alone.
#[tokio::test]
async fn a_backend_deleted_while_both_are_down_is_pruned_by_an_operator_that_comes_alone()
-> Result<()> {
    let world = World::new("opfirst").await?;
    let _backends = deleted_while_both_are_down(&world).await?;

    let _operator = world.operator().await?;

    // Meanwhile the gateway's Lease goes stale too.
    until_gone(&world, NEW_LEADER + GONE).await
}

/// R2.8: both are down during the deletion; the gateway comes first and stays alone.
#[tokio::test]
async fn a_backend_deleted_while_both_are_down_is_removed_by_a_gateway_that_comes_alone()
-> Result<()> {
    let world = World::new("gwfirst").await?;
    let (doomed, _other) = deleted_while_both_are_down(&world).await?;
    let before = doomed.connections().len();

    let gateway = world.gateway("all").await?;

    // It has to take the Lease of its predecessor first.
    until_gone(&world, STALE + GONE).await?;
    gone_from_the_gateway(&gateway).await?;
    ensure!(
        doomed.connections().len() == before,
        "a deleted backend was probed"
    );
    Ok(())
}

/// R2.8: the last backend leaves an empty list, not the last known one.
#[tokio::test]
async fn the_last_backend_vanishes_too() -> Result<()> {
    let world = World::new("last").await?;
    let backend = Backend::start(Script::legacy()).await?;
    world.add_remote("doomed", &backend.url()).await?;
    world.add_virtual("all", json!({})).await?;
    let _operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;

    world.delete_server("doomed").await?;

    let empty = world
        .until("all", "an empty list", GONE, |status| {
            status.discovered_backends.is_empty()
        })
        .await?;
    ensure!(empty.tool_count == Some(0), "{empty:?}");
    let failed = world.until_phase("all", "Failed", GONE).await?;
    ensure!(
        failed
            .conditions
            .iter()
            .any(|found| found.reason == "NoBackends"),
        "no backend matches must be said: {failed:?}"
    );
    gone_from_the_gateway(&gateway).await
}

/// R2.8, R4.1: a new object of the same name is a new backend: another UID, nothing of the old one.
#[tokio::test]
async fn a_backend_recreated_at_once_under_its_name_is_another_backend() -> Result<()> {
    let world = World::new("again").await?;
    let (doomed, _other) = two_ready(&world).await?;
    let successor = Backend::start(Script::modern()).await?;
    let _operator = world.operator().await?;
    let _gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;

    world.delete_server("doomed").await?;
    let started = Instant::now();
    let uid = world
        .add_remote("doomed", &successor.url())
        .await?
        .metadata
        .uid;

    world
        .until("all", "the successor's entry", SOON, |status| {
            entry(status, "doomed").is_some_and(|found| {
                found.uid == uid && found.protocol_version.as_deref() == Some("2026-07-28")
            })
        })
        .await?;
    ensure!(started.elapsed() < GONE + GONE, "{:?}", started.elapsed());
    nobody_comes(&doomed).await
}
