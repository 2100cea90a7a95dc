//! What an error of the wire means.
//!
//! Owns the mapping from "what happened" to reason, message and outcome. Pure: every line of the
//! table in shared/mcp.md is a test here. Messages name the HTTP status and the MCP step (R2.3)
//! and are sanitised, because a backend may echo a credential (R3.4).

use url::Url;

use vmcp_core::health::{Outcome, ProbeFailure, ProbeReason, Step};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::limits::STATUS_TEXT;
use vmcp_core::mcp::Kind;
use vmcp_core::text::sanitise;

use super::wire::{Challenged, Refusal, WireError};

/// What was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing<'a> {
    pub step: Step,
    /// The words for it: `initialize`, `tools/list`.
    pub what: &'a str,
}

impl Doing<'static> {
    pub const DISCOVER: Self = Self {
        step: Step::Discover,
        what: "server/discover",
    };
    pub const INITIALIZE: Self = Self {
        step: Step::Initialize,
        what: "initialize",
    };
    pub const STREAM: Self = Self {
        step: Step::Initialize,
        what: "GET of the event stream",
    };
    pub const PING: Self = Self {
        step: Step::Ping,
        what: "ping",
    };

    /// Reading the list of this kind.
    pub const fn list(kind: Kind) -> Self {
        Self {
            step: Step::List,
            what: kind.method(),
        }
    }
}

/// A failure with a message that is safe to publish.
#[must_use]
pub fn failed(
    doing: Doing<'_>,
    reason: ProbeReason,
    http_status: Option<u16>,
    message: &str,
) -> ProbeFailure {
    ProbeFailure {
        reason,
        step: doing.step,
        http_status,
        message: sanitise(message, STATUS_TEXT),
    }
}

/// Reason and words for an error of the wire.
#[must_use]
pub fn failure(doing: Doing<'_>, error: &WireError, url: &Url) -> ProbeFailure {
    let what = doing.what;
    match error {
        WireError::Connect(error) => ProbeFailure {
            reason: error.reason,
            step: error.step,
            http_status: None,
            message: sanitise(&error.message, STATUS_TEXT),
        },
        WireError::Refused(refusal) => refused(doing, refusal, url),
        WireError::Gone => failed(
            doing,
            ProbeReason::ConnectRefused,
            None,
            &format!("{what}: {error}"),
        ),
        WireError::Protocol(_) | WireError::Cut(_) => failed(
            doing,
            ProbeReason::ProtocolError,
            None,
            &format!("{what}: {error}"),
        ),
        WireError::Lost(_) | WireError::Unsent => failed(
            doing,
            ProbeReason::ConnectionLost,
            None,
            &format!("{what}: {error}"),
        ),
        WireError::TooLarge(detail) => failed(
            doing,
            ProbeReason::ResponseTooLarge,
            None,
            &format!("{what}: {detail}"),
        ),
        WireError::Timeout(after) => failed(
            doing,
            timeout_reason(doing.step),
            None,
            &format!("{what}: no answer within {:.1} s", after.as_secs_f64()),
        ),
        WireError::Unwritable(detail) => failed(
            doing,
            ProbeReason::InvalidUrl,
            None,
            &format!("{what}: {detail}"),
        ),
    }
}

/// A JSON-RPC error where a result was needed.
#[must_use]
pub fn rpc_failure(doing: Doing<'_>, error: &RpcError) -> ProbeFailure {
    let reason = if doing.step == Step::List {
        ProbeReason::ListFailed
    } else {
        ProbeReason::ProtocolError
    };
    failed(
        doing,
        reason,
        None,
        &format!(
            "{} answered JSON-RPC error {}: {}",
            doing.what, error.code, error.message
        ),
    )
}

/// The verdict of a cycle that ended in `error`.
#[must_use]
pub fn outcome(doing: Doing<'_>, error: &WireError, url: &Url) -> Outcome {
    if let WireError::Refused(refusal) = error
        && refusal.status == 429
    {
        return Outcome::RateLimited {
            retry_after: refusal.retry_after,
        };
    }
    let failure = failure(doing, error, url);
    match failure.reason {
        ProbeReason::AuthRequired => Outcome::AuthRequired(failure),
        ProbeReason::AuthFailed => Outcome::AuthFailed(failure),
        _ => Outcome::Failed(failure),
    }
}

/// After this error on a remembered session, is a new handshake pointless in the same cycle?
/// R2.2: only where no connection came about, and for 401; and 429 forbids to ask again.
#[must_use]
pub fn settles(error: &WireError) -> bool {
    match error {
        // A slow connection may yet succeed in the larger share of the fresh try.
        WireError::Connect(error) => error.timed_out == super::connect::TimedOut::No,
        WireError::Refused(refusal) => matches!(refusal.status, 401 | 429),
        WireError::Unwritable(_) => true,
        _ => false,
    }
}

fn timeout_reason(step: Step) -> ProbeReason {
    match step {
        Step::List => ProbeReason::ListFailed,
        Step::Call => ProbeReason::CallTimeout,
        _ => ProbeReason::HandshakeTimeout,
    }
}

fn refused(doing: Doing<'_>, refusal: &Refusal, url: &Url) -> ProbeFailure {
    let status = refusal.status;
    let said = format!("{} answered HTTP {status}", doing.what);
    let (reason, message) = match status {
        401 | 407 => (
            ProbeReason::AuthRequired,
            format!("{said}: credentials required"),
        ),
        403 if refusal.challenged == Challenged::Yes => (
            ProbeReason::AuthRequired,
            format!("{said} with a challenge: credentials required"),
        ),
        403 | 421 => (
            ProbeReason::HostRejected,
            format!(
                "{said} without a challenge: the server may refuse our Host; set spec.hostHeader to the one it expects"
            ),
        ),
        429 => (ProbeReason::RateLimited, said),
        300..=399 => redirected(&said, refusal, url),
        _ => (ProbeReason::HttpStatus, with_detail(said, refusal)),
    };
    failed(doing, reason, Some(status), &message)
}

fn redirected(said: &str, refusal: &Refusal, url: &Url) -> (ProbeReason, String) {
    match refusal.same_origin_target(url) {
        Some(target) => (
            ProbeReason::Redirected,
            format!("{said} to {0}: set spec.path to {0}", target.path()),
        ),
        None => (
            ProbeReason::HttpStatus,
            format!("{said}: redirects are not followed"),
        ),
    }
}

fn with_detail(said: String, refusal: &Refusal) -> String {
    match refusal.rpc_error() {
        Some((_, error)) => format!(
            "{said} with JSON-RPC error {}: {}",
            error.code, error.message
        ),
        None => said,
    }
}
