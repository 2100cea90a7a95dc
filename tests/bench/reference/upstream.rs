//! One backend of the reference: its idle connections, and one exchange on one of them.
//!
//! Never times out and never retries; what fails is the client's to see.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::Asked;
use crate::wire::{self, Kind};

type Sender = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    host: HeaderValue,
    idle: Mutex<Vec<Sender>>,
}

impl Upstream {
    pub fn new(address: SocketAddr) -> Self {
        let host = HeaderValue::from_str(&address.to_string());
        Self {
            address,
            host: host.unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            idle: Mutex::default(),
        }
    }

    /// Sends a message and returns the whole body of the answer.
    pub async fn ask(&self, kind: Kind, asked: Asked<'_>, body: Bytes) -> Result<Bytes> {
        let (_, body) = self.exchange(kind, asked, body).await?;
        Ok(body)
    }

    /// The id of the session in this place, which is opened if there is none yet.
    pub async fn session<'a>(
        &self,
        place: Option<&'a OnceCell<Box<str>>>,
    ) -> Result<Option<&'a str>> {
        let Some(place) = place else {
            return Ok(None);
        };
        let id = place.get_or_try_init(|| self.open()).await?;
        Ok(Some(id))
    }

    async fn open(&self) -> Result<Box<str>> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"reference","version":"1"}}}}}}"#,
            wire::LEGACY
        );
        let plain = Asked {
            method: "initialize",
            name: None,
            session: None,
        };
        let (headers, _) = self.exchange(Kind::Stateful, plain, body.into()).await?;
        let id = headers.get("mcp-session-id").context("no session id")?;
        let id: Box<str> = id.to_str()?.into();
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let told = Asked {
            method: "notifications/initialized",
            name: None,
            session: Some(&id),
        };
        self.exchange(Kind::Stateful, told, body.into()).await?;
        Ok(id)
    }

    async fn exchange(
        &self,
        kind: Kind,
        asked: Asked<'_>,
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes)> {
        let mut builder = Request::post(wire::PATH)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if kind == Kind::Modern {
            builder = builder
                .header("mcp-protocol-version", wire::MODERN)
                .header("mcp-method", asked.method);
            if let Some(name) = asked.name {
                builder = builder.header("mcp-name", name);
            }
        } else {
            builder = builder.header("mcp-protocol-version", wire::LEGACY);
        }
        if let Some(session) = asked.session {
            builder = builder.header("mcp-session-id", session);
        }
        let request = builder.body(Full::new(body))?;
        let mut sender = self.connection().await?;
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        ensure!(head.status.is_success(), "the backend says {}", head.status);
        self.idle().push(sender);
        Ok((head.headers, body))
    }

    async fn connection(&self) -> Result<Sender> {
        loop {
            let idle = self.idle().pop();
            match idle {
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => break,
            }
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.ready().await?;
        Ok(sender)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
