//! One client: one connection that is kept, in either era.
//!
//! Owns the requests as a real client sends them, with the headers and `_meta` of its era. Never
//! retries: what fails has failed, and the next request starts on a new connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::check;
use crate::wire::{Era, LEGACY, MODERN, PATH};

/// No request takes longer without having failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// `_meta` of a modern request.
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}"#;

/// Where a subject listens.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: SocketAddr,
    pub path: String,
}

impl Place {
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            path: PATH.to_owned(),
        }
    }
}

#[derive(Debug)]
pub struct Client {
    place: Place,
    host: String,
    era: Era,
    session: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
    last_id: u64,
}

impl Client {
    /// A client that has not said anything yet.
    pub fn new(place: &Place, era: Era) -> Self {
        Self {
            place: place.clone(),
            host: place.address.to_string(),
            era,
            session: None,
            sender: None,
            last_id: 0,
        }
    }

    /// A client that is ready to ask: connected, and in a session where its era has one.
    pub async fn open(place: &Place, era: Era) -> Result<Self> {
        let mut client = Self::new(place, era);
        if era == Era::Legacy {
            client.initialize().await?;
            client.initialized().await?;
        }
        Ok(client)
    }

    /// The handshake's request; whatever session there was is forgotten.
    pub async fn initialize(&mut self) -> Result<()> {
        self.session = None;
        let (id, body) = self.ask("initialize", None, INITIALIZE).await?;
        let result = check::result(&body, id)?;
        ensure!(result.contains("protocolVersion"), "{body}");
        Ok(())
    }

    async fn initialized(&mut self) -> Result<()> {
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let response = self.post(None, body.to_owned()).await?;
        let status = response.status();
        response.into_body().collect().await?;
        ensure!(status.is_success(), "notifications/initialized: {status}");
        Ok(())
    }

    /// Ends the session, if there is one.
    pub async fn end(&mut self) -> Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        let request = Request::delete(&self.place.path)
            .header("host", &self.host)
            .header("mcp-session-id", session)
            .header("mcp-protocol-version", LEGACY)
            .body(Full::default())?;
        timeout(DEADLINE, self.send(request)).await??;
        Ok(())
    }

    /// `tools/call` with an argument `nonce`. Returns the id and the JSON of the reply.
    pub async fn call(&mut self, tool: &str, nonce: &str) -> Result<(u64, String)> {
        let params = match self.era {
            Era::Modern => {
                format!(r#"{{"name":"{tool}","arguments":{{"nonce":"{nonce}"}},{META}}}"#)
            }
            Era::Legacy => format!(r#"{{"name":"{tool}","arguments":{{"nonce":"{nonce}"}}}}"#),
        };
        self.ask("tools/call", Some(tool), &params).await
    }

    /// One page of `tools/list`.
    pub async fn list(&mut self, cursor: Option<&str>) -> Result<(u64, String)> {
        let cursor = cursor.map(|cursor| format!(r#""cursor":"{cursor}""#));
        let meta = (self.era == Era::Modern).then(|| META.to_owned());
        let members: Vec<String> = cursor.into_iter().chain(meta).collect();
        let params = format!("{{{}}}", members.join(","));
        self.ask("tools/list", None, &params).await
    }

    async fn ask(
        &mut self,
        method: &str,
        name: Option<&str>,
        params: &str,
    ) -> Result<(u64, String)> {
        self.last_id += 1;
        let id = self.last_id;
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let asked = timeout(DEADLINE, self.asked((method, name), body));
        let text = match asked.await.context("no reply in time") {
            Ok(Ok(text)) => text,
            Ok(Err(error)) | Err(error) => {
                self.sender = None;
                return Err(error);
            }
        };
        Ok((id, text))
    }

    async fn asked(&mut self, about: (&str, Option<&str>), body: String) -> Result<String> {
        let response = self.post(Some(about), body).await?;
        let (head, body) = response.into_parts();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if about.0 == "initialize" {
            self.session = text("mcp-session-id").map(str::to_owned);
        }
        let events = text("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8(body.into()).context("a reply that is no text")?;
        ensure!(head.status.is_success(), "{}: {body}", head.status);
        if !events {
            return Ok(body);
        }
        let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
        let last = data.map(str::trim).rfind(|data| data.contains("\"id\""));
        last.map(str::to_owned)
            .with_context(|| format!("a stream without a reply: {body}"))
    }

    async fn post(
        &mut self,
        about: Option<(&str, Option<&str>)>,
        body: String,
    ) -> Result<Response<Incoming>> {
        let mut builder = Request::post(&self.place.path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        match (self.era, about) {
            (Era::Modern, Some((method, name))) => {
                builder = builder
                    .header("mcp-protocol-version", MODERN)
                    .header("mcp-method", method);
                if let Some(name) = name {
                    builder = builder.header("mcp-name", name);
                }
            }
            (Era::Modern, None) | (Era::Legacy, Some(("initialize", _))) => {}
            (Era::Legacy, _) => builder = builder.header("mcp-protocol-version", LEGACY),
        }
        if let Some(session) = &self.session {
            builder = builder.header("mcp-session-id", session);
        }
        let request = builder.body(Full::new(Bytes::from(body)))?;
        self.send(request).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => self.sender.insert(sender),
            None => {
                let stream = TcpStream::connect(self.place.address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                self.sender.insert(sender)
            }
        };
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }
}
