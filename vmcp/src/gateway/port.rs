//! The one door from the gateway to the backends.
//!
//! Owns the trait and the messages that cross it. The gateway knows no HTTP and the backend side
//! knows no client; both know only this file. Every reply is either events ending in one
//! [`UpstreamEvent::Response`], or one typed error: nothing is ever turned into success (T11).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use vmcp_core::health::{CallOutcome, Dialect, ProbeFailure};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::jsonrpc::RpcError;

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

/// One request for one backend, names already those of the backend.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    pub target: Target,
    pub scope: SessionScope,
    pub method: Arc<str>,
    /// Raw JSON object; the members that the target's era demands are set by the backend side.
    pub params: Option<Arc<str>>,
    /// `Mcp-Name` for a modern backend.
    pub name: Option<Arc<str>>,
    /// Client's `_meta` facts for a modern backend: raw JSON of capabilities and clientInfo.
    pub client_capabilities: Option<Arc<str>>,
    pub client_info: Option<Arc<str>>,
    pub repeat: Repeat,
    /// The whole call, body included.
    pub deadline: Instant,
}

/// What a backend says during a call.
#[derive(Clone, Debug)]
pub enum UpstreamEvent {
    /// Raw JSON-RPC notification (progress, log message) on the call's stream.
    Notification(Arc<str>),
    /// The end: the raw `result`, or the backend's own error, both unchanged.
    Response(Result<Arc<str>, RpcError>),
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
}

/// The reply channel of one call. Dropping it is the client's cancellation (R4.10).
pub type UpstreamEvents = mpsc::Receiver<Result<UpstreamEvent, UpstreamError>>;

/// Calls that may be under way in one reply channel before the reader is waited for.
pub const EVENT_BUFFER: usize = 16;

/// Sends requests to backends. Implemented by `backend::Upstream`, and by fakes in tests.
pub trait BackendPort: Send + Sync + fmt::Debug + 'static {
    /// Starts the request. The future resolves when the first event or error is there, so that the
    /// caller can choose between a JSON and an SSE reply.
    fn send(
        &self,
        request: UpstreamRequest,
    ) -> BoxFuture<'static, Result<UpstreamEvents, UpstreamError>>;

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
