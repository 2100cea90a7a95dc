//! Very many sessions, opened and abandoned.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use vmcp_tests::drip::Drip;
use vmcp_tests::eventually::eventually;
use vmcp_tests::http as plain;
use vmcp_tests::stack::{Local, SOON};

const SESSIONS: usize = 100_000;
const PARTS: usize = 10;
const CONNECTIONS: usize = 8;
/// One in so many also calls a tool, which opens a session at the backend.
const CALLING: usize = 40;

struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    async fn post(&mut self, session: &str, body: String) -> Result<Response<Incoming>> {
        let request = Request::post("/mcp")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", session);
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(body.into())?).await?)
    }

    /// A client that comes, perhaps calls, and is never heard of again.
    async fn come_and_go(&mut self, calls: Option<usize>) -> Result<()> {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "many", "version": "1" },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let answer = self.post("", body.to_string()).await?;
        ensure!(answer.status() == 200, "initialize: {}", answer.status());
        let session = answer.headers().get("mcp-session-id").context("no id")?;
        let session = session.to_str()?.to_owned();
        answer.into_body().collect().await?;
        if let Some(id) = calls {
            let params = json!({ "name": "one_drip", "arguments": {} });
            let body =
                json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
            let answer = self.post(&session, body.to_string()).await?;
            let body = answer.into_body().collect().await?.to_bytes();
            ensure!(body.windows(9).any(|text| text == b"dripped 0"), "{body:?}");
        }
        Ok(())
    }
}

async fn part(address: SocketAddr) -> Result<()> {
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for number in 0..SESSIONS / PARTS / CONNECTIONS {
                let calls = (number % CALLING == 0).then_some(number);
                connection.come_and_go(calls).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(())
}

/// What a process of the system holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    kilobytes: u64,
    tasks: u64,
}

async fn held(local: &Local) -> Result<Held> {
    let proc = format!("/proc/{}", local.gateway.program.pid());
    let status = std::fs::read_to_string(format!("{proc}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.and_then(|line| line.split_whitespace().next());
    Ok(Held {
        descriptors: std::fs::read_dir(format!("{proc}/fd"))?.count(),
        kilobytes: line.context("no VmRSS")?.parse()?,
        tasks: metric(local, "vmcp_tasks").await?,
    })
}

async fn metric(local: &Local, name: &str) -> Result<u64> {
    let metrics = plain::get(local.gateway.admin, "/metrics").await?.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("no such metric")?.trim().parse()?)
}

/// Else a number that never grows would prove nothing.
async fn tasks_are_counted(local: &Local) -> Result<()> {
    let before = metric(local, "vmcp_tasks").await?;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(Connection::open(local.gateway.listen).await?);
    }
    eventually("each connection is a task", SOON, || async {
        let now = metric(local, "vmcp_tasks").await?;
        ensure!(
            now >= before + u64::try_from(CONNECTIONS)?,
            "{before}, {now}"
        );
        Ok(())
    })
    .await?;
    drop(open);
    eventually("and none when it is gone", SOON, || async {
        let now = metric(local, "vmcp_tasks").await?;
        ensure!(
            now < before + u64::try_from(CONNECTIONS)?,
            "{before}, {now}"
        );
        Ok(())
    })
    .await
}

/// T7: abandoned sessions cost nothing in the end: no descriptor, no task, no memory, no session at
/// a backend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_sessions_leave_nothing_behind() -> Result<()> {
    let drip = Drip::start().await?;
    let backends = [("one", drip.url())];
    let local = Local::flagged(&backends, &["--session-idle-seconds", "2"]).await?;
    local.until_phase("Ready", SOON).await?;
    let own = drip.sessions_open();
    tasks_are_counted(&local).await?;

    let mut seen = Vec::new();
    for _ in 0..PARTS {
        part(local.gateway.listen).await?;
        ensure!(
            drip.sessions_open() < 3_000,
            "sessions pile up at the backend"
        );
        seen.push(held(&local).await?);
    }

    let calling = PARTS * CONNECTIONS * (SESSIONS / PARTS / CONNECTIONS).div_ceil(CALLING);
    ensure!(
        drip.calls() == u64::try_from(calling)?,
        "{} calls",
        drip.calls()
    );
    eventually("every session has ended", SOON, || async {
        ensure!(metric(&local, "vmcp_sessions ").await? == 0);
        ensure!(drip.sessions_open() == own, "{} left", drip.sessions_open());
        Ok(())
    })
    .await?;
    let (early, late) = (seen[1], seen[PARTS - 1]);
    ensure!(
        late.kilobytes < early.kilobytes + 12 * 1024,
        "memory grows: {seen:?}"
    );
    ensure!(late.tasks < early.tasks + 50, "tasks grow: {seen:?}");
    ensure!(
        late.descriptors < early.descriptors + 50,
        "descriptors grow: {seen:?}"
    );
    Ok(())
}
