//! Why there is no answer, as the client is to hear it.
//!
//! Owns the way from a backend's trouble to an exact error: code by era, reason, server, and when to
//! come back (R3). Never tries anything itself: a backend that is known to be unreachable is told
//! from the snapshot (R4.13).

use std::time::Duration;

use vmcp_core::health::{Dialect, ProbeFailure, ProbeReason, SessionMode, Step};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::error::{ClientErrorKind, client_error};
use vmcp_core::mcp::{Era, method};

use super::port::{Target, UpstreamError};
use crate::near::Near;
use crate::snapshot::BackendView;

/// The live runtime of a backend, unless a call there could only fail.
///
/// # Errors
/// When the backend has no address or is known to be unreachable.
pub(super) fn target(view: &BackendView) -> Result<Near<Target>, UpstreamError> {
    match &view.target {
        Some(target) if !view.fails_fast => Ok(target.near()),
        _ => Err(UpstreamError::Unavailable(last_failure(view))),
    }
}

/// What the last check said, as the reason why a call is not even tried.
fn last_failure(view: &BackendView) -> ProbeFailure {
    ProbeFailure {
        reason: view.observed.reason.unwrap_or(ProbeReason::ConnectRefused),
        step: Step::Connect,
        http_status: None,
        message: view.observed.message.clone(),
    }
}

/// The `code` label of a failed call: a reason.
pub(super) fn error_code(error: &UpstreamError) -> &'static str {
    reason(error).as_str()
}

fn reason(error: &UpstreamError) -> ProbeReason {
    match error {
        UpstreamError::Unavailable(failure)
        | UpstreamError::Authentication(failure)
        | UpstreamError::Protocol(failure) => failure.reason,
        UpstreamError::Timeout(_) => ProbeReason::CallTimeout,
        UpstreamError::Overloaded { .. } => ProbeReason::Overloaded,
        UpstreamError::RateLimited { .. } => ProbeReason::RateLimited,
        UpstreamError::SessionLost => ProbeReason::SessionLost,
    }
}

/// The error that the client sees of a request of `method`.
pub(super) fn to_rpc(
    era: Era,
    method: &str,
    view: &BackendView,
    error: &UpstreamError,
) -> RpcError {
    let (kind, retry_after) = match error {
        UpstreamError::Unavailable(_) => (
            ClientErrorKind::BackendUnavailable,
            Some(view.next_probe_in),
        ),
        UpstreamError::Protocol(_) => (ClientErrorKind::BackendUnavailable, None),
        UpstreamError::Timeout(_) if is_about_resources(method) => {
            (ClientErrorKind::ResourceTimeout, None)
        }
        UpstreamError::Timeout(_) => (ClientErrorKind::Timeout, None),
        UpstreamError::Authentication(_) => (ClientErrorKind::Authentication, None),
        UpstreamError::Overloaded { retry_after } => {
            (ClientErrorKind::BackendUnavailable, Some(*retry_after))
        }
        UpstreamError::RateLimited { retry_after } => {
            (ClientErrorKind::BackendUnavailable, *retry_after)
        }
        UpstreamError::SessionLost => (ClientErrorKind::BackendUnavailable, None),
    };
    let retry_after_ms = retry_after.map(millis);
    client_error(
        era,
        kind,
        &view.id.name.0,
        reason(error),
        &error.to_string(),
        retry_after_ms,
    )
}

/// Does a backend of this dialect keep a session for each client?
pub(super) const fn keeps_session(dialect: &Dialect) -> bool {
    matches!(
        (dialect.era, dialect.sessions),
        (Era::Legacy, SessionMode::Stateful)
    )
}

/// Where the legacy -32002 means "not found".
pub(super) fn is_about_resources(of: &str) -> bool {
    matches!(
        of,
        method::RESOURCES_READ | method::RESOURCES_SUBSCRIBE | method::RESOURCES_UNSUBSCRIBE
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The backend was removed.
pub(super) fn no_longer_there() -> UpstreamError {
    UpstreamError::Unavailable(ProbeFailure {
        reason: ProbeReason::ConnectRefused,
        step: Step::Connect,
        http_status: None,
        message: "it was removed".to_owned(),
    })
}
