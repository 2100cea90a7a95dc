//! One request from socket to answer.
//!
//! Owns the order: record, meet the fault, decide, spoil, frame. Never holds a lock over an await.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::{broadcast, mpsc, watch};

use super::asking::Asked;
use super::call::Call;
use super::fault::Fault;
use super::framing::{self, Body, Piece};
use super::record::Recorder;
use super::reply::{Message, Plain, Reply};
use super::script::{Era, GetStream, Script, UnknownSession};
use super::session::{Listening, SessionEnd, Sessions};
use super::{asking, legacy, modern, sse};

/// Larger requests than the gateway may ever send.
const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// Announcements that a slow stream may lag behind.
const EVENT_QUEUE: usize = 64;
/// Pieces that wait in an open event stream.
pub(super) const STREAM_QUEUE: usize = 64;

#[derive(Debug)]
pub(super) struct Engine {
    script: Mutex<Arc<Script>>,
    fault: watch::Sender<Arc<Fault>>,
    recorder: Recorder,
    sessions: Arc<Sessions>,
    changes: broadcast::Sender<Said>,
    asked: Asked,
}

/// What is said on open streams.
#[derive(Clone, Debug)]
pub(super) enum Said {
    ToolsChanged,
    /// On the stream of one session.
    Raw {
        session: String,
        message: String,
    },
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(super) struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection closed on purpose")
    }
}

impl std::error::Error for Aborted {}

impl Engine {
    pub(super) fn new(script: Script) -> Self {
        Self {
            script: Mutex::new(Arc::new(script)),
            fault: watch::Sender::new(Arc::new(Fault::None)),
            recorder: Recorder::default(),
            sessions: Arc::new(Sessions::default()),
            changes: broadcast::Sender::new(EVENT_QUEUE),
            asked: Asked::default(),
        }
    }

    pub(super) fn script(&self) -> Arc<Script> {
        Arc::clone(&self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Script)) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut script));
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.fault.send_replace(Arc::new(fault));
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(super) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    pub(super) fn announce_tools_changed(&self) {
        // No open stream is no error.
        let _nobody_listens = self.changes.send(Said::ToolsChanged);
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        for stream in self.sessions.streams() {
            // A stream that is full hears of an earlier one.
            let _full = stream.try_send(Piece::Data(framing::event(changed)));
        }
    }

    /// A raw message on the GET stream of a session; lost where nobody listens.
    pub(super) fn say(&self, session: &str, message: &str) {
        if let Some(stream) = self.sessions.stream(session) {
            let _full = stream.try_send(Piece::Data(framing::event(message)));
        }
        let (session, message) = (session.to_owned(), message.to_owned());
        let _nobody_listens = self.changes.send(Said::Raw { session, message });
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// # Errors
    /// The connection is to be closed without an answer.
    pub(super) async fn answer(
        self: Arc<Self>,
        connection: usize,
        peer_port: u16,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Aborted> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST)
            .collect()
            .await
            .map_err(|_| Aborted)?
            .to_bytes();
        let call = Call::new(parts, body);
        let (place, cycle) = self.recorder.request(connection, peer_port, &call);
        let fault = self.fault.borrow().meeting(call.method(), cycle).clone();
        let mut response = self.respond(&call, &fault).await?;
        self.add_headers(&mut response);
        self.recorder.answered(place, response.status().as_u16());
        Ok(response)
    }

    fn add_headers(&self, response: &mut Response<Body>) {
        for (name, value) in &self.script().extra_headers {
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
                response.headers_mut().append(name, value);
            }
        }
    }

    async fn respond(
        self: &Arc<Self>,
        call: &Call,
        fault: &Fault,
    ) -> Result<Response<Body>, Aborted> {
        if let Some(instead) = self.instead(call, fault).await? {
            return Ok(framing::plain(instead));
        }
        let script = self.script();
        Ok(match self.decide(&script, call, fault).await {
            Reply::Plain(plain) => framing::plain(plain),
            Reply::Stream { pieces, guard } => framing::open_stream(pieces, guard),
            Reply::Message(mut message) => {
                message.spoil(fault);
                framing::message(&message, script.reply, fault)
            }
        })
    }

    /// The failures that need no thought about MCP.
    async fn instead(&self, call: &Call, fault: &Fault) -> Result<Option<Plain>, Aborted> {
        let plain = match fault {
            Fault::AcceptAndHang => std::future::pending().await,
            Fault::Reset | Fault::Refuse => return Err(Aborted),
            Fault::Hold => {
                let mut faults = self.fault.subscribe();
                faults
                    .wait_for(|now| !now.holds())
                    .await
                    .map_err(|_| Aborted)?;
                return Ok(None);
            }
            Fault::Slow(pause) => {
                tokio::time::sleep(*pause).await;
                return Ok(None);
            }
            Fault::HttpStatus {
                status,
                www_authenticate,
            } => {
                let plain = Plain::text(*status, "scripted failure");
                match www_authenticate {
                    Some(challenge) => plain.with("www-authenticate", challenge),
                    None => plain,
                }
            }
            Fault::Http307 { location } => Plain::empty(307).with("location", location),
            Fault::NonJson200 => Plain::new(
                200,
                "text/html",
                "<!doctype html><title>Welcome</title><p>It works!",
            ),
            Fault::EmptyBody200 => Plain::new(200, "application/json", Bytes::new()),
            Fault::RateLimited { retry_after } => {
                let plain = Plain::text(429, "too many requests");
                match retry_after {
                    Some(seconds) => plain.with("retry-after", seconds.to_string()),
                    None => plain,
                }
            }
            Fault::HostCheck { allowed } if !host_allowed(call, allowed) => {
                Plain::text(403, "Invalid Host header")
            }
            Fault::RejectProbesWithoutSession
                if call.session().is_none() && call.method() != "initialize" =>
            {
                Plain::text(400, "Bad Request: a session is required")
            }
            _ => return Ok(None),
        };
        Ok(Some(plain))
    }

    async fn decide(self: &Arc<Self>, script: &Script, call: &Call, fault: &Fault) -> Reply {
        if let Some(token) = &script.bearer
            && call.header("authorization") != Some(&format!("Bearer {token}"))
        {
            return Plain::empty(401).with("www-authenticate", "Bearer").into();
        }
        if script.era == Era::Sse2024 {
            if call
                .session()
                .is_some_and(|id| self.sessions.is_initialized(id))
                && let Some(rpc) = &call.rpc
                && let Some(reply) = asking::reply(self, script, call, rpc).await
            {
                return reply;
            }
            return sse::answer(self, script, call, fault).await;
        }
        if call.path != script.path() {
            return Plain::text(404, "not found").into();
        }
        match call.http_method {
            Method::POST => self.post(script, call).await,
            Method::GET => self.get(script, call),
            Method::DELETE => self.delete(script, call),
            _ => Plain::empty(405).with("allow", "GET, POST, DELETE").into(),
        }
    }

    async fn post(self: &Arc<Self>, script: &Script, call: &Call) -> Reply {
        if !call
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
        {
            return Plain::text(415, "Content-Type must be application/json").into();
        }
        if !call.accepts_both() {
            return Plain::text(
                406,
                "Accept must name application/json and text/event-stream",
            )
            .into();
        }
        let Some(rpc) = &call.rpc else {
            return Message::error("null", 400, -32700, "Parse error").into();
        };
        let speaks_modern = rpc.method() == "server/discover"
            || call.header("mcp-protocol-version") == Some(modern::VERSION);
        if script.era != Era::ModernOnly
            && let Some(reply) = asking::reply(self, script, call, rpc).await
        {
            return reply;
        }
        match script.era {
            Era::ModernOnly => modern::post(self, script, call, rpc).await,
            Era::Dual if speaks_modern => modern::post(self, script, call, rpc).await,
            Era::LegacyStateless => legacy::post_stateless(script, call, rpc).await,
            Era::LegacyStateful | Era::Dual | Era::Sse2024 => {
                legacy::post_stateful(self, script, call, rpc).await
            }
        }
    }

    fn get(&self, script: &Script, call: &Call) -> Reply {
        let after = call.header("last-event-id");
        if let Some(reply) = after.and_then(|after| self.asked.go_on(after)) {
            return reply;
        }
        let has_sessions = matches!(script.era, Era::LegacyStateful | Era::Dual);
        if script.get_stream == GetStream::MethodNotAllowed || !has_sessions {
            return Plain::empty(405).with("allow", "POST, DELETE").into();
        }
        match call.session() {
            Some(id) if self.sessions.touch(id) => match self.sessions.listen(id) {
                Some(_) if script.get_stream == GetStream::Polled => {
                    Plain::new(200, "text/event-stream", "retry: 0\n\n").into()
                }
                Some(listening) => {
                    self.change_stream(None, "{}".to_owned(), Some((id.to_owned(), listening)))
                }
                None => {
                    let text = "Conflict: this session has its stream already";
                    Message::error("null", 409, -32000, text).into()
                }
            },
            Some(_) => unknown_session(script).into(),
            None => Message::error("null", 400, -32000, "Bad Request: no session").into(),
        }
    }

    fn delete(&self, script: &Script, call: &Call) -> Reply {
        if !matches!(script.era, Era::LegacyStateful | Era::Dual) {
            return Plain::empty(405).with("allow", "POST").into();
        }
        match call.session() {
            Some(id) if self.sessions.end(id, SessionEnd::Deleted) => {
                Plain::empty(script.delete_status).into()
            }
            Some(_) => unknown_session(script).into(),
            None => Message::error("null", 400, -32000, "Bad Request: no session").into(),
        }
    }

    /// An event stream that begins with the message `first` and then carries one
    /// `notifications/tools/list_changed` with the raw `params` for each change.
    pub(super) fn change_stream(
        &self,
        first: Option<String>,
        params: String,
        own: Option<(String, Listening)>,
    ) -> Reply {
        let (sender, pieces) = mpsc::channel(STREAM_QUEUE);
        let mut changes = self.changes.subscribe();
        tokio::spawn(async move {
            let opening =
                first.map_or_else(|| ": open\n\n".to_owned(), |first| framing::event(&first));
            let mut next = Piece::Data(opening);
            loop {
                if sender.send(next).await.is_err() {
                    return;
                }
                let said = loop {
                    let said = tokio::select! {
                        () = sender.closed() => return,
                        change = changes.recv() => match change {
                            Ok(said) => said,
                            Err(broadcast::error::RecvError::Lagged(_)) => Said::ToolsChanged,
                            Err(broadcast::error::RecvError::Closed) => return,
                        },
                    };
                    match said {
                        Said::ToolsChanged => {
                            break format!(
                                r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{params}}}"#
                            );
                        }
                        Said::Raw { session, message }
                            if own.as_ref().is_some_and(|(id, _)| *id == session) =>
                        {
                            break message;
                        }
                        Said::Raw { .. } => {}
                    }
                };
                next = Piece::Data(framing::event(&said));
            }
        });
        Reply::Stream {
            pieces,
            guard: None,
        }
    }
}

/// How this server refuses a session that it does not know (T18).
pub(super) fn unknown_session(script: &Script) -> Message {
    match script.unknown_session {
        UnknownSession::NotFound404 => Message::error("null", 404, -32001, "Session not found"),
        UnknownSession::BadRequest400 => Message::error(
            "null",
            400,
            -32000,
            "Bad Request: No valid session ID provided",
        ),
    }
}

fn host_allowed(call: &Call, allowed: &[String]) -> bool {
    let host = call.header("host").unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    allowed.iter().any(|known| known == name)
}
