//! A backend that talks while it works.
//!
//! Owns a small legacy server whose one tool, `drip`, says `count` things, `gap` milliseconds
//! apart and `size` bytes long each, before its result. It keeps sessions and counts them. It must
//! never share code with the gateway.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::{Local, SOON};

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What it has seen.
#[derive(Debug, Default)]
struct Seen {
    next: AtomicU64,
    open: Mutex<HashSet<String>>,
    calls: AtomicU64,
}

/// A running server; closed when dropped.
#[derive(Debug)]
pub struct Drip {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Drip {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drip {
    /// One, and a gateway over it alone, under the name `one`.
    ///
    /// # Errors
    /// The gateway does not become ready.
    pub async fn behind_a_gateway() -> Result<(Self, Local)> {
        let drip = Self::start().await?;
        let local = Local::start(&[("one", drip.url())], json!({})).await?;
        local.until_phase("Ready", SOON).await?;
        Ok((drip, local))
    }

    /// Starts on a free port.
    ///
    /// # Errors
    /// There is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&seen), request));
                    // How a client leaves is its own affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            seen,
            task,
        })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Sessions that were opened and not ended.
    #[must_use]
    pub fn sessions_open(&self) -> usize {
        self.seen.open().len()
    }

    /// Sessions that were ever opened.
    #[must_use]
    pub fn sessions_ever(&self) -> u64 {
        self.seen.next.load(Ordering::Relaxed)
    }

    /// Calls that were ever begun.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::Relaxed)
    }
}

impl Seen {
    fn open(&self) -> MutexGuard<'_, HashSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(seen: Arc<Seen>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let message: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    let session = head.headers.get("mcp-session-id");
    let session = session.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let known = seen.open().contains(session);
    let reply = match (head.method, message["method"].as_str().unwrap_or_default()) {
        (Method::DELETE, _) => {
            let status = if seen.open().remove(session) {
                200
            } else {
                404
            };
            empty(status)
        }
        (Method::POST, "initialize") => {
            let number = seen.next.fetch_add(1, Ordering::Relaxed) + 1;
            let id = format!("drip-{number}");
            seen.open().insert(id.clone());
            let mut reply = result(&message, &initialized(&message));
            if let Ok(id) = id.parse() {
                reply.headers_mut().insert("mcp-session-id", id);
            }
            reply
        }
        (Method::POST, _) if !known => empty(404),
        (Method::POST, "ping") => result(&message, &json!({})),
        (Method::POST, "tools/list") => {
            let tool = json!({ "name": "drip", "inputSchema": { "type": "object" } });
            result(&message, &json!({ "tools": [tool] }))
        }
        (Method::POST, "tools/call") => {
            seen.calls.fetch_add(1, Ordering::Relaxed);
            drip(&message)
        }
        (Method::POST, _) if message.get("id").is_none() => empty(202),
        (Method::POST, _) => empty(400),
        _ => empty(405),
    };
    Ok(reply)
}

fn initialized(message: &Value) -> Value {
    json!({
        "protocolVersion": message["params"]["protocolVersion"],
        "capabilities": { "tools": {}, "logging": {} },
        "serverInfo": { "name": "drip", "version": "1" },
    })
}

fn drip(message: &Value) -> Reply {
    let arguments = &message["params"]["arguments"];
    let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
    let (count, gap) = (number("count"), Duration::from_millis(number("gap")));
    let size = usize::try_from(number("size")).unwrap_or_default();
    let done = json!({ "content": [{ "type": "text", "text": format!("dripped {count}") }] });
    if count == 0 && gap.is_zero() {
        return result(message, &done);
    }
    let last = json!({ "jsonrpc": "2.0", "id": message["id"], "result": done });
    let events: BoxStream<'static, Value> = stream::iter(1..=count)
        .then(move |number| async move {
            tokio::time::sleep(gap).await;
            let data = json!({ "number": number, "filler": "x".repeat(size) });
            json!({
                "jsonrpc": "2.0", "method": "notifications/message",
                "params": { "level": "info", "data": data },
            })
        })
        .chain(stream::once(async move {
            tokio::time::sleep(gap).await;
            last
        }))
        .boxed();
    let frames = events.map(|message| {
        let event = format!("event: message\ndata: {message}\n\n");
        Ok::<_, Infallible>(Frame::data(Bytes::from(event)))
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = http::HeaderValue::from_static("text/event-stream");
    reply.headers_mut().insert("content-type", kind);
    reply
}

fn result(message: &Value, result: &Value) -> Reply {
    let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
    let mut reply = Response::new(Full::from(body.to_string()).boxed_unsync());
    let kind = http::HeaderValue::from_static("application/json");
    reply.headers_mut().insert("content-type", kind);
    reply
}

fn empty(status: u16) -> Reply {
    let mut reply = Response::new(Full::default().boxed_unsync());
    *reply.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    reply
}
