//! The raw reference multiplexer: the least that can be done between a client and many backends.
//!
//! Owns the measure that everything else is compared with. It scans the envelope, strips the prefix
//! of the name, relays on connections that are kept, and looks at the envelope of what comes back.
//! Lists are live: all backends are asked at once and the definitions joined as raw text. It has no
//! policy, no health, no deadline, no limit and no catalogue, and must never get any.

mod list;
mod translate;
mod upstream;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use crate::wire::{self, Envelope, Era, Kind};
use upstream::Upstream;

type Reply = Response<Full<Bytes>>;

#[derive(Args, Debug)]
pub struct Options {
    /// What all backends are.
    #[arg(long)]
    kind: Kind,
    /// Their addresses, in the order of their names.
    #[arg(long, required = true, value_delimiter = ',')]
    backends: Vec<SocketAddr>,
    #[arg(long)]
    ready_file: PathBuf,
}

struct Multiplexer {
    kind: Kind,
    backends: Vec<Upstream>,
    /// Of legacy clients: the session upstream for each backend that was called.
    sessions: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    next: AtomicU64,
}

/// A client's session: one upstream session for each backend.
#[derive(Debug)]
struct Session {
    upstream: Vec<OnceCell<Box<str>>>,
}

/// What of a request is passed on.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    method: &'a str,
    name: Option<&'a str>,
    session: Option<&'a str>,
}

/// Serves until the process is ended.
pub async fn run(options: Options) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let backends = options.backends.into_iter().map(Upstream::new).collect();
    let multiplexer = Arc::new(Multiplexer {
        kind: options.kind,
        backends,
        sessions: Mutex::default(),
        next: AtomicU64::new(1),
    });
    let part = options.ready_file.with_extension("part");
    std::fs::write(&part, serde_json::to_vec(&[port])?)?;
    std::fs::rename(part, &options.ready_file).context("the ready file")?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let multiplexer = Arc::clone(&multiplexer);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let multiplexer = Arc::clone(&multiplexer);
                async move { Ok::<_, Infallible>(multiplexer.answer(request).await) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Multiplexer {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        match self.served(request).await {
            Ok(reply) => reply,
            Err(error) => {
                let text = serde_json::Value::from(format!("{error:#}")).to_string();
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32001,"message":{text}}}}}"#
                );
                json(StatusCode::BAD_GATEWAY, text.into())
            }
        }
    }

    async fn served(&self, request: Request<Incoming>) -> Result<Reply> {
        let text = |name: &str| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let era = match text("mcp-protocol-version") {
            Some(wire::MODERN) => Era::Modern,
            _ => Era::Legacy,
        };
        let session = text("mcp-session-id").map(Arc::<str>::from);
        if request.method() == Method::DELETE {
            return Ok(self.delete(session.as_deref()));
        }
        let body = request.into_body().collect().await?.to_bytes();
        let body = std::str::from_utf8(&body)?;
        let envelope: Envelope<'_> = serde_json::from_str(body)?;
        let Some(id) = envelope.id else {
            return Ok(empty(StatusCode::ACCEPTED));
        };
        match &*envelope.method {
            "tools/call" => {
                self.call(era, session.as_deref(), body, &envelope, id)
                    .await
            }
            "tools/list" => {
                self.list(era, session.as_deref(), body, &envelope, id)
                    .await
            }
            "initialize" => Ok(self.initialize(id)),
            _ => Ok(json(
                StatusCode::OK,
                wire::error(id.get(), wire::METHOD_NOT_FOUND, "no such method").into(),
            )),
        }
    }

    async fn call(
        &self,
        era: Era,
        session: Option<&str>,
        body: &str,
        envelope: &Envelope<'_>,
        id: &RawValue,
    ) -> Result<Reply> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            name: &'a RawValue,
        }
        let params = envelope.params.context("no params")?;
        let params: Params<'_> = serde_json::from_str(params.get())?;
        let exposed = params.name.get();
        let (prefix, name) = exposed
            .trim_matches('"')
            .split_once('_')
            .context("a name without a prefix")?;
        let backend = self.backend(prefix)?;
        let session = self.session(session)?;
        let upstream = self.backends[backend]
            .session(session.as_deref().map(|session| &session.upstream[backend]))
            .await?;
        let stripped = wire::splice(body, exposed, &format!("\"{name}\""));
        let stripped = match (era, self.kind) {
            (Era::Legacy, Kind::Modern) => translate::to_modern(&stripped)?,
            _ => stripped,
        };
        let asked = Asked {
            method: "tools/call",
            name: Some(name),
            session: upstream,
        };
        let answer = self.backends[backend]
            .ask(self.kind, asked, stripped.into())
            .await?;
        check(&answer, id)?;
        Ok(json(StatusCode::OK, answer))
    }

    fn backend(&self, prefix: &str) -> Result<usize> {
        let index = prefix.strip_prefix('s').and_then(|n| n.parse().ok());
        match index.filter(|index| *index < self.backends.len()) {
            Some(index) => Ok(index),
            None => bail!("no backend {prefix}"),
        }
    }

    fn initialize(&self, id: &RawValue) -> Reply {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name: Arc<str> = format!("reference-{number:016x}").into();
        let session = Arc::new(Session {
            upstream: self.backends.iter().map(|_| Default::default()).collect(),
        });
        let header = HeaderValue::from_str(&name);
        self.sessions().insert(name, session);
        let result = format!(
            r#"{{"protocolVersion":"{}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"reference","version":"1"}}}}"#,
            wire::LEGACY
        );
        let mut reply = json(StatusCode::OK, wire::result(id.get(), &result).into());
        if let Ok(header) = header {
            reply.headers_mut().insert("mcp-session-id", header);
        }
        reply
    }

    fn delete(&self, session: Option<&str>) -> Reply {
        let known = session.and_then(|session| self.sessions().remove(session));
        empty(if known.is_some() {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::NOT_FOUND
        })
    }

    /// The session of this client; `None` where the backends keep none.
    fn session(&self, session: Option<&str>) -> Result<Option<Arc<Session>>> {
        if self.kind != Kind::Stateful {
            return Ok(None);
        }
        let session = session.context("no session")?;
        let found = self.sessions().get(session).map(Arc::clone);
        Ok(Some(found.context("no such session")?))
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reply is JSON-RPC and has the id of the request.
fn check(answer: &Bytes, id: &RawValue) -> Result<()> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(answer)?;
    ensure!(answer.id.get() == id.get(), "the id of another request");
    ensure!(
        answer.result.is_some() != answer.error.is_some(),
        "neither result nor error"
    );
    Ok(())
}

fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    reply.headers_mut().insert("content-type", kind);
    reply
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}
