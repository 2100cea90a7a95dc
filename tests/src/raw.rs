//! A bare HTTP/1.1 client for assertions about the wire.
//!
//! Owns one connection per [`RawClient`] and shows exactly what came back: a body that breaks off
//! or stalls is a value here, not an error. Never retries, never pools, knows nothing of MCP but
//! the headers that every request needs.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A body that is silent for this long counts as stalled.
pub const SILENCE: Duration = Duration::from_secs(1);
/// An answer whose head does not come within this time counts as never.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// The connection broke before the promised end.
    Broken,
    /// Nothing more came within [`SILENCE`].
    Stalled,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub end: End,
}

/// One TCP connection to one server.
#[derive(Debug)]
pub struct RawClient {
    uri: Uri,
    sender: SendRequest<Full<Bytes>>,
    pub local_port: u16,
}

impl RawClient {
    /// # Errors
    /// The URL is no `http://host:port/path`, or the connection fails.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("parse {url}"))?;
        let authority = uri
            .authority()
            .ok_or_else(|| anyhow!("{url} has no host"))?
            .to_string();
        let stream = timeout(PATIENCE, TcpStream::connect(&authority)).await??;
        let local_port = stream.local_addr()?.port();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            uri,
            sender,
            local_port,
        })
    }

    /// # Errors
    /// No head of an answer: the connection broke, or [`PATIENCE`] ran out.
    pub async fn send(
        &mut self,
        method: Method,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Answer> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header(
                "host",
                self.uri.authority().map_or("", |host| host.as_str()),
            );
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let response = timeout(PATIENCE, self.sender.send_request(request)).await??;
        let (parts, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        let end = loop {
            match timeout(SILENCE, incoming.frame()).await {
                Err(_elapsed) => break End::Stalled,
                Ok(None) => break End::Whole,
                Ok(Some(Err(_broken))) => break End::Broken,
                Ok(Some(Ok(frame))) => body.extend(frame.data_ref().into_iter().flatten()),
            }
        };
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.freeze(),
            end,
        })
    }

    /// POST of one JSON-RPC message with the headers that every MCP server wants.
    ///
    /// # Errors
    /// As [`RawClient::send`].
    pub async fn post(
        &mut self,
        extra: &[(&str, &str)],
        message: &Value,
    ) -> anyhow::Result<Answer> {
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        headers.extend_from_slice(extra);
        self.send(Method::POST, &headers, &message.to_string())
            .await
    }

    /// POST of a 2026-07-28 request: `_meta` and headers are added.
    ///
    /// # Errors
    /// As [`RawClient::send`].
    pub async fn modern(&mut self, method: &str, mut params: Value) -> anyhow::Result<Answer> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        if method == "tools/call" {
            headers.push(("mcp-name", &name));
        }
        self.post(&headers, &request(1, method, params)).await
    }

    /// `initialize` and `notifications/initialized`; returns the session id, empty for none.
    ///
    /// # Errors
    /// As [`RawClient::send`], or the server refuses.
    pub async fn initialize(&mut self) -> anyhow::Result<String> {
        let answer = self.post(&[], &initialize_request()).await?;
        anyhow::ensure!(
            answer.status == 200,
            "initialize answered {}",
            answer.status
        );
        let session = answer.header("mcp-session-id").to_owned();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = self
            .post(&[("mcp-session-id", &session)], &initialized)
            .await?;
        anyhow::ensure!(
            accepted.status == 202,
            "initialized answered {}",
            accepted.status
        );
        Ok(session)
    }

    /// One request on a session.
    ///
    /// # Errors
    /// As [`RawClient::send`].
    pub async fn legacy(
        &mut self,
        session: &str,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Answer> {
        self.post(&[("mcp-session-id", session)], &request(1, method, params))
            .await
    }
}

impl Answer {
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// Raw text of the last JSON message: the body, or the data of its last event.
    #[must_use]
    pub fn message_text(&self) -> String {
        if !self.header("content-type").starts_with("text/event-stream") {
            return self.text().to_owned();
        }
        let last = self
            .text()
            .trim_end()
            .rsplit("\n\n")
            .next()
            .unwrap_or_default();
        let data = last.lines().filter_map(|line| line.strip_prefix("data: "));
        data.collect::<Vec<_>>().join("\n")
    }

    /// Names in the `tools/list` result of the last message.
    #[must_use]
    pub fn tool_names(&self) -> Vec<String> {
        let message = self.message();
        let tools = message["result"]["tools"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        tools
            .iter()
            .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Text of the first content block of the `tools/call` result of the last message.
    #[must_use]
    pub fn content_text(&self) -> String {
        let message = self.message();
        message["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The last JSON message, `Null` where there is none.
    #[must_use]
    pub fn message(&self) -> Value {
        serde_json::from_str(&self.message_text()).unwrap_or_default()
    }
}

/// One `ping` without a session, on a connection of its own.
///
/// # Errors
/// As [`RawClient::connect`] and [`RawClient::send`].
pub async fn ping(url: &str) -> anyhow::Result<Answer> {
    RawClient::connect(url)
        .await?
        .post(&[], &request(7, "ping", json!({})))
        .await
}

#[must_use]
pub fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[must_use]
pub fn initialize_request() -> Value {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw-client", "version": "1.0.0"},
    });
    request(0, "initialize", params)
}
