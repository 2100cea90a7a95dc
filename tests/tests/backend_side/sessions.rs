//! Upstream sessions: one for each owner, none shared, none left behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use vmcp::gateway::port::{BackendPort, UpstreamEvent};
use vmcp_tests::backend::{Backend, Era, Fault, Script, SessionEnd, UnknownSession};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, sessions};

/// T12: each client has a session of its own at a stateful backend, and keeps it.
#[tokio::test]
async fn each_client_has_its_own_session() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;

        for client in ["a", "b", "a", "b", "a"] {
            caller.result(&Ask::echo().by(client)).await;
        }

        let calls = backend.requests("tools/call");
        let used: Vec<_> = calls.iter().map(|call| call.session.clone()).collect();
        assert!(used.iter().all(Option::is_some), "{era:?}: {used:?}");
        assert_eq!(used.iter().collect::<HashSet<_>>().len(), 2, "{era:?}");
        assert_eq!((&used[0], &used[1]), (&used[2], &used[3]), "{era:?}");
        sessions(&backend, 2).await?;
    }
    Ok(())
}

/// T12: calls of one client at the same time open one session, not two.
#[tokio::test]
async fn calls_at_the_same_time_share_the_handshake() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    backend
        .set(Fault::on(
            "initialize",
            Fault::Slow(Duration::from_millis(100)),
        ))
        .await?;

    let ask = Ask::echo();
    let calls = (0..8).map(|_| caller.result(&ask));
    futures::future::join_all(calls).await;

    assert_eq!(backend.requests("initialize").len(), 1);
    assert_eq!(backend.requests("tools/call").len(), 8);
    Ok(())
}

/// T12: a lease belongs to one call at a time; a call that ended well leaves it for the next.
#[tokio::test]
async fn a_lease_is_exclusive_and_is_used_again() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;

        caller.result(&Ask::echo().leased()).await;
        caller.result(&Ask::echo().leased()).await;
        sessions(&backend, 1).await?;

        let slow = Ask::tool("slow", r#"{"ms":300}"#).leased();
        let at_once = [
            caller.result(&slow),
            caller.result(&slow),
            caller.result(&slow),
        ];
        futures::future::join_all(at_once).await;
        let calls = backend.requests("tools/call");
        let used: HashSet<_> = calls[2..].iter().map(|call| call.session.clone()).collect();
        assert_eq!(
            used.len(),
            3,
            "{era:?}: three calls at once, three sessions"
        );
    }
    Ok(())
}

/// T12: a lease whose call did not end well is ended: the call may still run in it.
#[tokio::test]
async fn a_lease_of_a_cancelled_call_is_ended() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    backend
        .set(Fault::on("tools/call", Fault::AcceptAndHang))
        .await?;

    caller
        .error(&Ask::echo().leased().within(Duration::from_millis(300)))
        .await;

    sessions(&backend, 0).await?;
    Ok(())
}

/// T8, T18: a forgotten session is replaced and the call, which was refused for it, is sent once
/// more; told by 404 or by 400.
#[tokio::test]
async fn a_forgotten_session_is_replaced_and_the_call_runs_once() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        for ask in [Ask::echo(), Ask::echo().leased()] {
            let backend = Backend::start(Script::legacy().with_unknown_session(answer)).await?;
            let caller = Caller::new(&backend).await;
            caller.result(&ask).await;
            backend.forget_sessions();
            backend.clear_log();

            caller.result(&ask).await;

            let served = backend
                .requests("tools/call")
                .iter()
                .filter(|call| call.status == Some(200))
                .count();
            assert_eq!(served, 1, "{answer:?}");
            assert_eq!(backend.requests("initialize").len(), 1, "{answer:?}");
            let pinged = !backend.requests("ping").is_empty();
            assert_eq!(
                pinged,
                answer == UnknownSession::BadRequest400,
                "{answer:?}"
            );
            sessions(&backend, 1).await?;
        }
    }
    Ok(())
}

/// T8: the process behind a stream of 2024-11-05 is another one, and nobody closed the stream: the
/// refusal of the POST says that the session is lost.
#[tokio::test]
async fn a_session_behind_a_dead_stream_is_replaced() -> Result<()> {
    let backend = Backend::start(Script::sse()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    backend.vanish();

    let result = caller.result(&Ask::echo()).await;

    ensure!(result.contains("vmcp.dev/sessionRestarted"), "{result}");
    caller.result(&Ask::echo()).await;
    assert_eq!(backend.requests("initialize").len(), 2);
    sessions(&backend, 1).await
}

/// T18: a 400 that is about the request, in a session that answers, passes and costs no session.
#[tokio::test]
async fn a_400_in_a_living_session_is_passed_on() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    let fault = Fault::JsonRpcError {
        code: -32_602,
        http_status: 400,
    };
    backend.set(Fault::on("tools/call", fault)).await?;
    backend.clear_log();

    let mut events = caller.send(&Ask::echo()).await?;
    let event = events.recv().await;

    assert!(
        matches!(&event, Some(Ok(UpstreamEvent::Response(Err(error)))) if error.code == -32_602),
        "{event:?}"
    );
    assert!(backend.requests("initialize").is_empty());
    assert_eq!(backend.requests("tools/call").len(), 1);
    assert_eq!(backend.requests("ping").len(), 1);
    Ok(())
}

/// T8: a server that refuses every session is asked twice, not for ever.
#[tokio::test]
async fn a_session_is_renewed_once_for_a_call() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    backend
        .set(Fault::on("tools/call", Fault::http_status(404)))
        .await?;

    let error = caller.error(&Ask::echo()).await;

    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(backend.requests("tools/call").len(), 2);
    assert_eq!(backend.requests("initialize").len(), 2);
    sessions(&backend, 1).await?;
    Ok(())
}

/// T7: the end of a client's session ends its upstream sessions, and only its.
#[tokio::test]
async fn the_end_of_a_client_ends_its_sessions() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo().by("a")).await;
        caller.result(&Ask::echo().by("b")).await;

        caller.upstream.end_session("a".into()).await;

        sessions(&backend, 1).await?;
        caller.result(&Ask::echo().by("b")).await;
        sessions(&backend, 1).await?;
    }
    Ok(())
}

/// T7: a client that ends while its handshake is under way leaves no session behind.
#[tokio::test]
async fn a_session_that_opens_too_late_is_ended() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    backend
        .set(Fault::on(
            "initialize",
            Fault::Slow(Duration::from_millis(200)),
        ))
        .await?;
    let request = caller.request(&Ask::echo());
    let call = tokio::spawn(caller.upstream.send(Arc::new(request)));
    eventually("the handshake is under way", PATIENCE, || async {
        ensure!(!backend.requests("initialize").is_empty());
        Ok(())
    })
    .await?;

    caller.upstream.end_session("client-a".into()).await;

    let outcome = call.await?;
    assert!(outcome.is_err(), "{outcome:?}");
    eventually("the late session is ended", PATIENCE, || async {
        let all = backend.sessions();
        ensure!(all.iter().any(|session| session.ended.is_some()) && backend.sessions_open() == 0);
        Ok(())
    })
    .await
}

/// T7: a handshake that fails after it named a session ends that session.
#[tokio::test]
async fn a_failed_handshake_leaves_no_session() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    backend
        .set(Fault::on("initialize", Fault::StallMidBody))
        .await?;

    caller
        .error(&Ask::echo().within(Duration::from_millis(400)))
        .await;

    sessions(&backend, 0).await?;
    Ok(())
}

/// A stateless server is never asked to open a session.
#[tokio::test]
async fn a_stateless_server_gets_the_call_and_nothing_else() -> Result<()> {
    for era in [Era::LegacyStateless, Era::ModernOnly] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;

        caller.result(&Ask::echo()).await;
        caller.result(&Ask::echo().leased()).await;

        assert!(
            backend
                .log()
                .iter()
                .all(|entry| entry.method() == "tools/call"),
            "{era:?}"
        );
    }
    Ok(())
}

/// The sessions of a client end by DELETE, so that the server need not guess.
#[tokio::test]
async fn sessions_end_by_delete() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;

    caller.upstream.end_session("client-a".into()).await;

    let last = backend.sessions();
    assert!(
        last.iter()
            .all(|session| matches!(session.ended, Some((_, SessionEnd::Deleted)))),
        "{last:?}"
    );
    Ok(())
}
