//! Sessions that are lost or ended while several calls are at it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, poll_immediate};

use vmcp::gateway::port::{BackendPort, UpstreamError, UpstreamEvent, UpstreamEvents};
use vmcp_tests::backend::{Backend, Fault, Script, UnknownSession};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, sessions};

/// Calls that a backend may have under way; the next one waits.
const PLACES: usize = 100;

/// T8, T18, R4.2: a backend forgets its sessions while a client has five calls at once: each of
/// them is answered, and one new session serves them all.
#[tokio::test]
async fn every_parallel_call_survives_a_forgotten_session() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let backend = Backend::start(Script::legacy().with_unknown_session(answer)).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo()).await;

        for round in 0..5 {
            backend.forget_sessions();
            backend.clear_log();
            let ask = Ask::echo();

            let calls = join_all((0..5).map(|_| caller.call(&ask))).await;

            for call in calls {
                call.with_context(|| format!("{answer:?}, round {round}"))?;
            }
            let opened = backend.requests("initialize").len();
            assert_eq!(opened, 1, "{answer:?}, round {round}");
            let served = backend.requests("tools/call");
            let served = served.iter().filter(|call| call.status == Some(200));
            assert_eq!(served.count(), 5, "{answer:?}, round {round}");
            sessions(&backend, 1).await?;
        }
    }
    Ok(())
}

/// T8, R4.2: a call that waited for its place while another one of its client renewed the session
/// runs in the new one.
#[tokio::test]
async fn a_call_that_waited_runs_in_the_renewed_session() -> Result<()> {
    for answer in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let backend = Backend::start(Script::legacy().with_unknown_session(answer)).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo()).await;
        let busy = occupy(&backend, &caller, PLACES - 1).await?;
        backend.forget_sessions();

        // Polled once each, so that both claim the old session and one place is left for them.
        let mut first = caller.upstream.send(Arc::new(caller.request(&Ask::echo())));
        let mut second = caller.upstream.send(Arc::new(caller.request(&Ask::echo())));
        assert!(poll_immediate(&mut first).await.is_none());
        assert!(poll_immediate(&mut second).await.is_none());

        answered(first.await).await?;
        answered(second.await).await?;
        drop(busy);
    }
    Ok(())
}

/// T7: a client that ends while its call waits for a place leaves no session behind.
#[tokio::test]
async fn a_client_that_ends_while_its_call_waits_leaves_no_session() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    let busy = occupy(&backend, &caller, PLACES).await?;
    let mut waiting = caller
        .upstream
        .send(Arc::new(caller.request(&Ask::echo().by("leaver"))));
    assert!(poll_immediate(&mut waiting).await.is_none());

    caller.upstream.end_session("leaver".into()).await;

    let outcome = waiting.await;
    assert!(
        matches!(&outcome, Err(UpstreamError::Unavailable(failure)) if failure.message.contains("ended its session")),
        "{outcome:?}"
    );
    assert_eq!(backend.requests("initialize").len(), 2, "the busy clients'");
    join_all(busy).await;
    sessions(&backend, 2).await
}

/// T7: a client that ends while its call is refused for a forgotten session gets no new session,
/// for nobody would end it.
#[tokio::test]
async fn a_client_that_ends_before_the_refusal_gets_no_new_session() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    backend
        .set(Fault::on(
            "tools/call",
            Fault::Slow(Duration::from_millis(300)),
        ))
        .await?;
    backend.clear_log();
    let call = tokio::spawn(caller.upstream.send(Arc::new(caller.request(&Ask::echo()))));
    arrived(&backend, 1).await?;

    caller.upstream.end_session("client-a".into()).await;
    backend.forget_sessions();

    let outcome = call.await?;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(backend.requests("initialize").is_empty());
    sessions(&backend, 0).await
}

type Busy = Vec<tokio::task::JoinHandle<Result<UpstreamEvents, UpstreamError>>>;

/// Takes places with slow calls of two other clients, for each may have half.
async fn occupy(backend: &Backend, caller: &Caller, places: usize) -> Result<Busy> {
    backend.clear_log();
    let slow = Ask::tool("slow", r#"{"ms":700}"#);
    let busy = (0..places)
        .map(|call| {
            let slow = slow.clone().by(["busy-a", "busy-b"][call % 2]);
            tokio::spawn(caller.upstream.send(Arc::new(caller.request(&slow))))
        })
        .collect();
    arrived(backend, places).await?;
    Ok(busy)
}

async fn arrived(backend: &Backend, calls: usize) -> Result<()> {
    eventually("the calls have arrived", PATIENCE, || async {
        let arrived = backend.requests("tools/call").len();
        ensure!(arrived == calls, "{arrived} calls of {calls}");
        Ok(())
    })
    .await
}

async fn answered(sent: Result<UpstreamEvents, UpstreamError>) -> Result<()> {
    let event = sent?.recv().await;
    ensure!(
        matches!(&event, Some(Ok(UpstreamEvent::Response(Ok(_))))),
        "{event:?}"
    );
    Ok(())
}
