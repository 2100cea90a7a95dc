//! `/metrics` of a real gateway process: what is counted, and what vanishes.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Fault, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON};

async fn text(local: &Local) -> Result<String> {
    Ok(http::get(local.gateway.admin, "/metrics").await?.text())
}

/// The value of one series.
fn value(text: &str, series: &str) -> Result<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|r| r.starts_with(' '))
    });
    let line = line.with_context(|| format!("no {series} in {text}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

/// T9, R2.4: checks are made and counted by outcome; failures in a row are exact.
#[tokio::test]
async fn checks_and_failures_in_a_row_are_counted() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let spec = json!({ "healthCheck": { "periodSeconds": 1 } });
    let local = Local::start(&[("a", backend.url())], spec).await?;
    let good = r#"vmcp_backend_probes_total{backend="a",outcome="healthy",reason="none"}"#;
    eventually("three good checks", SOON, || async {
        ensure!(value(&text(&local).await?, good)? >= 3.0);
        Ok(())
    })
    .await?;

    backend.set(Fault::http_status(500)).await?;
    let bad = r#"vmcp_backend_probes_total{backend="a",outcome="failed",reason="HttpStatus"}"#;
    let metrics = eventually("four bad checks", SOON, || async {
        let metrics = text(&local).await?;
        ensure!(value(&metrics, bad)? >= 4.0, "{metrics}");
        Ok(metrics)
    })
    .await?;

    let row = value(
        &metrics,
        r#"vmcp_backend_consecutive_failures{backend="a"}"#,
    )?;
    ensure!(
        (row - value(&metrics, bad)?).abs() < 0.5,
        "every failure in a row: {metrics}"
    );
    let tripped = r#"vmcp_backend_transitions_total{backend="a",from="Ready",to="Unhealthy"}"#;
    ensure!((value(&metrics, tripped)? - 1.0).abs() < 0.5, "{metrics}");

    backend.heal().await?;
    local.until_phase("Ready", SOON).await?;
    let metrics = text(&local).await?;
    let row = value(
        &metrics,
        r#"vmcp_backend_consecutive_failures{backend="a"}"#,
    )?;
    ensure!(row.abs() < 0.5, "0 at the first success (R2.4): {metrics}");
    let recoveries = value(
        &metrics,
        r#"vmcp_backend_recovery_seconds_count{backend="a"}"#,
    )?;
    ensure!((recoveries - 1.0).abs() < 0.5, "{metrics}");
    Ok(())
}

/// Requests are counted by method, backend and code; unknown methods are `other`; no label is made
/// of what a client says.
#[tokio::test]
async fn requests_are_counted_with_bounded_labels() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    client.call("a_echo", json!({ "text": "hello" })).await?;
    client.tools().await?;
    client.result("made/up", json!({})).await.unwrap_err();

    let metrics = text(&local).await?;

    let calls = r#"vmcp_requests_total{method="tools/call",backend="a",code="ok"}"#;
    ensure!((value(&metrics, calls)? - 1.0).abs() < 0.5, "{metrics}");
    ensure!(
        metrics.contains(r#"vmcp_requests_total{method="tools/list",backend="none""#),
        "{metrics}"
    );
    ensure!(
        metrics.contains(r#"method="other""#) && !metrics.contains("made/up"),
        "{metrics}"
    );
    ensure!(
        !metrics.contains("a_echo") && !metrics.contains(&client.session),
        "{metrics}"
    );
    ensure!(metrics.contains(r#"vmcp_request_duration_seconds_bucket{kind="call",backend="a""#));
    ensure!(
        (value(&metrics, "vmcp_sessions")? - 1.0).abs() < 0.5,
        "{metrics}"
    );
    Ok(())
}

/// Api.md: the documented series are there.
#[tokio::test]
async fn every_documented_series_of_a_backend_is_there() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("a", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    client.call("a_echo", json!({ "text": "hello" })).await?;

    let metrics = text(&local).await?;

    for name in [
        "vmcp_backend_up",
        "vmcp_backend_state",
        "vmcp_backend_consecutive_failures",
        "vmcp_backend_probes_total",
        "vmcp_backend_probe_duration_seconds_bucket",
        "vmcp_backend_last_success_timestamp_seconds",
        "vmcp_backend_uptime_seconds",
        "vmcp_backend_recovery_seconds_bucket",
        "vmcp_backend_transitions_total",
        "vmcp_backend_catalog_age_seconds",
        "vmcp_backend_catalog_changes_total",
        "vmcp_requests_total",
        "vmcp_request_duration_seconds_bucket",
        "vmcp_upstream_duration_seconds_bucket",
        "vmcp_upstream_connections",
    ] {
        let series = format!("{name}{{");
        let found = metrics
            .lines()
            .any(|l| l.starts_with(&series) && l.contains("backend=\"a\""));
        ensure!(found, "no {name}: {metrics}");
    }
    for name in [
        "vmcp_phase{",
        "vmcp_build_info{",
        "vmcp_config_valid ",
        "vmcp_status_writes_total ",
    ] {
        ensure!(metrics.contains(name), "no {name}: {metrics}");
    }
    let answered = r#"vmcp_upstream_duration_seconds_count{backend="a"}"#;
    ensure!(value(&metrics, answered)? >= 1.0, "{metrics}");
    let connections = r#"vmcp_upstream_connections{backend="a"}"#;
    ensure!(value(&metrics, connections)? >= 1.0, "{metrics}");
    for phase in ["connect", "handshake", "list"] {
        let series =
            format!(r#"vmcp_backend_probe_duration_seconds_count{{backend="a",phase="{phase}"}}"#);
        ensure!(value(&metrics, &series)? >= 1.0, "{metrics}");
    }
    Ok(())
}
