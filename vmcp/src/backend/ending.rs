//! What the end of a call means to its client and to health.
//!
//! Owns the mapping from the way a call broke to the error that its client gets and to what health
//! learns. Sends nothing and waits for nothing.

use std::sync::Arc;

use vmcp_core::health::{CallOutcome, ProbeFailure, ProbeReason, Step};
use vmcp_core::mcp::Era;
use vmcp_core::mcp::error::code;

use super::call::Broken;
use super::message::Answer;
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

/// What health learns from an error that was made here. A rate limit is no verdict.
pub(super) fn learnt_from(error: &UpstreamError) -> Option<CallOutcome> {
    match error {
        UpstreamError::Unavailable(failure) if failure.reason == ProbeReason::RateLimited => None,
        UpstreamError::Unavailable(failure)
        | UpstreamError::Authentication(failure)
        | UpstreamError::Protocol(failure) => Some(CallOutcome::Failed(failure.clone())),
        UpstreamError::Timeout(_) | UpstreamError::Overloaded { .. } => None,
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
