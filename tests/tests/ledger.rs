//! The ledger of calls: nothing lost, nothing done twice, whatever happens to the backends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Request, StatusCode};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vmcp_tests::backend::{Backend, Fault, FaultProxy, Passage, Script};
use vmcp_tests::http::LegacyClient;
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

const CALLS: usize = 100_000;
const MODERN: usize = 12;
const LEGACY: usize = 8;

/// What a call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Longer than any deadline of a call here: an answer that is not there by then is lost.
const ANSWERED: Duration = Duration::from_secs(30);

/// How long one misfortune lasts, and how long all is well between two.
const MISFORTUNE: Duration = Duration::from_millis(400);
const PEACE: Duration = Duration::from_millis(600);

/// The codes that a call may fail with. No misfortune here lasts as long as a call may: a time-out
/// would be a call that nobody was working on.
const TYPED: [i64; 2] = [-31_001, -32_001];

/// One backend, the network before it, and how often each nonce arrived there.
struct Site {
    backend: Backend,
    network: FaultProxy,
    executed: HashMap<usize, u32>,
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    answered: Vec<usize>,
    refused: HashMap<i64, usize>,
}

impl Site {
    async fn new(script: Script) -> Result<Self> {
        let backend = Backend::start(script).await?;
        let target = SocketAddr::from(([127, 0, 0, 1], backend.port()));
        let network = FaultProxy::start(target).await?;
        Ok(Self {
            backend,
            network,
            executed: HashMap::new(),
        })
    }

    /// Takes what has arrived into the ledger.
    fn collect(&mut self) {
        let calls = self.backend.requests("tools/call");
        // Refused for a session that died with the backend: not executed, and sent again (T18).
        for call in calls.iter().filter(|call| call.status != Some(404)) {
            let text = call.json()["params"]["arguments"]["text"].clone();
            if let Some(nonce) = text.as_str().and_then(|text| text.parse().ok()) {
                *self.executed.entry(nonce).or_default() += 1;
            }
        }
    }

    /// One misfortune; well again when this returns.
    async fn suffer(&mut self, turn: usize) -> Result<()> {
        match turn % 5 {
            0 => {
                self.backend.stop().await;
                // The length of this misfortune; nothing waits for it to end.
                tokio::time::sleep(MISFORTUNE).await;
                self.backend.restart().await?;
            }
            1 => self.backend.restart().await?,
            2 => {
                let slow = Passage::Delayed(Duration::from_millis(50));
                self.network.set(slow).await?;
                // The length of this misfortune; nothing waits for it to end.
                tokio::time::sleep(MISFORTUNE).await;
            }
            3 => {
                let cut = Fault::on("tools/call", Fault::TruncatedBody);
                self.backend.set(cut).await?;
                // The length of this misfortune; nothing waits for it to end.
                tokio::time::sleep(MISFORTUNE).await;
            }
            _ => {
                self.network.set(Passage::Cut).await?;
                // The length of this misfortune; nothing waits for it to end.
                tokio::time::sleep(MISFORTUNE).await;
            }
        }
        self.backend.set(Fault::None).await?;
        self.network.set(Passage::Open).await?;
        Ok(())
    }
}

/// Issue 4, Show: 10^5 calls with unique nonces while backends are killed, restarted, slowed and cut
/// in mid-body: each has exactly one answer or one typed error, and none is executed twice (T11, T19).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_and_none_is_executed_twice() -> Result<()> {
    let sites = [
        Site::new(Script::legacy()).await?,
        Site::new(Script::modern()).await?,
        Site::new(Script::stateless()).await?,
    ];
    let names = ["a", "b", "c"];
    let mut objects = vec![virtual_server("local", json!({}))];
    for (name, site) in names.iter().zip(&sites) {
        let mut server = remote(name, &site.network.url("/mcp"));
        server["spec"]["timeouts"] = json!({ "callSeconds": DEADLINE.as_secs() });
        objects.push(server);
    }
    let gateway = Local::of(&objects).await?;
    gateway.until_phase("Ready", SOON).await?;
    let address = gateway.gateway.listen;

    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..MODERN {
        clients.spawn(client(address, String::new(), Arc::clone(&next)));
    }
    for _ in 0..LEGACY {
        let session = LegacyClient::open(address).await?.session;
        clients.spawn(client(address, session, Arc::clone(&next)));
    }
    let over = CancellationToken::new();
    let misfortune = tokio::spawn(misfortunes(sites, over.clone()));
    let mut seen = Seen::default();
    while let Some(client) = clients.join_next().await {
        let one = client??;
        seen.answered.extend(one.answered);
        for (code, count) in one.refused {
            *seen.refused.entry(code).or_default() += count;
        }
    }
    over.cancel();
    let sites = misfortune.await??;

    let executed: HashMap<usize, u32> = sites.into_iter().flat_map(|site| site.executed).collect();
    let refused: usize = seen.refused.values().sum();
    let answered = seen.answered.len();
    println!("{answered} answered, {refused} refused: {:?}", seen.refused);
    ensure!(answered + refused == CALLS, "{answered} + {refused}");
    let twice: Vec<_> = executed.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "executed twice: {twice:?}");
    let unexecuted = seen
        .answered
        .iter()
        .filter(|one| !executed.contains_key(one));
    ensure!(
        unexecuted.count() == 0,
        "answers to calls that never arrived"
    );
    // The test is worth nothing if all was well, or nothing was.
    ensure!(refused > 0, "no misfortune was ever noticed");
    ensure!(answered > CALLS / 2, "{answered} answered");
    Ok(())
}

/// One misfortune after the other, each at another backend, until the calls are done.
async fn misfortunes(mut sites: [Site; 3], over: CancellationToken) -> Result<[Site; 3]> {
    for turn in 0.. {
        tokio::select! {
            () = over.cancelled() => break,
            // The pause between two misfortunes.
            () = tokio::time::sleep(PEACE) => {}
        }
        sites[turn % 3].suffer(turn / 3 + turn).await?;
    }
    sites.iter_mut().for_each(Site::collect);
    Ok(sites)
}

/// Calls one after the other over one connection, as long as there are calls to make. With a session
/// it speaks the legacy revision.
async fn client(address: SocketAddr, session: String, next: Arc<AtomicUsize>) -> Result<Seen> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut seen = Seen::default();
    loop {
        let nonce = next.fetch_add(1, Ordering::Relaxed);
        if nonce >= CALLS {
            return Ok(seen);
        }
        let request = request(address, &session, nonce)?;
        let answer = timeout(ANSWERED, send(&mut sender, request));
        let message = answer
            .await
            .with_context(|| format!("call {nonce} has no answer"))??;
        ensure!(message["id"] == json!(nonce), "call {nonce}: {message}");
        match (&message["result"], message["error"]["code"].as_i64()) {
            (Value::Null, Some(code)) if TYPED.contains(&code) => {
                *seen.refused.entry(code).or_default() += 1;
            }
            (result, None) if result["content"][0]["text"] == json!(nonce.to_string()) => {
                seen.answered.push(nonce);
            }
            _ => bail!("call {nonce}: {message}"),
        }
    }
}

fn request(address: SocketAddr, session: &str, nonce: usize) -> Result<Request<Full<Bytes>>> {
    let name = format!("{}_echo", ["a", "b", "c"][nonce % 3]);
    let mut params = json!({ "name": name, "arguments": { "text": nonce.to_string() } });
    let mut builder = Request::post("/mcp")
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if session.is_empty() {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        builder = builder
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", &name);
    } else {
        builder = builder
            .header("mcp-protocol-version", "2025-11-25")
            .header("mcp-session-id", session);
    }
    let body = json!({ "jsonrpc": "2.0", "id": nonce, "method": "tools/call", "params": params });
    Ok(builder.body(Full::from(body.to_string()))?)
}

/// The one final message of the answer: the body, or the one response on the stream.
async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Value> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let type_ = response.headers().get("content-type");
    let events = type_.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status == StatusCode::OK, "{status}: {body:?}");
    if !events {
        return Ok(serde_json::from_slice(&body)?);
    }
    let text = std::str::from_utf8(&body)?;
    let mut finals = Vec::new();
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let message: Value = serde_json::from_str(data)?;
        if message.get("method").is_none() {
            finals.push(message);
        }
    }
    ensure!(finals.len() == 1, "{} answers: {text}", finals.len());
    finals.pop().context("no answer")
}
