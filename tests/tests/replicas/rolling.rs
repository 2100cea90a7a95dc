//! A rolling restart under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::Replicas;

use crate::kit::{client_sessions, delete, echo, text};

const CALLS: usize = 10_000;
const LEGACY: usize = 12;
const MODERN: usize = 4;
const KEPT: usize = 4;

/// What the clients have done together.
#[derive(Default)]
struct Ledger {
    calls: AtomicUsize,
    rolled: AtomicBool,
}

impl Ledger {
    fn goes_on(&self) -> bool {
        self.calls.load(Ordering::Relaxed) < CALLS || !self.rolled.load(Ordering::Relaxed)
    }

    /// A number that no other call has.
    fn next(&self) -> String {
        format!("call {}", self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

/// Issue 4, Show: rolling restart of two replicas under 10^4 calls: 0 failed, and every session
/// keeps the upstream session that it began with. Clients that keep their connections are told
/// before these end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_two_replicas_loses_no_call_and_no_session() -> Result<()> {
    let stateful = Backend::start(Script::legacy()).await?;
    let modern = Backend::start(Script::modern()).await?;
    let backends = [("a", stateful.url()), ("b", modern.url())];
    let mut replicas = Replicas::start(&backends, json!({}), &["one", "two"]).await?;
    let address = replicas.address;
    let ledger = Arc::new(Ledger::default());

    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..LEGACY {
        clients.spawn(legacy(address, Arc::clone(&ledger)));
    }
    for _ in 0..MODERN {
        clients.spawn(modern_calls(address, Arc::clone(&ledger)));
    }
    for _ in 0..KEPT {
        clients.spawn(kept_connections(address, Arc::clone(&ledger)));
    }
    for (new, old) in [("three", "one"), ("four", "two")] {
        replicas.add(new).await?;
        replicas.retire(old).await?;
    }
    ledger.rolled.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client??;
    }

    let calls = stateful.requests("tools/call").len() + modern.requests("tools/call").len();
    ensure!(
        calls == ledger.calls.load(Ordering::Relaxed),
        "{calls} calls"
    );
    ensure!(calls >= CALLS, "{calls} calls");
    let sessions = client_sessions(&stateful);
    ensure!(
        sessions.len() == LEGACY,
        "{} upstream sessions",
        sessions.len()
    );
    let left = sessions.iter().filter(|session| session.ended.is_none());
    ensure!(
        left.count() == 0,
        "upstream sessions outlive their client's"
    );
    Ok(())
}

/// One session, from `initialize` to DELETE.
async fn legacy(address: SocketAddr, ledger: Arc<Ledger>) -> Result<()> {
    let client = LegacyClient::open(address).await?;
    while ledger.goes_on() {
        let said = ledger.next();
        let answer = client.call("a_echo", echo(&said)).await?;
        ensure!(text(&answer) == said, "{said}: {answer}");
    }
    let ended = delete(&client).await?;
    ensure!(ended.status == 204, "DELETE: {}", ended.status);
    Ok(())
}

async fn modern_calls(address: SocketAddr, ledger: Arc<Ledger>) -> Result<()> {
    while ledger.goes_on() {
        let said = ledger.next();
        let params = json!({ "name": "b_echo", "arguments": echo(&said) });
        let answer = http::modern(address, "tools/call", params).await?.json()?;
        ensure!(text(&answer) == said, "{said}: {answer}");
    }
    Ok(())
}

/// Call after call over one connection, until it is told that the connection ends.
async fn kept_connections(address: SocketAddr, ledger: Arc<Ledger>) -> Result<()> {
    while ledger.goes_on() {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut ends = false;
        while !ends && ledger.goes_on() {
            let said = ledger.next();
            let params = json!({ "name": "b_echo", "arguments": echo(&said) });
            let request = http::modern_request(address, "/mcp", ("tools/call", params), &[])?;
            sender.ready().await.context("closed without a word")?;
            let response = sender.send_request(request).await?;
            let headers = response.headers();
            ends = headers
                .get("connection")
                .is_some_and(|value| value == "close");
            let body = response.into_body().collect().await?.to_bytes();
            let answer: Value = serde_json::from_slice(&body)?;
            ensure!(text(&answer) == said, "{said}: {answer}");
        }
    }
    Ok(())
}
