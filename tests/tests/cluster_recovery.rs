//! From `kubectl apply` to Ready with backends that come up late, on a real API server with both of
//! our programs under the rights that we ship.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::Instant;
use vmcp_tests::backend::{Backend, Fault, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{SOON, World, apply_yaml, condition, entry, remote, virtual_server};

/// Time to the threshold at default settings, for a backend that refuses: checks at 0, 1 and 3 s,
/// with room for a busy machine.
const DETECTION: Duration = Duration::from_secs(20);

/// R2.7: one interval of 10 s, jittered, and the time from the first failure to the third.
const AGREEMENT: Duration = Duration::from_secs(14);

/// How long one of the aggregates `left` and `right` was in a phase before the other.
async fn apart(world: &World, phase: &str) -> Result<Duration> {
    let reached = |name: &'static str| async move {
        world.until_phase(name, phase, SOON).await?;
        anyhow::Ok(Instant::now())
    };
    let (left, right) = tokio::try_join!(reached("left"), reached("right"))?;
    Ok(left.max(right) - left.min(right))
}

/// R2.1, R2.3, R2.5, R2.10: everything is applied at once, in the worst order, while no backend
/// answers well; each comes up later and the aggregate goes Pending, Failed, Degraded, Ready by
/// itself. R4.7, R4.13: a call fails at once while its backend is away and works when it is back.
#[tokio::test]
async fn late_backends_turn_an_aggregate_ready_without_a_restart() -> Result<()> {
    let world = World::new("late").await?;
    let refusing = Backend::late(Script::legacy()).await?;
    let rejecting = Backend::start(Script::modern()).await?;
    rejecting.set(Fault::http_status(404)).await?;
    let objects = [
        virtual_server("all", json!({})),
        remote("refusing", &refusing.url()),
        remote("rejecting", &rejecting.url()),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });

    apply_yaml(&world.plane, world.name(), &list.to_string()).await?;
    let operator = world.operator().await?;
    let pending = world.until_phase("all", "Pending", SOON).await?;
    let gateway = world.gateway("all").await?;
    let failed = world.until_phase("all", "Failed", SOON).await?;

    ensure!(
        condition(&pending, "Ready").starts_with("Unknown"),
        "{pending:?}"
    );
    let found = entry(&failed, "rejecting").context("no entry")?;
    let message = found.message.clone().unwrap_or_default();
    ensure!(
        message.contains("404"),
        "the HTTP status is missing: {message}"
    );

    rejecting.heal().await?;
    let degraded = world.until_phase("all", "Degraded", SOON).await?;
    ensure!(
        degraded.message.as_deref() == Some("Some backends are unhealthy"),
        "{degraded:?}"
    );
    ensure!(
        condition(&degraded, "Ready").starts_with("True Degraded"),
        "{degraded:?}"
    );
    ensure!(degraded.backends.as_deref() == Some("1/2"), "{degraded:?}");

    let client = LegacyClient::open(gateway.listen).await?;
    let works = client
        .call("rejecting_echo", json!({ "text": "early" }))
        .await?;
    ensure!(works.get("result").is_some(), "{works}");

    refusing.restart().await?;
    let ready = world.until_phase("all", "Ready", SOON).await?;
    ensure!(ready.backends.as_deref() == Some("2/2"), "{ready:?}");
    ensure!(
        ready.message.as_deref() == Some("All backends are ready"),
        "{ready:?}"
    );
    let late = client
        .call("refusing_echo", json!({ "text": "late" }))
        .await?;
    ensure!(
        late["result"]["content"][0]["text"].as_str().is_some(),
        "{late}"
    );
    ensure!(gateway.program.exited()?.is_none() && operator.program.exited()?.is_none());
    let shown = world.kubectl_get("virtualmcpservers").await?;
    ensure!(shown.contains("Ready") && shown.contains("2/2"), "{shown}");
    Ok(())
}

/// R2.2: each check has a source port of its own, its connection is closed afterwards, and when
/// the gateway ends no session of it is left on the backend. T7, T9: what probed is counted.
#[tokio::test]
async fn every_check_opens_a_connection_of_its_own_and_leaves_no_session() -> Result<()> {
    let world = World::new("fresh").await?;
    let backend = Backend::start(Script::legacy()).await?;
    world.add_remote("one", &backend.url()).await?;
    let quick = json!({ "healthCheck": { "periodSeconds": 1, "timeoutSeconds": 1 } });
    world.add_virtual("all", quick).await?;

    let _operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;
    eventually("eight checks", SOON, || async {
        ensure!(
            backend.connections().len() >= 8,
            "{}",
            backend.connections().len()
        );
        Ok(())
    })
    .await?;

    let connections = backend.connections();
    let mut ports: Vec<u16> = connections.iter().map(|found| found.peer_port).collect();
    ports.sort_unstable();
    ports.dedup();
    ensure!(
        ports.len() == connections.len(),
        "a source port came twice: {connections:?}"
    );
    let open = connections
        .iter()
        .filter(|found| found.closed.is_none())
        .count();
    ensure!(
        open <= 1,
        "{open} connections are open beside the running check"
    );
    ensure!(backend.sessions_open() <= 1, "one health session at most");
    let metrics = http::get(gateway.admin, "/metrics").await?.text();
    let probes = metrics
        .lines()
        .filter(|line| line.starts_with("vmcp_backend_probes_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>();
    ensure!(probes >= 4.0, "probes_total says {probes}");

    gateway.program.terminate(Duration::from_secs(20)).await?;
    ensure!(backend.sessions_open() == 0, "{:?}", backend.sessions());
    Ok(())
}

/// R2.4, R0.1, R0.2, R0.3, R0.4, R0.5, R0.6, R0.8: a remote that always answers 500 is shown Unhealthy
/// with the status in the message, in time, by `kubectl get` and by the metric; the first good check
/// clears it.
#[tokio::test]
async fn a_remote_that_answers_500_is_shown_with_its_status_and_cleared_by_the_first_success()
-> Result<()> {
    let world = World::new("remote").await?;
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::http_status(500)).await?;
    world.add_remote("crm", &backend.url()).await?;
    world.add_virtual("all", json!({})).await?;

    let operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    let started = Instant::now();
    let shown = eventually("kubectl shows the status code", SOON, || async {
        let shown = world.kubectl_get("mcpservers").await?;
        ensure!(
            shown.contains("Unhealthy") && shown.contains("500"),
            "{shown}"
        );
        Ok(shown)
    })
    .await?;
    ensure!(
        started.elapsed() < DETECTION,
        "{:?}: {shown}",
        started.elapsed()
    );
    let server = world.servers().get("crm").await?;
    let failures = server
        .status
        .and_then(|status| status.consecutive_failures)
        .unwrap_or(0);
    ensure!(failures >= 3, "consecutiveFailures is {failures}");
    let metrics = http::get(gateway.admin, "/metrics").await?.text();
    ensure!(
        metrics.contains("vmcp_backend_up{backend=\"crm\"} 0"),
        "{metrics}"
    );
    ensure!(gateway.program.exited()?.is_none() && operator.program.exited()?.is_none());

    backend.heal().await?;
    eventually(
        "kubectl shows it ready and without message",
        SOON,
        || async {
            let status = world.servers().get("crm").await?.status.unwrap_or_default();
            let phase = status.phase.map(|phase| format!("{phase:?}"));
            ensure!(phase.as_deref() == Some("Ready"), "{status:?}");
            ensure!(
                status.message.as_deref().unwrap_or_default().is_empty(),
                "{status:?}"
            );
            ensure!(status.consecutive_failures.unwrap_or(0) == 0, "{status:?}");
            Ok(())
        },
    )
    .await
}

/// R2.7: two aggregates over one backend come to the same verdict within the time to the threshold
/// and one interval.
#[tokio::test]
async fn two_aggregates_over_one_backend_agree() -> Result<()> {
    let world = World::new("agree").await?;
    let backend = Backend::start(Script::stateless()).await?;
    world.add_remote("one", &backend.url()).await?;
    world.add_virtual("left", json!({})).await?;
    world.add_virtual("right", json!({})).await?;
    let _operator = world.operator().await?;
    let _left = world.gateway("left").await?;
    let _right = world.gateway("right").await?;
    for name in ["left", "right"] {
        world.until_phase(name, "Ready", SOON).await?;
    }

    backend.stop().await;
    let apart = apart(&world, "Failed").await?;
    ensure!(apart < AGREEMENT, "they disagreed for {apart:?}");
    backend.restart().await?;
    let apart = self::apart(&world, "Ready").await?;
    ensure!(apart < AGREEMENT, "they disagreed for {apart:?}");
    Ok(())
}

/// R4.8, R2.5: what a schema cannot see becomes a condition with reason and fix, and every other
/// backend works.
#[tokio::test]
async fn a_missing_ref_is_reported_and_the_others_work() -> Result<()> {
    let world = World::new("refs").await?;
    let backend = Backend::start(Script::stateless()).await?;
    world.add_remote("good", &backend.url()).await?;
    let refs = json!({ "backends": { "refs": [{ "name": "good" }, { "name": "typo" }] } });
    world.add_virtual("all", refs).await?;

    let _operator = world.operator().await?;
    let gateway = world.gateway("all").await?;
    let degraded = world.until_phase("all", "Degraded", SOON).await?;

    let missing = entry(&degraded, "typo").context("no entry for the missing ref")?;
    ensure!(
        missing.reason.as_deref() == Some("BackendNotFound"),
        "{missing:?}"
    );
    let discovered = condition(&degraded, "BackendsDiscovered");
    ensure!(
        discovered.starts_with("False BackendNotFound"),
        "{discovered}"
    );
    ensure!(discovered.contains("typo"), "{discovered}");
    let client = LegacyClient::open(gateway.listen).await?;
    ensure!(client.tools().await?.contains(&"good_echo".to_owned()));

    world.add_remote("typo", &backend.url()).await?;
    world.until_phase("all", "Ready", SOON).await?;
    Ok(())
}
