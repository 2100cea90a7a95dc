//! A backend that answers garbage, too much, nothing or for ever: a typed error, never a success.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use vmcp::backend::probe::Want;
use vmcp::gateway::port::UpstreamError;
use vmcp_core::health::{Outcome, ProbeReason};
use vmcp_tests::backend::{Backend, Era, Fault, ReplyFormat, Script};

use crate::kit::{Ask, Caller, Prober, failure};

const TOO_MUCH: usize = 17 * 1024 * 1024;

/// What may come instead of an answer, and the reason that a check gives for it.
fn garbage() -> Vec<(Fault, ProbeReason)> {
    vec![
        (Fault::NonJson200, ProbeReason::ProtocolError),
        (Fault::GarbageJson, ProbeReason::ProtocolError),
        (Fault::EmptyBody200, ProbeReason::ProtocolError),
        (Fault::TruncatedBody, ProbeReason::ProtocolError),
        (Fault::WrongId, ProbeReason::ProtocolError),
        (Fault::HugeBody(TOO_MUCH), ProbeReason::ResponseTooLarge),
        (Fault::Reset, ProbeReason::ConnectionLost),
        (Fault::http_status(500), ProbeReason::HttpStatus),
        (Fault::http_status(204), ProbeReason::ProtocolError),
    ]
}

/// T11, R1.8: each kind of garbage in a handshake fails the check with its reason and its step.
#[tokio::test]
async fn garbage_in_the_handshake_fails_the_check() -> Result<()> {
    for (fault, reason) in garbage() {
        let backend = Backend::start(Script::legacy()).await?;
        backend.set(Fault::on("initialize", fault.clone())).await?;

        let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;

        assert!(
            matches!(report.outcome, Outcome::Failed(_)),
            "{fault:?}: {:?}",
            report.outcome
        );
        let failure = failure(&report.outcome);
        assert_eq!(failure.reason, reason, "{fault:?}: {}", failure.message);
        assert!(
            failure.message.contains("initialize"),
            "{fault:?}: {}",
            failure.message
        );
    }
    Ok(())
}

/// T11: garbage to everything is never taken for a server of some era.
#[tokio::test]
async fn garbage_everywhere_is_no_server() -> Result<()> {
    for era in [Era::LegacyStateful, Era::ModernOnly, Era::Sse2024] {
        for (fault, _) in garbage() {
            let backend = Backend::start(Script::new(era)).await?;
            backend.set(fault.clone()).await?;

            let report = Prober::new(&backend.url()).cycle(Want::Catalogue).await;

            assert!(
                matches!(report.outcome, Outcome::Failed(_)),
                "{era:?} {fault:?}: {:?}",
                report.outcome
            );
            assert!(report.catalog.is_none());
        }
    }
    Ok(())
}

/// T11: garbage in a list fails the list and not the liveness, and yields no catalogue.
#[tokio::test]
async fn garbage_in_a_list_yields_no_catalogue() -> Result<()> {
    for era in [Era::LegacyStateful, Era::ModernOnly] {
        for (fault, reason) in garbage() {
            let backend = Backend::start(Script::new(era)).await?;
            backend.set(Fault::on("tools/list", fault.clone())).await?;

            let report = Prober::new(&backend.url()).cycle(Want::Catalogue).await;

            let Outcome::ListFailed { failure, .. } = &report.outcome else {
                panic!("{era:?} {fault:?}: {:?}", report.outcome)
            };
            assert_eq!(
                failure.reason, reason,
                "{era:?} {fault:?}: {}",
                failure.message
            );
            assert!(report.catalog.is_none());
        }
    }
    Ok(())
}

/// T11: garbage in a call is a typed error for that call; the next one works.
#[tokio::test]
async fn garbage_in_a_call_is_a_typed_error() -> Result<()> {
    for era in [Era::LegacyStateful, Era::LegacyStateless, Era::ModernOnly] {
        for (fault, reason) in garbage() {
            let backend = Backend::start(Script::new(era)).await?;
            let caller = Caller::new(&backend).await;
            backend.set(Fault::on("tools/call", fault.clone())).await?;

            let error = caller.error(&Ask::echo()).await;

            let found = match &error {
                UpstreamError::Protocol(failure) | UpstreamError::Unavailable(failure) => failure,
                other => panic!("{era:?} {fault:?}: {other:?}"),
            };
            assert_eq!(found.reason, reason, "{era:?} {fault:?}: {}", found.message);
            assert_eq!(
                backend.requests("tools/call").len(),
                1,
                "{era:?} {fault:?}: sent again"
            );
            backend.heal().await?;
            caller.result(&Ask::echo()).await;
        }
    }
    Ok(())
}

/// T11: an answer of the wrong id is no answer on an event stream either.
#[tokio::test]
async fn a_wrong_id_on_a_stream_is_an_error() -> Result<()> {
    let backend = Backend::start(Script::modern().with_reply(ReplyFormat::Sse)).await?;
    let caller = Caller::new(&backend).await;
    backend.set(Fault::on("tools/call", Fault::WrongId)).await?;

    let error = caller.error(&Ask::echo()).await;

    assert!(matches!(error, UpstreamError::Protocol(_)), "{error:?}");
    Ok(())
}

/// A port that speaks no HTTP, or sends a head without end, is told from a server that is down.
#[tokio::test]
async fn a_port_that_speaks_no_http_is_a_protocol_error() -> Result<()> {
    let endless_head = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'y'; 80_000]].concat();
    let cases = [
        (
            b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
            ProbeReason::ProtocolError,
        ),
        (endless_head, ProbeReason::ResponseTooLarge),
    ];
    for (bytes, reason) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let server = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&bytes).await;
            }
        });

        let report = Prober::new(&url)
            .cycle_within(Want::Liveness, Duration::from_secs(2))
            .await;

        let failure = failure(&report.outcome);
        assert_eq!(failure.reason, reason, "{}", failure.message);
        server.abort();
    }
    Ok(())
}

/// An encoding that was not asked for is refused: nothing is decompressed here.
#[tokio::test]
async fn a_compressed_answer_is_refused() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let server = tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _ = stream.write_all(head.as_bytes()).await;
        }
    });

    let report = Prober::new(&url)
        .cycle_within(Want::Liveness, Duration::from_secs(2))
        .await;

    let failure = failure(&report.outcome);
    assert_eq!(failure.reason, ProbeReason::ProtocolError);
    assert!(failure.message.contains("gzip"), "{}", failure.message);
    server.abort();
    Ok(())
}

/// Shared limits: the answer to a liveness check is at most 64 KiB; a list may be longer.
#[tokio::test]
async fn a_liveness_answer_is_short() -> Result<()> {
    const LONGER: usize = 100 * 1024;
    let cases = [
        (Script::modern(), "server/discover"),
        (Script::legacy(), "ping"),
    ];
    for (script, method) in cases {
        let backend = Backend::start(script).await?;
        backend
            .set(Fault::on("tools/list", Fault::HugeBody(LONGER)))
            .await?;
        let report = Prober::new(&backend.url()).cycle(Want::Catalogue).await;
        assert!(report.catalog.is_some(), "{method}: {:?}", report.outcome);

        backend
            .set(Fault::on(method, Fault::HugeBody(LONGER)))
            .await?;
        let report = Prober::new(&backend.url()).cycle(Want::Liveness).await;

        let Outcome::Failed(failure) = &report.outcome else {
            panic!("{method}: {:?}", report.outcome)
        };
        let expected = match method {
            // Too long for a discovery: whatever it is, it is asked as a legacy server too.
            "server/discover" => ProbeReason::UnsupportedVersion,
            _ => ProbeReason::ResponseTooLarge,
        };
        assert_eq!(failure.reason, expected, "{method}: {}", failure.message);
    }
    Ok(())
}
