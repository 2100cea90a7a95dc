//! What clients see when the tools of a backend change, through a real gateway process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vmcp::backend::watch::{self, Ended, OnChange};
use vmcp::snapshot::{Endpoint, ProtocolChoice, SessionLoss, Transport};
use vmcp_core::health::{Dialect, SessionMode, Wire};
use vmcp_core::mcp::{Era, ProtocolVersion};
use vmcp_tests::backend::{Backend, Behaviour, Fault, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON};

/// "At once": a check of the list follows an announcement within a second, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn echo(name: &str) -> Tool {
    Tool::new(name, Behaviour::Echo)
}

async fn changes(local: &Local) -> Result<u64> {
    let metrics = http::get(local.gateway.admin, "/metrics").await?.text();
    let series = "vmcp_backend_catalog_changes_total{backend=\"a\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    Ok(line.unwrap_or_default().parse()?)
}

/// Waits until the gateway listens to the backend.
async fn followed(backend: &Backend, request: &str) -> Result<()> {
    eventually("the gateway follows the backend", SOON, || async {
        ensure!(!backend.requests(request).is_empty(), "no {request}");
        Ok(())
    })
    .await
}

/// R4.11, T13: an announced change of either era is listed at once, also where the session of the
/// watch listens for other reasons (a second stream would be refused), a new schema under an old name
/// as well; T15: an announcement without a change publishes nothing.
#[tokio::test]
async fn an_announced_change_is_listed_at_once_and_an_empty_one_changes_nothing() -> Result<()> {
    let talkative = Script::legacy().with_get_stream().with_logging();
    let kinds = [
        (Script::legacy().with_get_stream(), "GET"),
        (talkative, "GET"),
        (Script::modern().with_get_stream(), "subscriptions/listen"),
    ];
    for (script, request) in kinds {
        let backend = Backend::start(script.with_tools(vec![echo("first")])).await?;
        let local = Local::start(&[("a", backend.url())], json!({})).await?;
        let client = local.ready_client().await?;
        followed(&backend, request).await?;

        backend.set_tools(vec![echo("first"), echo("second")]);
        eventually("the new tool is listed", AT_ONCE, || async {
            let tools = client.tools().await?;
            ensure!(tools == ["a_first", "a_second"], "{tools:?}");
            Ok(())
        })
        .await?;

        let schema = r#"{"name":"first","inputSchema":{"type":"object","required":["x"]}}"#;
        backend.set_tools(vec![
            Tool::raw("first", schema, Behaviour::Echo),
            echo("second"),
        ]);
        eventually("the new schema is listed", AT_ONCE, || async {
            let page = client.result("tools/list", json!({})).await?.to_string();
            ensure!(page.contains(r#""required":["x"]"#), "{page}");
            Ok(())
        })
        .await?;

        let (before, lists) = (changes(&local).await?, backend.requests("tools/list").len());
        (0..50).for_each(|_| backend.announce_tools_changed());
        eventually("the burst was looked at", AT_ONCE, || async {
            ensure!(backend.requests("tools/list").len() > lists);
            Ok(())
        })
        .await?;
        ensure!(changes(&local).await? == before, "nothing had changed");
        let made = backend.requests("tools/list").len() - lists;
        ensure!(made <= 3, "a burst of 50 made {made} lists");
    }
    Ok(())
}

/// T7, R2.8: the stream and its session end with the backend's removal, and with the gateway.
#[tokio::test]
async fn a_removed_backend_is_followed_no_longer() -> Result<()> {
    let gone = Backend::start(Script::legacy().with_get_stream()).await?;
    let kept = Backend::start(Script::legacy().with_get_stream()).await?;
    let local = Local::start(&[("gone", gone.url()), ("kept", kept.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    followed(&gone, "GET").await?;
    followed(&kept, "GET").await?;

    local.delete("MCPServer", "gone")?;
    eventually("nothing is left at the removed one", AT_ONCE, || async {
        ensure!(
            gone.connections_open() == 0,
            "{} sockets",
            gone.connections_open()
        );
        ensure!(gone.sessions_open() == 0, "{:?}", gone.sessions());
        Ok(())
    })
    .await?;

    let exit = local.gateway.program.terminate(SOON).await?;
    ensure!(exit.code() == Some(0), "{exit}");
    ensure!(kept.sessions_open() == 0, "{:?}", kept.sessions());
    Ok(())
}

/// A backend that announces nothing is not followed: no stream, no session but the check's.
#[tokio::test]
async fn a_backend_that_announces_nothing_is_not_followed() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let spec = json!({ "healthCheck": { "periodSeconds": 1 } });
    let local = Local::start(&[("a", backend.url())], spec).await?;
    local.until_phase("Ready", SOON).await?;
    let checks = backend.cycles();
    eventually("several checks", SOON, || async {
        ensure!(backend.cycles() >= checks + 4);
        Ok(())
    })
    .await?;

    ensure!(
        backend.requests("GET").is_empty(),
        "{:?}",
        backend.requests("GET")
    );
    ensure!(backend.sessions().len() == 1, "{:?}", backend.sessions());
    Ok(())
}

/// T2, T7, R2.3: a server that announces changes and has no stream is recognised as one that will
/// never serve it, any other refusal is not; the session that was opened for it is ended.
#[tokio::test]
async fn a_refused_stream_leaves_nothing_and_is_told_from_a_broken_one() -> Result<()> {
    let kinds = [
        (405, Ended::Refused),
        (401, Ended::Broken),
        (404, Ended::Broken),
        (503, Ended::Broken),
    ];
    for (status, expected) in kinds {
        let backend = Backend::start(Script::legacy().with_get_stream()).await?;
        backend
            .set(Fault::on("GET", Fault::http_status(status)))
            .await?;
        let endpoint = Endpoint {
            url: backend.url().parse()?,
            host_header: None,
            transport: Transport::StreamableHttp,
            protocol: ProtocolChoice::Auto,
            connect_timeout: SOON,
            call_timeout: SOON,
            session_loss: SessionLoss::default(),
            pods: vmcp::pods::Pods::default(),
        };
        let dialect = Dialect {
            era: Era::Legacy,
            version: ProtocolVersion::LATEST_LEGACY,
            wire: Wire::StreamableHttp,
            sessions: SessionMode::Stateful,
        };
        let nothing = OnChange::new(|| {});
        let never = CancellationToken::new();
        let ended = watch::follow(Arc::new(endpoint), dialect, nothing, never).await;

        ensure!(ended == expected, "{status}: {ended:?}");
        ensure!(backend.sessions().len() == 1, "{:?}", backend.sessions());
        ensure!(backend.sessions_open() == 0, "{:?}", backend.sessions());
    }
    Ok(())
}
