//! The one door from the gateway to the backends.
//!
//! Owns the trait and the messages that cross it. The gateway knows no HTTP and the backend side
//! knows no client; both know only this file. Every reply is either events ending in one
//! [`UpstreamEvent::Response`], or one typed error: nothing is ever turned into success (T11).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use vmcp_core::health::{CallOutcome, Dialect, ProbeFailure};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::ProtocolVersion;

use crate::near::Near;
use crate::pods::Pin;
use crate::snapshot::Endpoint;

/// Whose state a stateful legacy backend keeps for this request (T12).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionScope {
    /// A legacy client's session: one upstream session for it, kept until it ends.
    Client(Arc<str>),
    /// A modern client: an upstream session leased exclusively for this call.
    Lease,
}

/// The live runtime of a backend at call time (R4.7).
#[derive(Clone, Debug)]
pub struct Target {
    pub id: BackendId,
    pub generation: Generation,
    pub endpoint: Arc<Endpoint>,
    /// As the prober found it; `None` before the first success.
    pub dialect: Option<Dialect>,
}

/// May the request be sent twice? (T19)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Only where it provably never left.
    IfUnsent,
    /// Read-only or idempotent.
    Freely,
}

/// What is known of `_meta` in the params of a request, so that nobody has to read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownMeta {
    Unread,
    /// There is none.
    Absent,
    /// It says exactly what the request says of its client, to a backend of this version, and asks
    /// for no progress.
    Says(ProtocolVersion),
}

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client,
    /// Nobody: the gateway asks for itself, in the client's session. What a client is to be told once
    /// is not told here.
    Gateway,
}

/// One request for one backend, names already those of the backend.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    pub target: Near<Target>,
    pub scope: SessionScope,
    pub origin: Origin,
    pub method: Arc<str>,
    /// Raw JSON object; the members that the target's era demands are set by the backend side.
    pub params: Option<Arc<str>>,
    pub known_meta: KnownMeta,
    /// `Mcp-Name` for a modern backend.
    pub name: Option<Arc<str>>,
    /// Client's `_meta` facts for a modern backend: raw JSON of capabilities and clientInfo.
    ///
    /// A legacy session is opened with these capabilities: the client's, never ours.
    pub client_capabilities: Option<Arc<str>>,
    pub client_info: Option<Arc<str>>,
    /// What `initialize` offers upstream: as negotiated with a legacy client, else the latest.
    pub client_version: ProtocolVersion,
    /// Raw JSON string. A legacy session is told with `logging/setLevel` before the request where it
    /// has another one; a modern request carries it in `_meta`.
    pub log_level: Option<Arc<str>>,
    /// `Mcp-Param-*` headers for a modern backend, values encoded.
    pub param_headers: Vec<(Box<str>, Box<str>)>,
    pub repeat: Repeat,
    /// Who asks, for the bound on what one of them may have under way. An anonymous client counts
    /// as its session; without one it is bounded with all others only.
    pub principal: Option<Arc<str>>,
    /// The whole call, body included, but for the time that a request of the backend's waits for its
    /// answer.
    pub deadline: Instant,
}

/// What a backend says during a call.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// Raw JSON-RPC notification (progress, log message) on the call's stream.
    Notification(Arc<str>),
    /// A question of the backend to the client. The call's deadline stands still until it is
    /// answered.
    Request(ServerRequest),
    /// The end: the raw `result`, or the backend's own error, both unchanged.
    Response(Result<Arc<str>, RpcError>),
}

/// A request of a legacy backend's, on its way to the client. `ping` never gets here.
#[derive(Debug)]
pub struct ServerRequest {
    pub method: Arc<str>,
    /// Raw, as the backend spelled it.
    pub params: Option<Arc<str>>,
    pub answer: Answerer,
}

/// Takes the one answer. Dropped without one, the backend is told -32601.
#[derive(Debug)]
pub struct Answerer(oneshot::Sender<Result<Arc<str>, RpcError>>);

impl Answerer {
    /// With the end where the backend side waits.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Result<Arc<str>, RpcError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Resolves when nobody waits for the answer any more: the backend took its question back, or
    /// the call is over.
    pub async fn withdrawn(&mut self) {
        self.0.closed().await;
    }

    /// Nobody waits for the answer any more.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.0.is_closed()
    }

    /// The raw `result`, or the client's error. Nobody may wait any more; then nothing happens.
    pub fn answer(self, answer: Result<Arc<str>, RpcError>) {
        let _ = self.0.send(answer);
    }
}

/// A standing stream: what a backend says outside calls.
///
/// * legacy, `SessionScope::Client`: the GET stream of that client's session, opened if need be;
/// * legacy, `SessionScope::Lease`: a session of its own in which `resources` are subscribed to,
///   ended when the receiver is dropped;
/// * modern: `subscriptions/listen` with `resources` as `resourceSubscriptions`.
///
/// Announcements of changed lists never cross: they go to the registry.
#[derive(Clone, Debug)]
pub struct UpstreamListen {
    pub target: Near<Target>,
    pub scope: SessionScope,
    pub resources: Vec<Arc<str>>,
    pub client_capabilities: Option<Arc<str>>,
    pub client_info: Option<Arc<str>>,
    pub client_version: ProtocolVersion,
    pub log_level: Option<Arc<str>>,
    /// Until the stream stands; a standing stream has none.
    pub deadline: Instant,
}

/// What a client session has at backends, on its way to another replica.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HandedUpstream {
    pub sessions: Vec<HandedSession>,
    /// Whatever else it had died with a replica: what is opened for it counts as restarted.
    #[serde(default)]
    pub lost: bool,
}

/// An upstream session on its way to another replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSession {
    pub backend: BackendId,
    /// Where it lives: a session is of no use at another address.
    pub url: Url,
    /// `Mcp-Session-Id` of the backend. `None`: it lives in a connection of the old replica's, or
    /// was lost; what is opened in its place counts as restarted.
    pub session: Option<String>,
    /// In place of one that was lost, and the client has not been told yet.
    #[serde(default)]
    pub restarted: bool,
    /// Which of its addresses keeps the session.
    #[serde(default)]
    pub pin: Option<Pin>,
    pub version: ProtocolVersion,
    /// Raw capabilities that it was opened with.
    pub capabilities: Option<Arc<str>>,
    /// Raw capabilities of the backend.
    #[serde(default)]
    pub server_capabilities: Option<Arc<str>>,
    pub log_level: Option<Arc<str>>,
}

/// Why there is no answer of the backend. Every variant is about this one backend.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Refused, unreachable, unusable; the failure says at which step.
    #[error("backend unavailable: {}", .0.message)]
    Unavailable(ProbeFailure),
    #[error("backend did not answer within {0:?}")]
    Timeout(Duration),
    #[error("backend asks for credentials: {}", .0.message)]
    Authentication(ProbeFailure),
    /// Garbage, a wrong id, a body cut short, too much: reachable, wrong answer.
    #[error("backend broke the protocol: {}", .0.message)]
    Protocol(ProbeFailure),
    /// Too many in flight.
    #[error("too many calls in flight")]
    Overloaded { retry_after: Duration },
    /// The backend itself wants fewer calls (HTTP 429).
    #[error("backend limits the rate of calls")]
    RateLimited { retry_after: Option<Duration> },
    /// The backend forgot the session, and its spec says `sessionLoss: Fail`: the client's session
    /// is over, and its request is answered with HTTP 404.
    #[error("the backend forgot the session")]
    SessionLost,
}

/// One word of a backend's, or why none will come any more.
pub type Event = Result<UpstreamEvent, UpstreamError>;

/// What is said in one call. Dropping it is the client's cancellation (R4.10).
#[derive(Debug)]
pub struct UpstreamEvents {
    only: Option<Event>,
    rest: Option<mpsc::Receiver<Event>>,
}

impl UpstreamEvents {
    /// One event and no more, where everything was said already.
    #[must_use]
    pub const fn only(event: Event) -> Self {
        Self {
            only: Some(event),
            rest: None,
        }
    }

    /// The next event; `None` after the last.
    pub async fn recv(&mut self) -> Option<Event> {
        match (self.only.take(), &mut self.rest) {
            (None, Some(rest)) => rest.recv().await,
            (only, _) => only,
        }
    }

    /// The next event, if there is one now.
    pub fn recv_now(&mut self) -> Option<Event> {
        match (self.only.take(), &mut self.rest) {
            (None, Some(rest)) => rest.try_recv().ok(),
            (only, _) => only,
        }
    }
}

impl From<mpsc::Receiver<Event>> for UpstreamEvents {
    fn from(rest: mpsc::Receiver<Event>) -> Self {
        Self {
            only: None,
            rest: Some(rest),
        }
    }
}

/// A standing stream that stands.
#[derive(Debug)]
pub struct UpstreamStream {
    pub events: UpstreamEvents,
    /// Those of the wanted resources that the backend took.
    pub taken: BTreeSet<Arc<str>>,
}

/// Events that may wait in one reply channel before its reader is waited for.
pub const EVENT_BUFFER: usize = 16;

/// Sends requests to backends. Implemented by `backend::Upstream`, and by fakes in tests.
pub trait BackendPort: Send + Sync + fmt::Debug + 'static {
    /// Starts the request. The future resolves when the first event or error is there, so that the
    /// caller can choose between a JSON and an SSE reply.
    fn send(
        &self,
        request: Arc<UpstreamRequest>,
    ) -> BoxFuture<'static, Result<UpstreamEvents, UpstreamError>>;

    /// Holds a standing stream. Resolves when it stands; dropping the receiver ends it.
    fn listen(
        &self,
        listen: UpstreamListen,
    ) -> BoxFuture<'static, Result<UpstreamStream, UpstreamError>>;

    /// The upstream sessions of a client session, taken out of this process: they are not ended.
    fn export_sessions(&self, session: &str) -> HandedUpstream;

    /// Upstream sessions that another replica opened for a client session. Importing them again
    /// changes nothing. `false`: there is no room, and they are the caller's as before.
    #[must_use]
    fn import_sessions(&self, session: Arc<str>, handed: HandedUpstream) -> bool;

    /// Whatever upstream sessions a client had are lost with the replica that kept them: what is
    /// opened for it from now on counts as restarted.
    fn sessions_lost(&self, session: Arc<str>);

    /// Sends a notification of a client's to every backend where it has an open session. Waits for
    /// nothing.
    fn notify(&self, session: &str, method: &str, params: Option<&str>);

    /// Ends every upstream session that belongs to a client session.
    fn end_session(&self, session: Arc<str>) -> BoxFuture<'static, ()>;
}

/// What traffic saw, for the registry. Sent with `try_send`: a full queue loses an observation,
/// never delays a call.
#[derive(Clone, Debug)]
pub struct Observation {
    pub id: BackendId,
    pub generation: Generation,
    pub outcome: CallOutcome,
}
