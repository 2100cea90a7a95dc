//! In steady state nobody writes: counted in the audit log of the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::controlplane::AuditEvent;
use vmcp_tests::stack::{SOON, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Writes of our programs in this namespace that renew no Lease.
fn writes(world: &World, events: Vec<AuditEvent>) -> Vec<String> {
    let ours = format!("system:serviceaccount:{}:", world.name());
    events
        .into_iter()
        .filter(|event| event.is_write() && event.user.starts_with(&ours))
        .filter(|event| event.resource != "leases")
        .map(|event| {
            let AuditEvent {
                user,
                verb,
                resource,
                subresource,
                name,
                ..
            } = event;
            format!("{user} {verb} {resource}/{name}/{subresource}")
        })
        .collect()
}

/// 20 MCPServers and 2 VirtualMCPServers, one minute: nothing but Lease renewals. Then one backend
/// goes down for good: at most one status write per object and minute once its state is told
/// (R2.4, T6).
#[tokio::test]
async fn a_steady_state_writes_nothing_but_leases() -> Result<()> {
    let world = World::new("steady").await?;
    let mut backends = Vec::new();
    for index in 0..20 {
        let backend = Backend::start(Script::stateless()).await?;
        world
            .add_remote(&format!("server-{index}"), &backend.url())
            .await?;
        backends.push(backend);
    }
    for name in ["left", "right"] {
        world.add_virtual(name, json!({})).await?;
    }
    let _operator = world.operator().await?;
    let _left = world.gateway("left").await?;
    let _right = world.gateway("right").await?;
    for name in ["left", "right"] {
        let ready = world.until_phase(name, "Ready", SOON).await?;
        ensure!(ready.backends.as_deref() == Some("20/20"), "{ready:?}");
    }
    // The last counters are published up to 5 s after the last change of state.
    tokio::time::sleep(Duration::from_secs(8)).await;

    let mark = world.plane.audit().mark();
    // The measured minute.
    tokio::time::sleep(MINUTE).await;
    let events = world.plane.audit().since(&mark);
    ensure!(
        events
            .iter()
            .any(|event| event.resource == "leases" && event.namespace == world.name()),
        "no renewal of a Lease was counted: the count is blind"
    );
    let written = writes(&world, events);
    ensure!(written.is_empty(), "{written:#?}");

    backends[0].stop().await;
    for name in ["left", "right"] {
        world.until_phase(name, "Degraded", SOON).await?;
    }
    // consecutiveFailures is exact up to 10: about 75 s of checks, each published.
    for name in ["left", "right"] {
        world
            .until(name, "ten failures", Duration::from_secs(120), |status| {
                let failures = status.discovered_backends.iter();
                failures
                    .filter_map(|found| found.consecutive_failures)
                    .any(|count| count >= 10)
            })
            .await?;
    }
    // Counters may still be published, once in 5 s.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mark = world.plane.audit().mark();
    // The measured minute.
    tokio::time::sleep(MINUTE).await;
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for write in writes(&world, world.plane.audit().since(&mark)) {
        *counted.entry(write).or_default() += 1;
    }
    ensure!(counted.values().all(|count| *count <= 1), "{counted:#?}");
    Ok(())
}
