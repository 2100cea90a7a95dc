//! Upstream sessions that outlive their replica, and those that are lost.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::sync::Arc;

use vmcp::gateway::port::{BackendPort, UpstreamError, UpstreamRequest};
use vmcp::snapshot::SessionLoss;
use vmcp_tests::backend::{Backend, Era, Fault, Script, UnknownSession};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, sessions};

const RESTARTED: &str = "vmcp.dev/sessionRestarted";

async fn marked(caller: &Caller, ask: &Ask<'_>) -> bool {
    let result: Value = serde_json::from_str(&caller.result(ask).await).unwrap_or_default();
    result["_meta"][RESTARTED] == true
}

fn failing(caller: &Caller) -> Caller {
    let mut endpoint = (*caller.target.endpoint).clone();
    endpoint.session_loss = SessionLoss::Fail;
    Caller::with(endpoint.into(), caller.target.dialect)
}

/// A session that is handed over is not ended, goes on at the next call, and ends with its client.
#[tokio::test]
async fn a_session_goes_on_in_another_replica() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_logging().with_get_stream()).await?;
    let old = Caller::new(&backend).await;
    let able = |caller: &Caller| UpstreamRequest {
        client_capabilities: Some(r#"{"roots":{}}"#.into()),
        log_level: Some(r#""debug""#.into()),
        ..caller.request(&Ask::echo())
    };
    let mut events = old.upstream.send(Arc::new(able(&old))).await?;
    events.recv().await.context("a result")??;

    let handed = old.upstream.export_sessions("client-a");
    assert_eq!(handed.sessions.len(), 1);
    let again = old.upstream.export_sessions("client-a");
    assert!(again.sessions.is_empty());
    old.upstream.end_session("client-a".into()).await;
    old.upstream.shutdown(std::time::Duration::ZERO).await;
    backend.clear_log();
    let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
    let written = serde_json::to_string(&handed)?;
    let read = serde_json::from_str(&written)?;
    ensure!(new.upstream.import_sessions("client-a".into(), read));
    let mut events = new.upstream.send(Arc::new(able(&new))).await?;
    events.recv().await.context("a result")??;

    let methods: Vec<_> = backend
        .log()
        .iter()
        .map(|one| one.method().to_owned())
        .collect();
    assert_eq!(methods, ["GET", "tools/call"]);
    assert!(!marked(&new, &Ask::echo()).await);
    assert_eq!(backend.sessions_open(), 1);
    new.upstream.end_session("client-a".into()).await;
    sessions(&backend, 0).await
}

/// T7: what was handed over and never used is ended with its client too, or handed on.
#[tokio::test]
async fn a_session_that_nobody_used_is_ended_or_handed_on() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let first = Caller::new(&backend).await;
    first.result(&Ask::echo()).await;
    first.result(&Ask::echo().by("client-b")).await;
    let second = Caller::with(first.target.endpoint.clone(), first.target.dialect);
    let third = Caller::with(first.target.endpoint.clone(), first.target.dialect);

    for client in ["client-a", "client-b"] {
        let handed = first.upstream.export_sessions(client);
        ensure!(second.upstream.import_sessions(client.into(), handed));
    }
    second.upstream.end_session("client-a".into()).await;
    sessions(&backend, 1).await?;
    let handed = second.upstream.export_sessions("client-b");
    ensure!(third.upstream.import_sessions("client-b".into(), handed));
    third.result(&Ask::echo().by("client-b")).await;
    assert_eq!(backend.requests("initialize").len(), 2);
    third.upstream.end_session("client-b".into()).await;
    sessions(&backend, 0).await
}

/// T7: what was handed over and never used is ended with its replica.
#[tokio::test]
async fn a_session_that_nobody_used_is_ended_with_its_replica() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let old = Caller::new(&backend).await;
    old.result(&Ask::echo()).await;
    old.result(&Ask::echo().by("client-b")).await;
    let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
    for client in ["client-a", "client-b"] {
        let handed = old.upstream.export_sessions(client);
        ensure!(new.upstream.import_sessions(client.into(), handed));
    }
    new.result(&Ask::echo().by("client-b")).await;

    new.upstream.shutdown(std::time::Duration::ZERO).await;

    assert_eq!(backend.sessions_open(), 0);
    Ok(())
}

/// A session that arrives after its client went on in another one is ended (T7); one that arrives
/// again changes nothing.
#[tokio::test]
async fn a_session_that_comes_too_late_is_ended_and_one_that_comes_twice_is_not() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let old = Caller::new(&backend).await;
    old.result(&Ask::echo()).await;
    old.result(&Ask::echo().by("client-b")).await;
    let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
    new.result(&Ask::echo()).await;
    let again = old.upstream.export_sessions("client-b");
    ensure!(
        new.upstream
            .import_sessions("client-b".into(), again.clone())
    );
    new.result(&Ask::echo().by("client-b")).await;

    let late = old.upstream.export_sessions("client-a");
    ensure!(new.upstream.import_sessions("client-a".into(), late));
    ensure!(new.upstream.import_sessions("client-b".into(), again));
    new.result(&Ask::echo()).await;
    new.result(&Ask::echo().by("client-b")).await;

    sessions(&backend, 2).await?;
    assert_eq!(backend.requests("initialize").len(), 3);
    Ok(())
}

/// Architecture 8: a 2024-11-05 session lives in its stream and dies with its replica: the client
/// is told, once, by whoever serves it next.
#[tokio::test]
async fn a_session_that_cannot_be_handed_over_counts_as_lost() -> Result<()> {
    let backend = Backend::start(Script::sse()).await?;
    let old = Caller::new(&backend).await;
    old.result(&Ask::echo()).await;
    let handed = old.upstream.export_sessions("client-a");
    let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
    ensure!(new.upstream.import_sessions("client-a".into(), handed));

    assert!(marked(&new, &Ask::echo()).await);
    assert!(!marked(&new, &Ask::echo()).await);
    Ok(())
}

/// What nobody has told the client yet is told by the next replica.
#[tokio::test]
async fn the_knowledge_of_a_loss_goes_along() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let old = Caller::new(&backend).await;
    old.upstream.sessions_lost("client-a".into());
    let handed = old.upstream.export_sessions("client-a");
    let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
    ensure!(new.upstream.import_sessions("client-a".into(), handed));

    assert!(marked(&new, &Ask::echo()).await);
    Ok(())
}

/// T18: a session that was handed over and is not known any more is renewed, and the client told.
#[tokio::test]
async fn a_session_that_is_forgotten_on_the_way_is_renewed() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let backend = Backend::start(Script::legacy().with_unknown_session(answer)).await?;
        let old = Caller::new(&backend).await;
        old.result(&Ask::echo()).await;
        let handed = old.upstream.export_sessions("client-a");
        let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
        ensure!(new.upstream.import_sessions("client-a".into(), handed));
        backend.forget_sessions();

        assert!(marked(&new, &Ask::echo()).await, "{answer:?}");
        assert!(!marked(&new, &Ask::echo()).await, "{answer:?}");
        sessions(&backend, 1).await?;
    }
    Ok(())
}

/// What a server says unasked is heard in the new replica as in the old one: log messages too, for a
/// client that can be asked nothing.
#[tokio::test]
async fn a_session_that_was_handed_over_is_listened_to() -> Result<()> {
    for (script, listened) in [
        (Script::legacy().with_get_stream().with_logging(), 1),
        (Script::legacy().with_get_stream(), 0),
    ] {
        let backend = Backend::start(script).await?;
        let old = Caller::new(&backend).await;
        old.result(&Ask::echo()).await;
        assert_eq!(backend.requests("GET").len(), listened);
        let handed = old.upstream.export_sessions("client-a");
        backend.clear_log();

        let new = Caller::with(old.target.endpoint.clone(), old.target.dialect);
        ensure!(new.upstream.import_sessions("client-a".into(), handed));
        new.result(&Ask::echo()).await;

        eventually("the stream stands as it did", PATIENCE, || async {
            let mut heard = backend.requests("GET");
            heard.retain(|one| one.status == Some(200));
            ensure!(heard.len() == listened, "{} streams", heard.len());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Architecture 8: the first result after a session was lost says so, once, and only to its client.
#[tokio::test]
async fn the_first_result_of_a_new_session_says_so() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    assert!(!marked(&caller, &Ask::echo()).await);
    backend.forget_sessions();

    assert!(marked(&caller, &Ask::echo()).await);
    assert!(!marked(&caller, &Ask::echo()).await);
    assert!(!marked(&caller, &Ask::echo().by("client-b")).await);
    let lease = Ask::echo().leased();
    assert!(!marked(&caller, &lease).await);
    backend.forget_sessions();
    assert!(
        !marked(&caller, &lease).await,
        "a lease has nothing to lose"
    );
    Ok(())
}

/// Architecture 8: after the death of a replica its clients' sessions count as lost.
#[tokio::test]
async fn the_sessions_of_a_dead_replica_count_as_lost() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    caller.upstream.sessions_lost("client-a".into());

    assert!(marked(&caller, &Ask::echo()).await);
    assert!(!marked(&caller, &Ask::echo()).await);
    let strict = failing(&caller);
    strict.upstream.sessions_lost("client-a".into());
    let error = strict.error(&Ask::echo()).await;
    ensure!(matches!(error, UpstreamError::SessionLost), "{error:?}");
    assert_eq!(backend.requests("initialize").len(), 1);
    Ok(())
}

/// `sessionLoss: Fail`: the client hears that its session is over, and nothing is opened anew for
/// it. A lease is nobody's session and is renewed.
#[tokio::test]
async fn a_backend_may_say_that_a_lost_session_is_over() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let backend = Backend::start(Script::legacy().with_unknown_session(answer)).await?;
        let caller = failing(&Caller::new(&backend).await);
        caller.result(&Ask::echo()).await;
        caller.result(&Ask::echo().leased()).await;
        backend.forget_sessions();
        backend.clear_log();

        let error = caller.error(&Ask::echo()).await;
        ensure!(matches!(error, UpstreamError::SessionLost), "{error:?}");
        assert!(backend.requests("initialize").is_empty());
        caller.result(&Ask::echo().leased()).await;
        caller.upstream.end_session("client-a".into()).await;
        caller.result(&Ask::echo()).await;
    }
    Ok(())
}

/// A backend that limits its calls is handed on with its own time to wait.
#[tokio::test]
async fn a_rate_limit_of_the_backends_is_handed_on() -> Result<()> {
    for era in [Era::LegacyStateful, Era::LegacyStateless, Era::ModernOnly] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        let limited = |retry_after| Fault::on("tools/call", Fault::RateLimited { retry_after });

        for (said, heard) in [(Some(7), Some(7)), (Some(7200), Some(300)), (None, None)] {
            backend.set(limited(said)).await?;
            let error = caller.error(&Ask::echo()).await;
            let UpstreamError::RateLimited { retry_after } = error else {
                anyhow::bail!("{era:?}: {error:?}");
            };
            assert_eq!(retry_after.map(|wait| wait.as_secs()), heard, "{era:?}");
        }
    }
    Ok(())
}

/// Arguments that the tool wants in headers go to modern backends, and only those headers.
#[tokio::test]
async fn arguments_in_headers_reach_modern_backends_alone() -> Result<()> {
    for (era, sent) in [
        (Era::ModernOnly, "=?base64?w6k=?="),
        (Era::LegacyStateless, ""),
    ] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        let request = UpstreamRequest {
            param_headers: vec![
                ("Mcp-Param-Region".into(), "=?base64?w6k=?=".into()),
                ("Authorization".into(), "Bearer x".into()),
            ],
            ..caller.request(&Ask::echo())
        };

        let mut events = caller.upstream.send(Arc::new(request)).await?;
        events.recv().await.context("a result")??;

        let call = &backend.requests("tools/call")[0];
        assert_eq!(call.header("mcp-param-region"), sent, "{era:?}");
        assert_eq!(call.header("authorization"), "");
    }
    Ok(())
}
