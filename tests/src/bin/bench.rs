//! `bench`: what the gateway costs, on this machine, beside the same calls made directly.
//!
//! Owns the load and what a person reads. Backends are scriptable ones in this process, the gateway
//! is the program as it is shipped. It promises no numbers: it shows them, so that a change can be
//! compared with what was before on the same machine.

#![expect(clippy::print_stdout, reason = "output for the person who runs it")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::LegacyClient;
use vmcp_tests::stack::GatewayProcess;

/// As in the published comparisons that we want to be read beside.
const BACKENDS: usize = 20;
/// Calls one after another, for the latency.
const SEQUENTIAL: usize = 3_000;
/// Before anything counts: connections open, caches warm.
const WARM_UP: usize = 300;
/// Connections at once, for the rate.
const CONNECTIONS: usize = 32;
const RATE_TIME: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut backends = Vec::new();
    for index in 0..BACKENDS {
        let backend = Backend::start(Script::legacy()).await?;
        write_server(folder.path(), index, &backend.url())?;
        backends.push(backend);
    }
    write_gateway(folder.path())?;
    let dir = tempfile::tempdir()?;
    let gateway = GatewayProcess::from_files(folder.path(), &[], dir.path()).await?;
    eventually("all backends are listed", START, || async {
        let tools = LegacyClient::open(gateway.listen).await?.tools().await?;
        let wanted = 4 * BACKENDS;
        ensure!(tools.len() == wanted, "{} of {wanted} tools", tools.len());
        Ok(())
    })
    .await?;

    let direct = SocketAddr::from(([127, 0, 0, 1], backends[0].port()));
    let idle = resident_kib(gateway.program.pid())?;
    println!(
        "{BACKENDS} backends, {} tools, {} cores",
        4 * BACKENDS,
        cores()
    );
    let plain = latency("tools/call, direct", direct, &call("echo")).await?;
    let through = latency("tools/call, through vmcp", gateway.listen, &call("s0_echo")).await?;
    println!(
        "{:32} {:>9.0} µs at the median",
        "  added",
        micros(through) - micros(plain)
    );
    latency(
        "tools/list, through vmcp",
        gateway.listen,
        &request("tools/list", &json!({})),
    )
    .await?;
    rate("tools/call, direct", direct, &call("echo")).await?;
    rate("tools/call, through vmcp", gateway.listen, &call("s0_echo")).await?;
    let used = resident_kib(gateway.program.pid())?;
    println!(
        "{:32} {idle:>9} KiB idle, {used} KiB afterwards",
        "memory of vmcp"
    );
    Ok(())
}

fn write_server(folder: &Path, index: usize, url: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": { "name": format!("s{index}") },
        "spec": { "remote": { "url": url, "allowInsecure": true } },
    });
    Ok(std::fs::write(
        folder.join(format!("s{index}.json")),
        object.to_string(),
    )?)
}

fn write_gateway(folder: &Path) -> Result<()> {
    let object = json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "VirtualMCPServer",
        "metadata": { "name": "bench" },
        "spec": { "backends": { "selector": {} } },
    });
    Ok(std::fs::write(
        folder.join("gateway.json"),
        object.to_string(),
    )?)
}

fn request(method: &str, params: &Value) -> Bytes {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    Bytes::from(message.to_string())
}

fn call(tool: &str) -> Bytes {
    request(
        "tools/call",
        &json!({ "name": tool, "arguments": { "message": "benchmark" } }),
    )
}

/// One connection that is kept, in a session of its own.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    session: LegacyClient,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let session = LegacyClient::open(address).await?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, session })
    }

    async fn ask(&mut self, body: &Bytes) -> Result<()> {
        let request = Request::post("/mcp")
            .header("host", self.session.address.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &self.session.session)
            .header("mcp-protocol-version", "2025-11-25")
            .body(Full::new(body.clone()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let good = status.is_success() && body.windows(8).any(|part| part == b"\"result\"");
        ensure!(good, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

/// Times of requests one after another; prints them and returns the median.
async fn latency(what: &str, address: SocketAddr, body: &Bytes) -> Result<Duration> {
    let mut connection = Connection::open(address).await?;
    for _ in 0..WARM_UP {
        connection.ask(body).await?;
    }
    let mut times = Vec::with_capacity(SEQUENTIAL);
    for _ in 0..SEQUENTIAL {
        let started = Instant::now();
        connection.ask(body).await?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{what:32} {:>9.0} µs median, {:.0} µs p99",
        micros(at(50)),
        micros(at(99))
    );
    Ok(at(50))
}

/// Requests in a second over many connections.
async fn rate(what: &str, address: SocketAddr, body: &Bytes) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Connection::open(address).await?);
    }
    let end = Instant::now() + RATE_TIME;
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let body = body.clone();
            tokio::spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    client.ask(&body).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    let per_second = f64::from(total) / RATE_TIME.as_secs_f64();
    println!("{what:32} {per_second:>9.0} /s over {CONNECTIONS} connections");
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Resident memory of a process.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(digits.parse()?)
}
