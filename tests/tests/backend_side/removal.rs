//! Detaching and removing: first out of reach, then closed, and nothing stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use vmcp::gateway::port::{BackendPort, UpstreamError, UpstreamEvent};
use vmcp_core::health::ProbeReason;
use vmcp_core::id::Generation;
use vmcp_tests::backend::{Backend, Era, Script};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, all_closed, sessions};

/// R4.3, R4.12, R2.8: removal closes connections and ends sessions, twice is as good as once, and
/// an older snapshot cannot bring the runtime back.
#[tokio::test]
async fn a_removed_backend_leaves_nothing() -> Result<()> {
    for era in [Era::LegacyStateful, Era::ModernOnly, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo().by("a")).await;
        caller.result(&Ask::echo().by("b")).await;
        caller.result(&Ask::echo().leased()).await;

        caller
            .upstream
            .remove(&caller.target.id, caller.target.generation);
        caller
            .upstream
            .remove(&caller.target.id, caller.target.generation);

        sessions(&backend, 0).await?;
        all_closed(&backend).await?;
        backend.clear_log();
        let error = caller.error(&Ask::echo()).await;
        let UpstreamError::Unavailable(failure) = error else {
            panic!("{era:?}: {error:?}")
        };
        assert_eq!(failure.reason, ProbeReason::Stopped);
        assert!(
            backend.log().is_empty(),
            "{era:?}: a removed backend was contacted"
        );
    }
    Ok(())
}

/// R4.3, R2.8: a backend that was removed before any call reached it stays out of reach of requests
/// on an older snapshot.
#[tokio::test]
async fn a_backend_removed_before_its_first_call_is_not_brought_to_life() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;

    caller
        .upstream
        .remove(&caller.target.id, caller.target.generation);

    let error = caller.error(&Ask::echo()).await;
    assert!(
        matches!(&error, UpstreamError::Unavailable(failure) if failure.reason == ProbeReason::Stopped),
        "{error:?}"
    );
    assert!(backend.log().is_empty(), "a removed backend was contacted");
    Ok(())
}

/// R2.8: calls of a removed backend are cut off in time, with an error.
#[tokio::test]
async fn a_removal_cuts_off_what_still_runs() -> Result<()> {
    for era in [Era::LegacyStateful, Era::ModernOnly, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        let slow = Ask::tool("slow", r#"{"ms":60000}"#).within(Duration::from_secs(120));
        let call = tokio::spawn(caller.upstream.send(Arc::new(caller.request(&slow))));
        arrived(&backend, 1).await?;
        let leased = tokio::spawn(
            caller
                .upstream
                .send(Arc::new(caller.request(&slow.clone().leased()))),
        );
        arrived(&backend, 2).await?;

        let started = Instant::now();
        caller
            .upstream
            .remove(&caller.target.id, caller.target.generation);
        for call in [call, leased] {
            let outcome = call.await?;
            assert!(
                matches!(outcome, Err(UpstreamError::Unavailable(_))),
                "{era:?}: {outcome:?}"
            );
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{era:?}");
        sessions(&backend, 0).await?;
        all_closed(&backend).await?;
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{era:?}: {:?}",
            started.elapsed()
        );
    }
    Ok(())
}

/// R4.2: a caller always gets the result of its call, also from a generation that was replaced
/// meanwhile; then that one is closed.
#[tokio::test]
async fn a_replaced_generation_finishes_its_calls() -> Result<()> {
    for era in [Era::LegacyStateful, Era::ModernOnly, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let mut caller = Caller::new(&backend).await;
        let slow = Ask::tool("slow", r#"{"ms":1500}"#);
        let call = tokio::spawn(caller.upstream.send(Arc::new(caller.request(&slow))));
        arrived(&backend, 1).await?;

        caller
            .upstream
            .detach(&caller.target.id, caller.target.generation);
        caller.target.generation = Generation(2);
        caller.result(&Ask::echo().by("next")).await;

        let mut events = call.await??;
        let event = events.recv().await;
        assert!(
            matches!(&event, Some(Ok(UpstreamEvent::Response(Ok(_))))),
            "{era:?}: {event:?}"
        );
        let open = usize::from(era != Era::ModernOnly);
        sessions(&backend, open).await?;
    }
    Ok(())
}

/// R3.5: a shutdown ends every session of every backend.
#[tokio::test]
async fn a_shutdown_ends_everything() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo().by("a")).await;
        caller.result(&Ask::echo().leased()).await;

        caller.upstream.shutdown(Duration::from_millis(100)).await;

        sessions(&backend, 0).await?;
        all_closed(&backend).await?;
    }
    Ok(())
}

/// A call that is cut off is cancelled at its backend: a session that was handed to another replica
/// goes on, and must not be told an answer that nobody waits for.
#[tokio::test]
async fn a_stopped_call_is_cancelled_at_its_backend() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        let ask = Ask::tool("slow", r#"{"ms":5000}"#);
        let (error, called) = tokio::join!(caller.error(&ask), async {
            let called = arrived(&backend, 1).await;
            caller.upstream.export_sessions("client-a");
            caller.upstream.shutdown(Duration::ZERO).await;
            called
        });
        called?;

        ensure!(matches!(error, UpstreamError::Unavailable(_)), "{error:?}");
        let cancelled = "notifications/cancelled";
        eventually("the cancellation", PATIENCE, || async {
            let told = backend.requests(cancelled);
            let told = told.first().context("none")?;
            let call = &backend.requests("tools/call")[0];
            ensure!(told.json()["params"]["requestId"] == call.json()["id"]);
            ensure!(told.session == call.session);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// R4.3: a backend that does not answer to the ends of its sessions holds up nothing.
#[tokio::test]
async fn a_backend_that_is_away_cannot_hold_up_its_removal() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    backend
        .set(vmcp_tests::backend::Fault::AcceptAndHang)
        .await?;

    let started = Instant::now();
    caller.upstream.shutdown(Duration::from_millis(100)).await;

    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    all_closed(&backend).await
}

async fn arrived(backend: &Backend, calls: usize) -> Result<()> {
    eventually("the call has arrived", PATIENCE, || async {
        ensure!(backend.requests("tools/call").len() == calls);
        Ok(())
    })
    .await
}
