//! Clients that can be asked, spoken by hand.
//!
//! Owns what such a client sends and how it reads a reply message by message. Answers nothing by
//! itself: the test does.

use std::net::SocketAddr;
use std::time::Duration;

use crate::eventually::eventually;
use crate::http::{self, Answer, Listener};
use ::http::Request;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

/// No message is longer in coming.
const DEADLINE: Duration = Duration::from_secs(30);

const ANY: &str = "application/json, text/event-stream";

/// A legacy client with a session.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub session: String,
    accept: &'static str,
}

/// The answer to a POST, message by message.
#[derive(Debug)]
pub struct Talk {
    listener: Listener,
    read: usize,
}

impl Client {
    /// Opens a session of a client that declares these capabilities.
    ///
    /// # Errors
    /// It gets no session.
    pub async fn open(address: SocketAddr, able: &Value) -> Result<Self> {
        let client = Self {
            address,
            session: String::new(),
            accept: ANY,
        };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": able,
            "clientInfo": { "name": "test", "version": "1" },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let answer = client.post(body.to_string()).await?;
        let session = answer.header("mcp-session-id").to_owned();
        ensure!(!session.is_empty(), "no session: {}", answer.text());
        Ok(Self { session, ..client })
    }

    /// The same client at another replica.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// The same client, which takes no event streams from now on.
    #[must_use]
    pub fn json_only(self) -> Self {
        Self {
            accept: "application/json",
            ..self
        }
    }

    pub fn session(&self) -> &str {
        &self.session
    }

    /// POSTs these very bytes.
    ///
    /// # Errors
    /// No connection, or no answer.
    pub async fn post(&self, body: String) -> Result<Answer> {
        http::send(self.address, self.request(body)?).await
    }

    /// Begins a call of a tool of the backend `s`.
    ///
    /// # Errors
    /// It is refused.
    pub async fn begin(&self, id: u64, tool: &str) -> Result<Talk> {
        self.begin_call(id, &format!("s_{tool}")).await
    }

    /// Begins a call.
    ///
    /// # Errors
    /// It is refused.
    pub async fn begin_call(&self, id: u64, tool: &str) -> Result<Talk> {
        let params = json!({ "name": tool, "arguments": {} });
        self.ask(id, "tools/call", &params).await
    }

    /// Begins a request.
    ///
    /// # Errors
    /// It is refused.
    pub async fn ask(&self, id: u64, method: &str, params: &Value) -> Result<Talk> {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let request = self.request(body.to_string())?;
        Ok(Talk {
            listener: http::stream(self.address, request).await?,
            read: 0,
        })
    }

    /// Answers a request of the gateway's; `raw` is `"result":...` or `"error":...`.
    ///
    /// # Errors
    /// The answer is not accepted.
    pub async fn answer(&self, asked: &Value, raw: &str) -> Result<()> {
        let id = &asked["id"];
        ensure!(id.is_string(), "no request: {asked}");
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{raw}}}"#);
        let status = self.post(body).await?.status;
        ensure!(status == 202, "{status}");
        Ok(())
    }

    fn request(&self, body: String) -> Result<Request<Full<Bytes>>> {
        let mut builder = Request::post("/mcp")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("accept", self.accept);
        if !self.session.is_empty() {
            builder = builder
                .header("mcp-session-id", &self.session)
                .header("mcp-protocol-version", "2025-11-25");
        }
        Ok(builder.body(Full::from(body))?)
    }
}

impl Talk {
    /// Everything that came so far.
    #[must_use]
    pub fn seen(&self) -> String {
        self.listener.seen()
    }

    /// The next message, once it is there whole.
    ///
    /// # Errors
    /// It does not come in time.
    pub async fn next(&mut self) -> Result<Value> {
        let (read, listener) = (self.read, &self.listener);
        let message = eventually("a message", DEADLINE, || async move {
            let seen = listener.seen();
            let events = seen.lines().filter_map(|line| line.strip_prefix("data: "));
            // A reply in JSON is one message.
            let whole = std::iter::once(&*seen).filter(|seen| seen.starts_with('{'));
            let mut messages = events
                .chain(whole)
                .filter_map(|raw| serde_json::from_str(raw).ok());
            messages
                .nth(read)
                .with_context(|| format!("after {read}: {seen}"))
        })
        .await?;
        self.read += 1;
        Ok(message)
    }
}

/// A `tools/call` of a modern client that declares these capabilities.
///
/// # Errors
/// No connection, or no answer.
pub async fn modern(address: SocketAddr, params: Value, able: &Value) -> Result<Answer> {
    modern_request(address, ("tools/call", params), able).await
}

/// Any request of a modern client that declares these capabilities.
///
/// # Errors
/// No connection, or no answer.
pub async fn modern_request(
    address: SocketAddr,
    asked: (&str, Value),
    able: &Value,
) -> Result<Answer> {
    http::send(address, built(address, asked, able)?).await
}

/// The same, for an answer that never ends.
///
/// # Errors
/// No connection, or no answer.
pub async fn modern_listen(
    address: SocketAddr,
    asked: (&str, Value),
    able: &Value,
) -> Result<Listener> {
    http::stream(address, built(address, asked, able)?).await
}

fn built(
    address: SocketAddr,
    (method, mut params): (&str, Value),
    able: &Value,
) -> Result<Request<Full<Bytes>>> {
    let mut named = ["name", "uri", "taskId"].into_iter();
    let name = named.find_map(|key| params[key].as_str().map(str::to_owned));
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientCapabilities"] = able.clone();
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "test", "version": "1" });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut builder = Request::post("/mcp")
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .header("accept", ANY)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = name {
        builder = builder.header("mcp-name", name);
    }
    Ok(builder.body(Full::from(body.to_string()))?)
}

/// Waits until a stream has said this.
///
/// # Errors
/// It has not, in time.
pub async fn heard(stream: &Listener, what: &str) -> Result<()> {
    eventually(&format!("hearing {what}"), DEADLINE, || {
        let seen = stream.seen();
        async move {
            ensure!(seen.contains(what), "{seen}");
            Ok(())
        }
    })
    .await
}
