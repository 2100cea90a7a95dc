//! `vmcp serve -f` as a process: late, lying, hanging and deleted backends, good stops.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;
use vmcp_tests::backend::{Backend, Fault, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{Local, SOON, remote};

/// What R2.8 grants a deletion.
const GONE: Duration = Duration::from_secs(5);

async fn status(local: &Local) -> Result<Value> {
    http::get(local.gateway.admin, "/status").await?.json()
}

/// The entry of a backend in `discoveredBackends`.
async fn entry(local: &Local, name: &str) -> Result<Value> {
    let status = status(local).await?;
    let entries = status["discoveredBackends"].as_array().context("no list")?;
    let entry = entries.iter().find(|entry| entry["name"] == json!(name));
    entry
        .cloned()
        .with_context(|| format!("no {name} in {status}"))
}

async fn until_state(local: &Local, name: &str, state: &str) -> Result<Value> {
    eventually(&format!("{name} {state}"), SOON, || async {
        let entry = entry(local, name).await?;
        ensure!(entry["state"] == json!(state), "{entry}");
        Ok(entry)
    })
    .await
}

/// R2.1, R2.3, R2.5: backends that answer 404 or 500 during their first cycles are Ready within one
/// interval of the first good answer; phase goes Failed -> Ready; the text of the failure names
/// status and step and is gone afterwards; the process is the same all the time.
#[tokio::test]
async fn backends_that_fail_their_first_cycles_become_ready_without_a_restart() -> Result<()> {
    let mut backends = Vec::new();
    for status in [404, 500, 503] {
        let fault = Fault::first_cycles(4, Fault::http_status(status));
        let backend = Backend::start(Script::legacy()).await?;
        backend.set(fault).await?;
        backends.push((format!("b{status}"), backend));
    }
    let urls: Vec<(&str, String)> = backends
        .iter()
        .map(|(name, backend)| (name.as_str(), backend.url()))
        .collect();
    let local = Local::start(&urls, json!({})).await?;

    local.until_phase("Failed", SOON).await?;
    let failing = until_state(&local, "b500", "Unhealthy").await?;
    let text = failing["message"].as_str().unwrap_or_default().to_owned();
    ensure!(
        text.contains("HTTP 500") && text.contains("server/discover"),
        "{failing}"
    );

    local.until_phase("Ready", SOON).await?;
    for (name, _) in &backends {
        let entry = entry(&local, name).await?;
        ensure!(
            entry["consecutiveFailures"] == 0 && entry["message"] == "",
            "{entry}"
        );
    }
    ensure!(
        local.gateway.program.exited()?.is_none(),
        "it was never restarted"
    );
    Ok(())
}

/// R2.6: from the moment at which a backend answers again until it is Ready; short outages. Prints
/// median and maximum; the median is at most 3 s.
#[tokio::test]
async fn recovery_from_a_short_outage_takes_three_seconds_at_the_median() -> Result<()> {
    const OUTAGES: [u64; 5] = [1500, 2500, 3500, 5000, 6500];
    let mut backends = Vec::new();
    for at in 0..OUTAGES.len() {
        backends.push((format!("b{at}"), Backend::late(Script::legacy()).await?));
    }
    let urls: Vec<(&str, String)> = backends
        .iter()
        .map(|(name, backend)| (name.as_str(), backend.url()))
        .collect();
    let local = Local::start(&urls, json!({})).await?;
    let started = Instant::now();

    let local = &local;
    let recoveries = backends
        .iter()
        .zip(OUTAGES)
        .map(|((name, backend), outage)| async move {
            tokio::time::sleep_until(started + Duration::from_millis(outage)).await;
            backend.restart().await?;
            let answers = Instant::now();
            until_state(local, name, "Ready").await?;
            anyhow::Ok(answers.elapsed())
        });
    let mut took = futures::future::try_join_all(recoveries).await?;
    took.sort();

    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!("recovery: median {median:.2?}, maximum {most:.2?}, all {took:.2?}");
    ensure!(median <= Duration::from_secs(3), "median {median:?}");
    ensure!(most <= Duration::from_secs(11), "maximum {most:?}");
    Ok(())
}

/// R0.1, R0.2, R0.3, R0.5, R0.6, R0.8, R0.10: a remote that always answers 500 turns Unhealthy by
/// default and unasked, with the code in its message; nothing of ours ends; the first good check
/// sets it back and clears the message.
#[tokio::test]
async fn a_remote_that_always_answers_500_is_unhealthy_and_comes_back() -> Result<()> {
    let bad = Backend::start(Script::legacy()).await?;
    bad.set(Fault::http_status(500)).await?;
    let good = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("bad", bad.url()), ("good", good.url())], json!({})).await?;

    let unhealthy = until_state(&local, "bad", "Unhealthy").await?;
    ensure!(unhealthy["reason"] == "HttpStatus", "{unhealthy}");
    ensure!(
        unhealthy["message"]
            .as_str()
            .is_some_and(|m| m.contains("500")),
        "{unhealthy}"
    );
    let degraded = local.until_phase("Degraded", SOON).await?;
    ensure!(
        degraded["message"] == "Some backends are unhealthy",
        "{degraded}"
    );
    ensure!(local.gateway.program.exited()?.is_none(), "soft-unhealthy");

    bad.heal().await?;
    let ready = until_state(&local, "bad", "Ready").await?;
    ensure!(
        ready["message"] == "" && ready["consecutiveFailures"] == 0,
        "{ready}"
    );
    Ok(())
}

/// R0.4: an outage is found within 15 s where the connection is refused.
#[tokio::test]
async fn a_refused_connection_is_unhealthy_within_fifteen_seconds() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;

    backend.stop().await;
    let started = Instant::now();
    until_state(&local, "a", "Unhealthy").await?;

    println!("detected after {:.2?}", started.elapsed());
    ensure!(
        started.elapsed() <= Duration::from_secs(16),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

/// R0.7, R0.10, T3: a remote that wants a credential is AuthRequired, stays so over many checks, and
/// is no failure.
#[tokio::test]
async fn a_remote_that_wants_a_credential_is_auth_required_and_stays_so() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::unauthorized()).await?;
    let spec = json!({ "healthCheck": { "periodSeconds": 1 } });
    let local = Local::start(&[("a", backend.url())], spec).await?;

    until_state(&local, "a", "AuthRequired").await?;
    let checks = backend.cycles();
    eventually("more checks", SOON, || async {
        ensure!(
            backend.cycles() >= checks + 3,
            "{} cycles",
            backend.cycles()
        );
        Ok(())
    })
    .await?;

    let entry = entry(&local, "a").await?;
    ensure!(
        entry["state"] == "AuthRequired" && entry["consecutiveFailures"] == 0,
        "{entry}"
    );
    Ok(())
}

/// R1.14, R4.8, R2.5: a backend that takes the connection and never answers delays nobody: the
/// other is served at once, and readiness of the gateway does not wait for a verdict.
#[tokio::test]
async fn a_hanging_backend_holds_up_nobody() -> Result<()> {
    let stuck = Backend::start(Script::legacy()).await?;
    stuck.set(Fault::AcceptAndHang).await?;
    let good = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("stuck", stuck.url()), ("good", good.url())], json!({})).await?;

    until_state(&local, "good", "Ready").await?;
    let client = LegacyClient::open(local.gateway.listen).await?;
    ensure!(
        client
            .tools()
            .await?
            .iter()
            .all(|tool| tool.starts_with("good_"))
    );

    let unhealthy = until_state(&local, "stuck", "Unhealthy").await?;
    ensure!(unhealthy["reason"] == "HandshakeTimeout", "{unhealthy}");
    ensure!(
        stuck.connections_open() <= 2,
        "{} connections",
        stuck.connections_open()
    );
    Ok(())
}

/// R2.8: a deleted backend leaves `/status`, `/health`, `/metrics`, the catalogue and the sockets
/// within 5 s, and nothing connects to it again; T7: its health session is ended.
#[tokio::test]
async fn a_deleted_backend_vanishes_everywhere_within_five_seconds() -> Result<()> {
    let gone = Backend::start(Script::legacy()).await?;
    let kept = Backend::start(Script::legacy()).await?;
    let spec = json!({ "healthCheck": { "periodSeconds": 1 } });
    let local = Local::start(&[("gone", gone.url()), ("kept", kept.url())], spec).await?;
    let client = local.ready_client().await?;
    client.call("gone_echo", json!({ "text": "hello" })).await?;

    local.delete("MCPServer", "gone")?;
    eventually("gone from every output", GONE, || async {
        for path in ["/status", "/health", "/metrics"] {
            let text = http::get(local.gateway.admin, path).await?.text();
            ensure!(!text.contains("gone"), "{path}: {text}");
        }
        let tools = client.tools().await?;
        ensure!(
            tools.iter().all(|tool| tool.starts_with("kept_")),
            "{tools:?}"
        );
        ensure!(
            gone.connections_open() == 0,
            "{} sockets",
            gone.connections_open()
        );
        ensure!(
            gone.sessions_open() == 0,
            "{} sessions",
            gone.sessions_open()
        );
        Ok(())
    })
    .await?;

    let connections = gone.connections().len();
    let checks = kept.cycles();
    eventually("several intervals", SOON, || async {
        ensure!(kept.cycles() >= checks + 5, "{} cycles", kept.cycles());
        Ok(())
    })
    .await?;
    ensure!(
        gone.connections().len() == connections,
        "it was connected to again"
    );
    Ok(())
}

/// R2.8: the last backend is removed as well, and one of the same name is a new backend.
#[tokio::test]
async fn the_last_backend_vanishes_and_a_new_one_of_its_name_is_another() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    let first = entry(&local, "a").await?["uid"].clone();

    local.delete("MCPServer", "a")?;
    eventually("no backend", GONE, || async {
        let status = status(&local).await?;
        ensure!(status["discoveredBackends"] == json!([]), "{status}");
        ensure!(status["phase"] == "Failed", "{status}");
        Ok(())
    })
    .await?;

    local.apply(&remote("a", &backend.url()))?;
    local.until_phase("Ready", SOON).await?;
    ensure!(
        entry(&local, "a").await?["uid"] != first,
        "the same backend"
    );
    Ok(())
}

/// T7: a stop by SIGTERM ends every session at the backends and exits with 0.
#[tokio::test]
async fn a_stop_ends_all_sessions_at_the_backends() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    client.call("a_echo", json!({ "text": "hello" })).await?;
    ensure!(backend.sessions_open() >= 1, "there is a session to end");

    let exit = local.gateway.program.terminate(SOON).await?;

    ensure!(exit.code() == Some(0), "{exit}");
    ensure!(backend.sessions_open() == 0, "{:?}", backend.sessions());
    Ok(())
}
