//! `/healthz`, `/readyz`, `/health` and `/status` of a real gateway process.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Fault, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// Checks every second: these tests wait for several.
fn quick() -> Value {
    json!({ "healthCheck": { "periodSeconds": 1, "timeoutSeconds": 1 } })
}

async fn health(local: &Local) -> Result<Value> {
    http::get(local.gateway.admin, "/health").await?.json()
}

async fn until_server(local: &Local, name: &str, status: &str) -> Result<Value> {
    eventually(&format!("{name} {status}"), SOON, || async {
        let health = health(local).await?;
        ensure!(
            health["servers"][name]["status"] == json!(status),
            "{health}"
        );
        Ok(health)
    })
    .await
}

/// R3.1, R3.2, R3.3, R3.6: the answer has the agreed shape; a server runs after success, is in error
/// after failure with uptime 0, and is well again without a trace of the error.
#[tokio::test]
async fn health_follows_success_failure_and_recovery() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], quick()).await?;

    let running = until_server(&local, "a", "running").await?;
    ensure!(
        running["status"] == "healthy" && running["specVersion"] == "1.17.0",
        "{running}"
    );
    ensure!(
        running["gatewayVersion"]
            .as_str()
            .is_some_and(|v| v.split('.').count() == 3)
    );
    let uptime = eventually("uptime grows in whole seconds", SOON, || async {
        let uptime = health(&local).await?["servers"]["a"]["uptime"]
            .as_u64()
            .unwrap_or_default();
        ensure!(uptime >= 1, "{uptime}");
        Ok(uptime)
    })
    .await?;

    backend.set(Fault::http_status(500)).await?;
    let error = until_server(&local, "a", "error").await?;
    ensure!(
        error["status"] == "unhealthy" && error["servers"]["a"]["uptime"] == 0,
        "{error}"
    );

    backend.heal().await?;
    let again = until_server(&local, "a", "running").await?;
    ensure!(again["status"] == "healthy", "{again}");
    let restarted = again["servers"]["a"]["uptime"].as_u64().unwrap_or(u64::MAX);
    ensure!(
        restarted <= uptime,
        "uptime counts from the recovery: {restarted}"
    );
    Ok(())
}

/// R3.1: before its first success or failure a server is stopped, never running.
#[tokio::test]
async fn a_server_without_a_verdict_is_stopped() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend.set(Fault::Hold).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;

    let first = health(&local).await?;
    ensure!(
        first["servers"]["a"] == json!({ "status": "stopped", "uptime": 0 }),
        "{first}"
    );

    backend.heal().await?;
    until_server(&local, "a", "running").await?;
    Ok(())
}

/// R3.5: a server that is replaced by another URL starts from stopped; uptime never grows over it.
#[tokio::test]
async fn a_closed_runtime_is_stopped_until_the_next_one_succeeds() -> Result<()> {
    let first = Backend::start(Script::legacy()).await?;
    let second = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", first.url())], json!({})).await?;
    until_server(&local, "a", "running").await?;

    second.set(Fault::Hold).await?;
    local.apply(&remote("a", &second.url()))?;

    let stopped = until_server(&local, "a", "stopped").await?;
    ensure!(stopped["servers"]["a"]["uptime"] == 0, "{stopped}");
    second.heal().await?;
    until_server(&local, "a", "running").await?;
    Ok(())
}

/// R3.4: what a backend says is sanitised and cut before it is published.
#[tokio::test]
async fn a_credential_in_the_url_of_an_error_is_not_published() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    backend
        .set(Fault::Http307 {
            location: "/other?token=hunter2".to_owned(),
        })
        .await?;
    let local = Local::start(&[("a", backend.url())], quick()).await?;

    let status = eventually("the redirect is found", SOON, || async {
        let status = http::get(local.gateway.admin, "/status").await?.text();
        ensure!(status.contains("Redirected"), "{status}");
        Ok(status)
    })
    .await?;

    ensure!(!status.contains("hunter2"), "{status}");
    Ok(())
}

/// R2.5, decision "readiness never depends on a backend": ready after the first round, whatever it
/// found; not before.
#[tokio::test]
async fn readiness_means_a_first_round_is_done_and_never_that_backends_are_up() -> Result<()> {
    let stuck = Backend::start(Script::legacy()).await?;
    stuck.set(Fault::AcceptAndHang).await?;
    let local = Local::start(&[("a", stuck.url())], json!({})).await?;

    let early = http::get(local.gateway.admin, "/readyz").await?;
    ensure!(
        early.status == 503 && early.text().contains("first health round"),
        "{early:?}"
    );
    ensure!(http::get(local.gateway.admin, "/healthz").await?.status == 200);

    eventually(
        "ready after one deadline",
        Duration::from_secs(10),
        || async {
            let ready = http::get(local.gateway.admin, "/readyz").await?;
            ensure!(ready.status == 200, "{ready:?}");
            Ok(())
        },
    )
    .await?;
    local.until_phase("Failed", SOON).await?;
    ensure!(http::get(local.gateway.admin, "/readyz").await?.status == 200);
    Ok(())
}

/// Api.md: without backends and with `minReadyBackends: 0` the whole is Ready.
#[tokio::test]
async fn no_backends_are_fine_where_none_are_asked_for() -> Result<()> {
    let fine = Local::of(&[virtual_server("local", json!({ "minReadyBackends": 0 }))]).await?;
    let typo = Local::of(&[virtual_server("local", json!({}))]).await?;

    fine.until_phase("Ready", SOON).await?;
    let failed = typo.until_phase("Failed", SOON).await?;
    ensure!(
        failed["conditions"].to_string().contains("NoBackends"),
        "{failed}"
    );
    Ok(())
}

/// R1.13, R1.11: states are told apart, facts are kept apart, and the transitions can be read.
#[tokio::test]
async fn status_shows_facts_and_transitions() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], quick()).await?;
    local.until_phase("Ready", SOON).await?;

    backend.set(Fault::ListFails).await?;
    local.apply(&{
        let mut moved = remote("a", &backend.url());
        moved["spec"]["hostHeader"] = json!("other.example");
        moved
    })?;
    let status = eventually("alive, but without tools", SOON, || async {
        let status = http::get(local.gateway.admin, "/status").await?.json()?;
        ensure!(
            status["discoveredBackends"][0]["state"] == "Degraded",
            "{status}"
        );
        Ok(status)
    })
    .await?;

    let details = &status["details"]["a"];
    ensure!(details["facts"]["reachable"] == "True", "{details}");
    ensure!(
        details["facts"]["catalogued"] == "False ListFailed",
        "{details}"
    );
    let transitions = details["transitions"]
        .as_array()
        .map(Vec::len)
        .unwrap_or_default();
    ensure!(transitions >= 2, "{details}");
    ensure!(
        status["toolCount"].as_u64() > Some(0),
        "last-good tools stay: {status}"
    );
    Ok(())
}

/// T6: `/status`, `/health` and `/metrics` never disagree about a state, asked together again and
/// again while a backend comes and goes.
#[tokio::test]
async fn no_two_outputs_disagree_for_longer_than_one_publication() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], quick()).await?;
    for (fault, phase) in [(Fault::None, "Ready"), (Fault::http_status(500), "Failed")] {
        backend.set(fault).await?;
        local.until_phase(phase, SOON).await?;

        let health = health(&local).await?;
        let metrics = http::get(local.gateway.admin, "/metrics").await?.text();

        let up = phase == "Ready";
        ensure!((health["status"] == "healthy") == up, "{health}");
        let line = format!("vmcp_backend_up{{backend=\"a\"}} {}", u8::from(up));
        ensure!(metrics.contains(&line), "{metrics}");
        ensure!(
            metrics.contains(&format!("vmcp_phase{{phase=\"{phase}\"}} 1")),
            "{metrics}"
        );
    }
    Ok(())
}

/// The admin port answers other methods and paths with what is right.
#[tokio::test]
async fn unknown_paths_are_404_and_name_the_known_ones() -> Result<()> {
    let local = Local::of(&[virtual_server("local", json!({}))]).await?;

    let unknown = http::get(local.gateway.admin, "/nope").await?;

    ensure!(
        unknown.status == 404 && unknown.text().contains("/metrics"),
        "{unknown:?}"
    );
    Ok(())
}

/// A web page whose name points at this machine (DNS rebinding) reads nothing from the admin port.
#[tokio::test]
async fn the_local_admin_port_answers_to_local_names_only() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], quick()).await?;
    for (host, status) in [("evil.example", 403), ("localhost:9090", 200)] {
        let request = hyper::Request::get("/status")
            .header("host", host)
            .header("connection", "close")
            .body(http_body_util::Full::default())?;
        let answer = http::send(local.gateway.admin, request).await?;
        ensure!(answer.status == status, "{host}: {}", answer.text());
    }
    Ok(())
}
