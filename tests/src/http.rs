//! Plain HTTP requests of a test, each on a connection of its own.
//!
//! Owns the smallest client that a test needs to read an endpoint or to speak MCP by hand. Never
//! pools: what a test sees must not depend on what another asked before.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No request of a test takes longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; of an event stream, its last message.
    ///
    /// # Errors
    /// It is neither.
    pub fn json(&self) -> Result<Value> {
        let text = self.text();
        let mut events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let json = events.next_back().unwrap_or(&text);
        serde_json::from_str(json).with_context(|| format!("{}: {text}", self.status))
    }

    /// A header's value, empty where absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Sends one request on a new connection and reads the whole answer.
///
/// # Errors
/// No connection, a broken answer, or not within 30 s.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer> {
    timeout(DEADLINE, exchange(address, request))
        .await
        .context("no answer in time")?
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    connection.abort();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// GET of a path.
///
/// # Errors
/// As [`send`].
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Full::default())?;
    send(address, request).await
}

/// A legacy MCP client that hides nothing: one request, one connection.
#[derive(Clone, Debug)]
pub struct LegacyClient {
    pub address: SocketAddr,
    pub session: String,
}

impl LegacyClient {
    /// Opens a session at `/mcp`.
    ///
    /// # Errors
    /// The handshake fails.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Self::open_as(address, json!({ "name": "test", "version": "1" })).await
    }

    /// The same for a client that describes itself like this.
    ///
    /// # Errors
    /// The handshake fails.
    pub async fn open_as(address: SocketAddr, client_info: Value) -> Result<Self> {
        let client = Self {
            address,
            session: String::new(),
        };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": client_info,
        });
        let answer = client.post(&request("initialize", params)).await?;
        ensure!(
            answer.status == StatusCode::OK,
            "initialize: {} {}",
            answer.status,
            answer.text()
        );
        let session = answer.header("mcp-session-id").to_owned();
        ensure!(!session.is_empty(), "initialize gave no session");
        let client = Self { address, session };
        let body = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let answer = client.post(&body).await?;
        ensure!(
            answer.status == StatusCode::ACCEPTED,
            "initialized: {}",
            answer.status
        );
        Ok(client)
    }

    /// POSTs any message.
    ///
    /// # Errors
    /// As [`send`].
    pub async fn post(&self, body: &Value) -> Result<Answer> {
        let mut builder = Request::post("/mcp")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if !self.session.is_empty() {
            builder = builder
                .header("mcp-session-id", &self.session)
                .header("mcp-protocol-version", "2025-11-25");
        }
        send(self.address, builder.body(Full::from(body.to_string()))?).await
    }

    /// The `result` of a request.
    ///
    /// # Errors
    /// It is an error; the text carries it.
    pub async fn result(&self, method: &str, params: Value) -> Result<Value> {
        let answer = self.post(&request(method, params)).await?.json()?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("{method}: {answer}"),
        }
    }

    /// Names of all tools, over all pages.
    ///
    /// # Errors
    /// A page is an error.
    pub async fn tools(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut params = json!({});
        loop {
            let page = self.result("tools/list", params).await?;
            let tools = page["tools"].as_array().context("no tools")?;
            names.extend(
                tools
                    .iter()
                    .filter_map(|tool| Some(tool["name"].as_str()?.to_owned())),
            );
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(names),
            }
        }
    }

    /// The whole answer of a call, result or error.
    ///
    /// # Errors
    /// As [`send`].
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        let params = json!({ "name": tool, "arguments": arguments });
        self.post(&request("tools/call", params)).await?.json()
    }
}

/// POSTs a modern request with a complete envelope.
///
/// # Errors
/// As [`send`].
pub async fn modern(address: SocketAddr, method: &str, params: Value) -> Result<Answer> {
    send(
        address,
        modern_request(address, "/mcp", (method, params), &[])?,
    )
    .await
}

/// [`modern`], at another path or with further headers.
///
/// # Errors
/// As [`send`].
pub async fn modern_at(
    address: SocketAddr,
    path: &str,
    (method, params): (&str, Value),
    extra: &[(&str, &str)],
) -> Result<Answer> {
    send(
        address,
        modern_request(address, path, (method, params), extra)?,
    )
    .await
}

/// POSTs a modern request whose answer is a stream that does not end.
///
/// # Errors
/// It is refused.
pub async fn modern_stream(address: SocketAddr, method: &str, params: Value) -> Result<Listener> {
    stream(
        address,
        modern_request(address, "/mcp", (method, params), &[])?,
    )
    .await
}

/// A modern request with a complete envelope.
///
/// # Errors
/// It cannot be written.
pub fn modern_request(
    address: SocketAddr,
    path: &str,
    (method, params): (&str, Value),
    extra: &[(&str, &str)],
) -> Result<Request<Full<Bytes>>> {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    let mut builder = Request::post(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
        builder = builder.header("mcp-name", name);
    }
    for (name, value) in extra {
        builder = builder.header(*name, *value);
    }
    Ok(builder.body(Full::from(request(method, params).to_string()))?)
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// The GET stream of a session, read in the background until it is dropped.
#[derive(Debug)]
pub struct Listener {
    seen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Listener {
    /// Everything that came so far.
    #[must_use]
    pub fn seen(&self) -> String {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Opens the GET stream of a session.
///
/// # Errors
/// It is refused.
pub async fn listen(address: SocketAddr, session: &str) -> Result<Listener> {
    let request = Request::get("/mcp")
        .header("host", address.to_string())
        .header("accept", "text/event-stream")
        .header("mcp-session-id", session)
        .body(Full::<Bytes>::default())?;
    stream(address, request).await
}

/// Sends a request and reads its answer in the background.
///
/// # Errors
/// It is refused.
pub async fn stream(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Listener> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = timeout(DEADLINE, sender.send_request(request))
        .await
        .context("no head")??;
    ensure!(
        response.status() == StatusCode::OK,
        "stream: {}",
        response.status()
    );
    let seen = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&seen);
    let reader = tokio::spawn(async move {
        // The connection lives as long as somebody reads from it.
        let _sender = sender;
        let mut body = response.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push_str(&String::from_utf8_lossy(data));
            }
        }
        connection.abort();
    });
    Ok(Listener { seen, reader })
}
