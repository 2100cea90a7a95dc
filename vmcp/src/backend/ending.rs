//! What the end of a call means to its client and to health.
//!
//! Owns the mapping from the way a call broke to the error that its client gets and to what health
//! learns. Sends nothing and waits for nothing.

use std::sync::Arc;

use url::Url;

use vmcp_core::health::{CallOutcome, Outcome, ProbeFailure, ProbeReason, Step};
use vmcp_core::limits::RETRY_AFTER;
use vmcp_core::mcp::Era;
use vmcp_core::mcp::error::code;

use super::call::Broken;
use super::message::Answer;
use super::opening::OpenError;
use super::verdict::{self, Doing};
use super::wire::WireError;
use crate::gateway::port::UpstreamError;

/// [`Doing`] that outlives a borrow of the call.
#[derive(Debug)]
pub(super) struct OwnedDoing(pub(super) Arc<str>);

impl OwnedDoing {
    pub(super) fn as_doing(&self) -> Doing<'_> {
        Doing {
            step: Step::Call,
            what: &self.0,
        }
    }
}

/// An HTTP 400 or 404 whose body is a JSON-RPC error is the backend's own answer: modern servers
/// answer so by rule, legacy ones by habit. It passes as it is.
///
/// # Errors
/// What it was, if it is none; and a refused version. That one is about us and the backend: a
/// client would take it for an answer of the gateway's and turn to another version, so it breaks
/// the protocol, and health asks the backend anew how it speaks.
pub(super) fn own_error(
    era: Era,
    doing: Doing<'_>,
    answer: Result<Answer, Broken>,
) -> Result<Answer, Broken> {
    let answer = match answer {
        Err(Broken::Wire(WireError::Refused(refusal))) if matches!(refusal.status, 400 | 404) => {
            match refusal.rpc_error() {
                Some((_, error)) => Err(error),
                None => return Err(WireError::Refused(refusal).into()),
            }
        }
        answer => answer?,
    };
    match answer {
        Err(error) if era == Era::Modern && error.code == code::UNSUPPORTED_PROTOCOL_VERSION => {
            Err(Broken::Failed(UpstreamError::Protocol(
                verdict::rpc_failure(doing, &error),
            )))
        }
        answer => Ok(answer),
    }
}

pub(super) fn by_reason(failure: ProbeFailure) -> UpstreamError {
    match failure.reason {
        ProbeReason::AuthRequired | ProbeReason::AuthFailed => {
            UpstreamError::Authentication(failure)
        }
        ProbeReason::ProtocolError
        | ProbeReason::ResponseTooLarge
        | ProbeReason::UnsupportedVersion => UpstreamError::Protocol(failure),
        _ => UpstreamError::Unavailable(failure),
    }
}

/// What a client hears of an error of the wire.
pub(super) fn client_error(error: &WireError, failure: ProbeFailure) -> UpstreamError {
    match error {
        WireError::Timeout(after) => UpstreamError::Timeout(*after),
        WireError::Protocol(_) | WireError::Cut(_) | WireError::TooLarge(_) => {
            UpstreamError::Protocol(failure)
        }
        WireError::Refused(refusal) if refusal.status == 429 => UpstreamError::RateLimited {
            retry_after: refusal.retry_after.map(|wait| wait.min(RETRY_AFTER)),
        },
        _ => by_reason(failure),
    }
}

/// What a client hears of a session that could not be opened.
pub(super) fn not_opened(error: OpenError, url: &Url) -> UpstreamError {
    let failure = match error {
        OpenError::Ended => session_ended(Doing::INITIALIZE),
        OpenError::Wire(error @ WireError::Refused(_)) => {
            let failure = verdict::failure(Doing::INITIALIZE, &error, url);
            return client_error(&error, failure);
        }
        OpenError::Wire(error) => verdict::failure(Doing::INITIALIZE, &error, url),
        OpenError::Outcome(outcome) => match *outcome {
            Outcome::Failed(failure)
            | Outcome::AuthRequired(failure)
            | Outcome::AuthFailed(failure) => failure,
            Outcome::RateLimited { retry_after } => {
                return UpstreamError::RateLimited { retry_after };
            }
            _ => verdict::failed(
                Doing::INITIALIZE,
                ProbeReason::ProtocolError,
                None,
                "initialize led to no session",
            ),
        },
    };
    by_reason(failure)
}

/// What health learns from an error that was made here. A rate limit is no verdict.
pub(super) fn learnt_from(error: &UpstreamError) -> Option<CallOutcome> {
    match error {
        UpstreamError::Unavailable(failure) if failure.reason == ProbeReason::RateLimited => None,
        UpstreamError::Unavailable(failure)
        | UpstreamError::Authentication(failure)
        | UpstreamError::Protocol(failure) => Some(CallOutcome::Failed(failure.clone())),
        UpstreamError::Timeout(_)
        | UpstreamError::Overloaded { .. }
        | UpstreamError::RateLimited { .. }
        | UpstreamError::SessionLost => None,
    }
}

pub(super) fn undetected(doing: Doing<'_>) -> ProbeFailure {
    verdict::failed(
        doing,
        ProbeReason::ProtocolError,
        None,
        "the backend has not been understood yet",
    )
}

pub(super) fn session_ended(doing: Doing<'_>) -> ProbeFailure {
    verdict::failed(
        doing,
        ProbeReason::Stopped,
        None,
        "the client ended its session",
    )
}

pub(super) fn stopped(doing: Doing<'_>) -> ProbeFailure {
    verdict::failed(doing, ProbeReason::Stopped, None, "the backend was removed")
}
