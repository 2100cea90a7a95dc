//! The fast MCP server that stands behind every subject.
//!
//! Owns the cheapest answers that are still right: sessions are known or refused, a call is
//! answered with the server's name and the nonce that it brought. Hanging and dying are done to its
//! process from outside, by signals. Never waits, never logs, never keeps what was asked.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::wire::{self, Envelope, Kind};

type Reply = Response<Full<Bytes>>;

/// Where the servers of this process stand, and how they speak.
#[derive(Args, Debug)]
pub struct Options {
    #[arg(long)]
    kind: Kind,
    /// Number of the first server: it gives the name.
    #[arg(long, default_value_t = 0)]
    first: usize,
    #[arg(long)]
    tools: usize,
    /// One server for each; 0 takes a free port.
    #[arg(long, required = true, value_delimiter = ',')]
    ports: Vec<u16>,
    /// Takes the ports as JSON once all are bound.
    #[arg(long)]
    ready_file: PathBuf,
}

struct Server {
    kind: Kind,
    name: String,
    tools: String,
    filler: String,
    sessions: Mutex<HashSet<String>>,
    next: AtomicU64,
}

/// Serves until the process is ended.
pub async fn run(options: Options) -> Result<()> {
    let definitions: Vec<String> = (0..options.tools).map(wire::definition).collect();
    let tools = definitions.join(",");
    let mut ports = Vec::new();
    for (index, port) in options.ports.iter().enumerate() {
        let listener = TcpListener::bind(("127.0.0.1", *port)).await?;
        ports.push(listener.local_addr()?.port());
        let server = Arc::new(Server {
            kind: options.kind,
            name: wire::backend_name(options.first + index),
            tools: tools.clone(),
            filler: "x".repeat(wire::BIG),
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
        });
        tokio::spawn(listen(listener, server));
    }
    let part = options.ready_file.with_extension("part");
    std::fs::write(&part, serde_json::to_vec(&ports)?)?;
    std::fs::rename(part, &options.ready_file).context("the ready file")?;
    std::future::pending().await
}

async fn listen(listener: TcpListener, server: Arc<Server>) {
    while let Ok((stream, _)) = listener.accept().await {
        let server = Arc::clone(&server);
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&server), request));
            // A client that breaks off is no news.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let session = request
        .headers()
        .get("mcp-session-id")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let method = request.method().clone();
    let Ok(body) = request.into_body().collect().await else {
        return Ok(empty(400));
    };
    Ok(match method {
        Method::POST => server.post(session, &body.to_bytes()),
        Method::DELETE if server.kind == Kind::Stateful => server.delete(session),
        _ => empty(405),
    })
}

impl Server {
    fn post(&self, session: Option<String>, body: &Bytes) -> Reply {
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(body) else {
            return json(400, wire::error("null", -32700, "no JSON-RPC"));
        };
        let Some(id) = envelope.id.map(RawValue::get) else {
            return empty(202);
        };
        if envelope.method == "initialize" && self.kind != Kind::Modern {
            return self.initialize(id);
        }
        if self.kind == Kind::Stateful {
            match session {
                None => return json(400, wire::error(id, -32000, "a session id is required")),
                Some(session) if !self.knows(&session) => {
                    return json(404, wire::error(id, -32001, "no such session"));
                }
                Some(_) => {}
            }
        }
        self.dispatch(id, &envelope)
    }

    fn dispatch(&self, id: &str, envelope: &Envelope<'_>) -> Reply {
        let modern = self.kind == Kind::Modern;
        let complete = if modern {
            r#","resultType":"complete""#
        } else {
            ""
        };
        match &*envelope.method {
            "tools/call" => self.call(id, envelope, complete),
            "tools/list" => {
                let fresh = if modern {
                    r#","ttlMs":60000,"cacheScope":"public""#
                } else {
                    ""
                };
                let tools = &self.tools;
                let listed = format!(r#"{{"tools":[{tools}]{complete}{fresh}}}"#);
                json(200, wire::result(id, &listed))
            }
            "ping" if !modern => json(200, wire::result(id, "{}")),
            "server/discover" if modern => {
                let discovered = format!(
                    r#"{{"resultType":"complete","supportedVersions":["{}"],"capabilities":{{"tools":{{}}}},"ttlMs":60000,"cacheScope":"public","serverInfo":{{"name":"{1}","version":"1"}},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"{1}","version":"1"}}}}}}"#,
                    wire::MODERN,
                    self.name
                );
                json(200, wire::result(id, &discovered))
            }
            "initialize" => {
                let code = wire::UNSUPPORTED_VERSION;
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"unsupported protocol version","data":{{"supported":["{}"],"requested":"{}"}}}}}}"#,
                    wire::MODERN,
                    wire::LEGACY
                );
                json(400, text)
            }
            _ => {
                let status = if modern { 404 } else { 200 };
                let text = wire::error(id, wire::METHOD_NOT_FOUND, "no such method");
                json(status, text)
            }
        }
    }

    fn call(&self, id: &str, envelope: &Envelope<'_>, complete: &str) -> Reply {
        #[derive(Deserialize)]
        struct Params<'a> {
            name: &'a str,
            #[serde(borrow)]
            arguments: Arguments<'a>,
        }
        #[derive(Deserialize)]
        struct Arguments<'a> {
            nonce: &'a str,
        }
        let params = envelope.params.map_or("{}", RawValue::get);
        let Ok(params) = serde_json::from_str::<Params<'_>>(params) else {
            return json(200, wire::error(id, wire::INVALID_PARAMS, "bad arguments"));
        };
        let number = params.name.strip_prefix('t');
        let filler = match number.and_then(|number| number.parse::<usize>().ok()) {
            Some(wire::BIG_TOOL) => self.filler.as_str(),
            Some(_) => "",
            None => return json(200, wire::error(id, wire::INVALID_PARAMS, "no such tool")),
        };
        let (name, nonce) = (&self.name, params.arguments.nonce);
        let content = format!(
            r#"{{"content":[{{"type":"text","text":"{name}:{nonce}{filler}"}}],"isError":false{complete}}}"#
        );
        json(200, wire::result(id, &content))
    }

    fn initialize(&self, id: &str) -> Reply {
        let result = format!(
            r#"{{"protocolVersion":"{}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"{}","version":"1"}}}}"#,
            wire::LEGACY,
            self.name
        );
        let mut reply = json(200, wire::result(id, &result));
        if self.kind == Kind::Stateful {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // The process is part of it: a server that was restarted knows none of the old ones.
            let session = format!("{}-{}-{number}", self.name, std::process::id());
            if let Ok(value) = session.parse() {
                reply.headers_mut().insert("mcp-session-id", value);
            }
            self.sessions().insert(session);
        }
        reply
    }

    fn delete(&self, session: Option<String>) -> Reply {
        match session {
            Some(session) if self.sessions().remove(&session) => empty(204),
            _ => empty(404),
        }
    }

    fn knows(&self, session: &str) -> bool {
        self.sessions().contains(session)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(status: u16, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let kind = http::HeaderValue::from_static("application/json");
    reply.headers_mut().insert("content-type", kind);
    reply
}

fn empty(status: u16) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    reply
}

/// The addresses of servers that a ready file names.
pub fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
    let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
    ports.iter().map(address).collect()
}
