//! Traffic: an answer passes as it is, and everything else is a typed error.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use vmcp::gateway::port::{UpstreamError, UpstreamEvent};
use vmcp_core::health::{CallOutcome, ProbeReason};
use vmcp_tests::backend::{Backend, Behaviour, CallFailure, Era, Fault, ReplyFormat, Script, Tool};
use vmcp_tests::eventually::eventually;

use crate::checks::ERAS;
use crate::kit::{Ask, Caller, PATIENCE};

/// T22: the result of a call passes byte for byte, in every era and framing.
#[tokio::test]
async fn a_result_passes_byte_for_byte() -> Result<()> {
    let raw = r#"{"content":[{"type":"text","text":"\u00e9\/"}] ,"x-vendor":{"n":1.50e2,"n":2},"isError":false}"#;
    for era in ERAS {
        for reply in [ReplyFormat::Json, ReplyFormat::Sse, ReplyFormat::SsePrimed] {
            let tools = vec![Tool::new("raw", Behaviour::Raw(raw.to_owned()))];
            let script = Script::new(era).with_tools(tools).with_reply(reply);
            let backend = Backend::start(script).await?;
            let caller = Caller::new(&backend).await;

            let result = caller.result(&Ask::tool("raw", "{}")).await;

            assert_eq!(result, raw, "{era:?} {reply:?}");
        }
    }
    Ok(())
}

/// R4.9: what a call taught goes to the registry, whatever the era.
#[tokio::test]
async fn every_call_is_observed_once() -> Result<()> {
    for era in ERAS {
        let backend = Backend::start(Script::new(era)).await?;
        let mut caller = Caller::new(&backend).await;

        caller.result(&Ask::echo()).await;
        caller.result(&Ask::tool("fail", "{}")).await;

        let first = caller.observations.recv().await.context("an observation")?;
        assert_eq!(first.outcome, CallOutcome::Ok, "{era:?}");
        assert_eq!(first.generation, caller.target.generation);
        let second = caller.observations.recv().await.context("an observation")?;
        assert_eq!(second.outcome, CallOutcome::ToolError, "{era:?}");
        assert!(caller.observations.try_recv().is_err());
    }
    Ok(())
}

/// The backend's own JSON-RPC error passes with code and data, also where the rule of its era puts
/// it under HTTP 400 or 404; it is no trouble of the backend's.
#[tokio::test]
async fn an_error_of_the_backends_own_passes_as_it_is() -> Result<()> {
    for era in ERAS {
        let backend = Backend::start(Script::new(era)).await?;
        let mut caller = Caller::new(&backend).await;
        backend
            .set(Fault::CallFails(CallFailure::RpcError(-32_099)))
            .await?;

        let mut events = caller.send(&Ask::echo()).await?;
        match events.recv().await {
            Some(Ok(UpstreamEvent::Response(Err(error)))) => assert_eq!(error.code, -32_099),
            other => panic!("{era:?}: {other:?}"),
        }

        let observed = caller.observations.recv().await.context("an observation")?;
        assert_eq!(observed.outcome, CallOutcome::ToolError);
    }
    for (era, status) in [
        (Era::ModernOnly, 404),
        (Era::ModernOnly, 400),
        (Era::LegacyStateless, 400),
    ] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        let fault = Fault::JsonRpcError {
            code: -32_601,
            http_status: status,
        };
        backend.set(Fault::on("tools/call", fault)).await?;

        let mut events = caller.send(&Ask::echo()).await?;
        let event = events.recv().await;
        assert!(
            matches!(&event, Some(Ok(UpstreamEvent::Response(Err(error)))) if error.code == -32_601),
            "{era:?} {status}: {event:?}"
        );
    }
    Ok(())
}

/// Notifications reach the caller before the result, raw.
#[tokio::test]
async fn notifications_on_the_way_are_passed_on() -> Result<()> {
    let raw = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.0}}"#;
    for era in ERAS {
        let tool = Tool::new("talk", Behaviour::Echo).with_notification(raw);
        let script = Script::new(era)
            .with_tools(vec![tool])
            .with_reply(ReplyFormat::Sse);
        let backend = Backend::start(script).await?;
        let caller = Caller::new(&backend).await;

        let (notifications, result) = caller.call(&Ask::tool("talk", r#"{"text":"x"}"#)).await?;

        assert_eq!(notifications, [raw], "{era:?}");
        assert!(result.contains(r#""text":"x""#), "{era:?}: {result}");
    }
    Ok(())
}

/// A modern backend gets the headers and the `_meta` that its era demands, the client's where the
/// client said something.
#[tokio::test]
async fn a_modern_backend_is_told_who_asks() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    let mut request = caller.request(&Ask::echo());
    request.client_capabilities = Some(r#"{"elicitation":{}}"#.into());
    request.client_info = Some(r#"{"name":"someone","version":"9"}"#.into());
    let params = r#"{"name":"echo","arguments":{"text":"hi"},"_meta":{"traceparent":"00-1"}}"#;
    request.params = Some(params.into());

    let mut events =
        vmcp::gateway::port::BackendPort::send(&caller.upstream, request.into()).await?;
    assert!(matches!(
        events.recv().await,
        Some(Ok(UpstreamEvent::Response(Ok(_))))
    ));

    let call = &backend.requests("tools/call")[0];
    assert_eq!(call.header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(call.header("mcp-method"), "tools/call");
    assert_eq!(call.header("mcp-name"), "echo");
    let meta = &call.json()["params"]["_meta"];
    assert_eq!(meta["traceparent"], "00-1");
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert_eq!(
        meta["io.modelcontextprotocol/clientInfo"]["name"],
        "someone"
    );
    assert!(meta["io.modelcontextprotocol/clientCapabilities"]["elicitation"].is_object());
    Ok(())
}

/// The deadline covers the body: a backend that stops in the middle of it is a timeout.
#[tokio::test]
async fn a_call_ends_with_its_deadline_wherever_the_backend_hangs() -> Result<()> {
    for era in ERAS {
        for fault in [Fault::AcceptAndHang, Fault::StallMidBody] {
            let backend = Backend::start(Script::new(era)).await?;
            let caller = Caller::new(&backend).await;
            backend.set(Fault::on("tools/call", fault.clone())).await?;

            let started = Instant::now();
            let error = caller
                .error(&Ask::echo().within(Duration::from_millis(400)))
                .await;

            assert!(
                started.elapsed() < Duration::from_secs(3),
                "{era:?} {fault:?}"
            );
            assert!(
                matches!(error, UpstreamError::Timeout(_)),
                "{era:?} {fault:?}: {error:?}"
            );
        }
    }
    Ok(())
}

/// R4.13, R3: nothing listens: the caller knows in milliseconds, with reason and step.
#[tokio::test]
async fn a_closed_port_fails_the_call_at_once() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let mut caller = Caller::new(&backend).await;
    backend.set(Fault::Refuse).await?;

    let started = Instant::now();
    let error = caller.error(&Ask::echo()).await;

    assert!(started.elapsed() < Duration::from_secs(1));
    let UpstreamError::Unavailable(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.reason, ProbeReason::ConnectRefused);
    let observed = caller.observations.recv().await.context("an observation")?;
    assert!(
        matches!(observed.outcome, CallOutcome::Failed(_)),
        "{:?}",
        observed.outcome
    );
    Ok(())
}

/// T3: 401 in a call is about credentials, not about being down.
#[tokio::test]
async fn a_401_in_a_call_is_an_authentication_error() -> Result<()> {
    for era in [Era::LegacyStateful, Era::LegacyStateless, Era::ModernOnly] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        backend.set(Fault::unauthorized()).await?;

        let error = caller.error(&Ask::echo()).await;

        assert!(
            matches!(error, UpstreamError::Authentication(_)),
            "{era:?}: {error:?}"
        );
    }
    Ok(())
}

/// R2.6: a rate limit in a call is the caller's news and no verdict on health.
#[tokio::test]
async fn a_rate_limited_call_teaches_health_nothing() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let mut caller = Caller::new(&backend).await;
    backend
        .set(Fault::RateLimited {
            retry_after: Some(1),
        })
        .await?;

    let error = caller.error(&Ask::echo()).await;

    assert!(
        matches!(error, UpstreamError::RateLimited { .. }),
        "{error:?}"
    );
    backend.heal().await?;
    caller.result(&Ask::echo()).await;
    let observed = caller.observations.recv().await.context("an observation")?;
    assert_eq!(
        observed.outcome,
        CallOutcome::Ok,
        "the first thing that health hears"
    );
    Ok(())
}

/// R4.10: a caller that goes away is no trouble of the backend's; a legacy backend is told with
/// our id, a modern one by the closed stream.
#[tokio::test]
async fn a_cancelled_call_reports_nothing_bad_and_tells_the_backend() -> Result<()> {
    for era in ERAS {
        let backend = Backend::start(Script::new(era)).await?;
        let mut caller = Caller::new(&backend).await;
        backend
            .set(Fault::on("tools/call", Fault::AcceptAndHang))
            .await?;
        let ask = Ask::tool("slow", r#"{"ms":1}"#).within(Duration::from_secs(60));
        let call = tokio::spawn(vmcp::gateway::port::BackendPort::send(
            &caller.upstream,
            caller.request(&ask).into(),
        ));
        eventually("the call has arrived", PATIENCE, || async {
            ensure!(!backend.requests("tools/call").is_empty());
            Ok(())
        })
        .await?;

        call.abort();

        let observed = caller.observations.recv().await.context("an observation")?;
        assert_eq!(observed.outcome, CallOutcome::Cancelled, "{era:?}");
        let asked = &backend.requests("tools/call")[0];
        if matches!(era, Era::ModernOnly | Era::Dual) {
            eventually("the stream is closed", PATIENCE, || async {
                let all = backend.connections();
                let mut same = all.iter().filter(|conn| conn.id == asked.connection);
                ensure!(same.all(|conn| conn.closed.is_some()));
                Ok(())
            })
            .await?;
        } else {
            let cancelled = eventually("the cancellation has arrived", PATIENCE, || async {
                let all = backend.requests("notifications/cancelled");
                all.first().cloned().context("no notifications/cancelled")
            })
            .await?;
            let id = cancelled.json()["params"]["requestId"].to_string();
            assert_eq!(Some(id), asked.rpc_id, "{era:?}");
        }
    }
    Ok(())
}

/// R4.8, T20: calls that hang at one backend take nothing from another.
#[tokio::test]
async fn a_hanging_backend_blocks_no_other() -> Result<()> {
    let hanging = Backend::start(Script::modern()).await?;
    let good = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&hanging).await;
    hanging.set(Fault::AcceptAndHang).await?;
    let mut stuck = Vec::new();
    for _ in 0..150 {
        let ask = Ask::echo().within(Duration::from_secs(60));
        let request = caller.request(&ask);
        stuck.push(tokio::spawn(vmcp::gateway::port::BackendPort::send(
            &caller.upstream,
            request.into(),
        )));
    }

    let mut other = Caller::new(&good).await;
    other.upstream = caller.upstream.clone();
    other.target.id = vmcp_core::id::BackendId::new("other", "uid-other");
    let started = Instant::now();
    other.result(&Ask::echo()).await;

    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// Shared limits: 100 calls under way, 32 in the queue for a second, then a typed refusal with a
/// hint; a freed place is used again.
#[tokio::test]
async fn calls_above_the_bound_are_refused_with_a_hint() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    backend.set(Fault::on("tools/call", Fault::Hold)).await?;
    let ask = Ask::echo().within(Duration::from_secs(60));
    let mut running = Vec::new();
    for call in 0..100 {
        // Each client may have half at most.
        let request = caller.request(&ask.clone().by(&format!("client-{}", call % 2)));
        running.push(tokio::spawn(vmcp::gateway::port::BackendPort::send(
            &caller.upstream,
            request.into(),
        )));
    }
    eventually("100 calls under way", PATIENCE, || async {
        ensure!(backend.requests("tools/call").len() == 100);
        Ok(())
    })
    .await?;

    let started = Instant::now();
    let queued = caller.error(&ask.clone().by("another")).await;
    assert!(matches!(queued, UpstreamError::Overloaded { retry_after } if !retry_after.is_zero()));
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "it waited in the queue"
    );
    assert_eq!(backend.requests("tools/call").len(), 100, "and never left");

    backend.heal().await?;
    for call in running {
        let mut events = call.await??;
        assert!(matches!(
            events.recv().await,
            Some(Ok(UpstreamEvent::Response(Ok(_))))
        ));
    }
    caller.result(&ask).await;
    Ok(())
}
