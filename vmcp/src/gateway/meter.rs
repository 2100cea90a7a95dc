//! What the gateway says about each request, to whoever counts.
//!
//! Owns the record and its door. Never labels by tool, URI, principal or session: label sets are
//! bounded by the catalogue of backends and methods.

use std::fmt;
use std::time::Duration;

use vmcp_core::mcp::method;

use crate::snapshot::BackendView;

/// `kind` label of the request histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    Call,
    List,
    Read,
    Other,
}

impl RequestKind {
    /// In the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Call, Self::List, Self::Read, Self::Other];

    /// The kind of a request of this method.
    #[must_use]
    pub fn of(of: &str) -> Self {
        match of {
            method::TOOLS_CALL => Self::Call,
            method::TOOLS_LIST
            | method::PROMPTS_LIST
            | method::RESOURCES_LIST
            | method::RESOURCES_TEMPLATES_LIST => Self::List,
            method::PROMPTS_GET | method::RESOURCES_READ => Self::Read,
            _ => Self::Other,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::List => "list",
            Self::Read => "read",
            Self::Other => "other",
        }
    }
}

/// One finished request.
#[derive(Clone, Debug)]
pub struct RequestRecord<'a> {
    /// A known MCP method or `other`.
    pub method: &'static str,
    pub kind: RequestKind,
    pub backend: Option<&'a BackendView>,
    /// `ok`, `tool_error`, a reason, or `rpc_other`.
    pub code: &'static str,
    pub took: Duration,
}

/// Counts requests. Implemented by the metrics module.
pub trait RequestMeter: Send + Sync + fmt::Debug + 'static {
    fn record(&self, record: &RequestRecord<'_>);

    /// The number of live client sessions changed.
    fn sessions(&self, live: usize);

    /// A session goes on here whose replica is gone.
    fn session_taken_over(&self);

    /// What is kept here of sessions of other replicas changed: of so many.
    fn sessions_elsewhere(&self, kept: usize);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeter;

impl RequestMeter for NoMeter {
    fn record(&self, _record: &RequestRecord<'_>) {}

    fn sessions(&self, _live: usize) {}

    fn session_taken_over(&self) {}

    fn sessions_elsewhere(&self, _kept: usize) {}
}
