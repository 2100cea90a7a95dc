//! What a check or a call found.

use std::fmt;
use std::time::Duration;

use super::ProbeReason;
use crate::mcp::{Era, ProtocolVersion, ServerInfo};

/// Where in a check something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Dns,
    Connect,
    Tls,
    Discover,
    Initialize,
    Ping,
    List,
    Call,
}

impl Step {
    pub const ALL: [Self; 8] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Discover,
        Self::Initialize,
        Self::Ping,
        Self::List,
        Self::Call,
    ];

    /// The step in a message for people: an MCP method where it is one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Discover => "server/discover",
            Self::Initialize => "initialize",
            Self::Ping => "ping",
            Self::List => "tools/list",
            Self::Call => "tools/call",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failure, complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeFailure {
    pub reason: ProbeReason,
    pub step: Step,
    pub http_status: Option<u16>,
    /// Already sanitised; names the HTTP status and the MCP step where there are any (R2.3).
    pub message: String,
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// The transport found at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    StreamableHttp,
    /// HTTP with server-sent events of 2024-11-05.
    Sse,
}

/// Does a legacy backend keep sessions?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionMode {
    Stateful,
    Stateless,
}

/// How a backend turned out to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dialect {
    pub era: Era,
    pub version: ProtocolVersion,
    pub wire: Wire,
    pub sessions: SessionMode,
}

/// Did a good check also read the tools? A check that did not says nothing about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listed {
    Yes,
    No,
}

/// What a check found. Each is formed from nothing in its cycle (R2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Healthy {
        latency: Duration,
        dialect: Dialect,
        server: Option<ServerInfo>,
        listed: Listed,
    },
    /// Alive, but its tools could not be listed.
    ListFailed {
        failure: ProbeFailure,
        dialect: Dialect,
        server: Option<ServerInfo>,
    },
    Failed(ProbeFailure),
    /// 401, or 403 with WWW-Authenticate, and we have no credential.
    AuthRequired(ProbeFailure),
    /// The same, and we presented one; or its file is missing.
    AuthFailed(ProbeFailure),
    /// No verdict.
    RateLimited {
        retry_after: Option<Duration>,
    },
    /// No verdict, and no failure (R4.2).
    Cancelled,
}

impl Outcome {
    /// The `outcome` label of `vmcp_backend_probes_total`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Healthy { .. } => "healthy",
            Self::ListFailed { .. } => "list_failed",
            Self::Failed(_) => "failed",
            Self::AuthRequired(_) => "auth_required",
            Self::AuthFailed(_) => "auth_failed",
            Self::RateLimited { .. } => "rate_limited",
            Self::Cancelled => "cancelled",
        }
    }

    /// The `reason` label of the same series.
    #[must_use]
    pub const fn reason(&self) -> Option<ProbeReason> {
        match self {
            Self::Healthy { .. } | Self::Cancelled => None,
            Self::ListFailed { failure, .. }
            | Self::Failed(failure)
            | Self::AuthRequired(failure)
            | Self::AuthFailed(failure) => Some(failure.reason),
            Self::RateLimited { .. } => Some(ProbeReason::RateLimited),
        }
    }
}

/// What a call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Ok,
    /// No answer of the backend, or none that MCP allows.
    Failed(ProbeFailure),
    /// By the client: never touches health (R4.10).
    Cancelled,
    /// `isError`, or a JSON-RPC error of the backend's own: it works, the call was wrong.
    ToolError,
}
