//! What is sent twice, and what never (T19).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use vmcp::gateway::port::UpstreamError;
use vmcp_core::health::{Dialect, SessionMode, Wire};
use vmcp_core::mcp::{Era as CoreEra, ProtocolVersion};
use vmcp_tests::backend::{Backend, Era, Fault, Script};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, endpoint};

const MODERN: Dialect = Dialect {
    era: CoreEra::Modern,
    version: ProtocolVersion::LATEST_MODERN,
    wire: Wire::StreamableHttp,
    sessions: SessionMode::Stateless,
};

/// T19: the connection broke after the call had left: an error, and exactly one call.
#[tokio::test]
async fn a_call_that_may_have_run_is_not_sent_again() -> Result<()> {
    for era in [Era::LegacyStateful, Era::LegacyStateless, Era::ModernOnly] {
        for fault in [Fault::Reset, Fault::TruncatedBody] {
            let backend = Backend::start(Script::new(era)).await?;
            let caller = Caller::new(&backend).await;
            // The second call finds an idle connection, which is where a repeat is tempting.
            caller.result(&Ask::echo()).await;
            backend.clear_log();
            backend.set(Fault::on("tools/call", fault.clone())).await?;

            caller.error(&Ask::echo()).await;

            assert_eq!(backend.requests("tools/call").len(), 1, "{era:?} {fault:?}");
        }
    }
    Ok(())
}

/// T19: on an idle connection that breaks, a call that may run twice is sent once more, and only
/// once.
#[tokio::test]
async fn a_repeatable_call_is_sent_once_more() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    eventually_idle(&caller).await?;
    backend.clear_log();
    backend.set(Fault::on("tools/call", Fault::Reset)).await?;

    caller.error(&Ask::echo().freely()).await;

    assert_eq!(backend.requests("tools/call").len(), 2);
    Ok(())
}

/// T19: the server closed its idle connections in the meantime: no caller notices, and no call
/// runs twice.
#[tokio::test]
async fn a_closed_idle_connection_is_never_noticed() -> Result<()> {
    for era in [Era::LegacyStateless, Era::ModernOnly] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        for _ in 0..5 {
            caller.result(&Ask::echo()).await;
            eventually_idle(&caller).await?;
            backend.restart().await?;
            backend.clear_log();
            caller.result(&Ask::echo()).await;
            assert_eq!(backend.requests("tools/call").len(), 1, "{era:?}");
        }
    }
    Ok(())
}

/// Traffic keeps its connection: calls one after the other share it.
#[tokio::test]
async fn calls_share_a_connection() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    let before = backend.connections().len();

    for _ in 0..5 {
        caller.result(&Ask::echo()).await;
        eventually_idle(&caller).await?;
    }

    assert_eq!(backend.connections().len(), before + 1);
    let counted: Vec<u64> = caller
        .upstream
        .connections()
        .iter()
        .map(|(_, open)| *open)
        .collect();
    assert_eq!(counted, [1]);
    Ok(())
}

/// Shared limits: an idle connection is closed by us before the commonest server would.
#[tokio::test]
async fn an_idle_connection_is_closed_after_four_seconds() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    eventually_idle(&caller).await?;

    eventually(
        "the idle connection is closed",
        Duration::from_secs(8),
        || async {
            ensure!(backend.connections_open() == 0);
            Ok(())
        },
    )
    .await
}

/// T19: a call that must not run twice is not trusted to a connection that lay idle for a second;
/// one that may is.
#[tokio::test]
async fn an_old_idle_connection_is_only_for_repeatable_calls() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    eventually_idle(&caller).await?;
    // Real time has to pass here: the age of a real connection is the subject.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let before = backend.connections().len();

    caller.result(&Ask::echo().freely()).await;
    assert_eq!(
        backend.connections().len(),
        before,
        "the old connection served"
    );
    eventually_idle(&caller).await?;
    // Real time again, for the same reason.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    caller.result(&Ask::echo()).await;
    assert_eq!(
        backend.connections().len(),
        before + 1,
        "a new connection served"
    );
    Ok(())
}

/// T11, T19: the stream of a 2024-11-05 server ends in mid-call: an error at once, and no repeat.
#[tokio::test]
async fn a_stream_lost_in_mid_call_is_an_error() -> Result<()> {
    let backend = Backend::start(Script::sse()).await?;
    let caller = Caller::new(&backend).await;
    caller.result(&Ask::echo()).await;
    backend.clear_log();
    let slow = Ask::tool("slow", r#"{"ms":5000}"#);
    let request = caller.request(&slow);
    let call = tokio::spawn(vmcp::gateway::port::BackendPort::send(
        &caller.upstream,
        request.into(),
    ));
    eventually("the call has arrived", PATIENCE, || async {
        ensure!(backend.requests("tools/call").len() == 1);
        Ok(())
    })
    .await?;

    backend.restart().await?;

    let outcome = call.await?;
    assert!(
        matches!(outcome, Err(UpstreamError::Unavailable(_))),
        "{outcome:?}"
    );
    assert_eq!(backend.requests("tools/call").len(), 1);
    caller.result(&Ask::echo()).await;
    Ok(())
}

/// `Keep-Alive: timeout` and `Connection: close` are believed.
#[tokio::test]
async fn a_server_that_closes_soon_is_not_reused() -> Result<()> {
    for header in ["keep-alive: timeout=1", "connection: close"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let (accepted, mut connections) = tokio::sync::mpsc::channel(16);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = accepted.send(()).await;
                tokio::spawn(answer_for_ever(stream, header));
            }
        });
        let caller = Caller::with(std::sync::Arc::new(endpoint(&url)), Some(MODERN));

        for _ in 0..3 {
            caller.call(&Ask::echo()).await?;
            connections
                .recv()
                .await
                .context("a new connection for each call")?;
        }
        server.abort();
    }
    Ok(())
}

/// Answers every request on the stream with a result under its id.
async fn answer_for_ever(mut stream: tokio::net::TcpStream, header: &str) {
    let mut request = vec![0; 8192];
    while let Ok(read) = stream.read(&mut request).await
        && read > 0
    {
        let text = String::from_utf8_lossy(&request[..read]).into_owned();
        let id: String = text
            .split("\"id\":")
            .nth(1)
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{header}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Waits until the connection of the last call is back in the pool.
async fn eventually_idle(caller: &Caller) -> Result<()> {
    eventually("an idle connection", PATIENCE, || async {
        let idle: usize = caller
            .upstream
            .idle_connections()
            .iter()
            .map(|(_, count)| count)
            .sum();
        ensure!(idle > 0, "none is idle");
        Ok(())
    })
    .await
}
