//! What an answer to a handshake says about the server.
//!
//! Owns the era detection of shared/mcp.md ("Health check") as two pure functions. Never concludes
//! an era from an outage: what could be the network's fault, a proxy's or a login's stops the
//! cycle without an opinion about the era.

use url::Url;

use vmcp_core::health::{Outcome, ProbeReason};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::{
    DiscoverResult, Era, InitializeResult, ProtocolVersion, ProtocolViolation, UnsupportedVersions,
    error::code,
};

use super::message::Answer;
use super::verdict::{self, Doing};
use super::wire::WireError;

/// What to do after `server/discover`.
#[derive(Clone, Debug)]
pub enum AfterDiscover {
    /// A modern server, alive.
    Modern(Box<DiscoverResult>, ProtocolVersion),
    /// Not modern, as far as this answer goes.
    Initialize,
    /// The server refused the version and named it: ask once more.
    Again,
    /// No opinion about the era; this is the verdict of the cycle.
    Stop(Outcome),
}

/// What to do after `initialize`.
#[derive(Clone, Debug)]
pub enum AfterInitialize {
    Legacy(Box<InitializeResult>),
    /// No MCP behind POST: there may be behind GET. The outcome if there is not.
    MaybeEvents(Outcome),
    /// A server that speaks MCP, and not this.
    NotLegacy(Outcome),
    Stop(Outcome),
}

#[must_use]
pub fn after_discover(answer: &Result<Answer, WireError>, url: &Url) -> AfterDiscover {
    let doing = Doing::DISCOVER;
    match answer {
        Ok(Ok(result)) => match DiscoverResult::parse(result) {
            Ok(found) => match found.modern_version() {
                Some(version) => AfterDiscover::Modern(Box::new(found), version),
                None => AfterDiscover::Initialize,
            },
            // Success to a method that it cannot know: initialize will tell.
            Err(_) => AfterDiscover::Initialize,
        },
        Ok(Err(error)) => by_code(error),
        Err(WireError::Refused(refusal)) if says_nothing_about_era(refusal.status) => {
            AfterDiscover::Stop(verdict::outcome(doing, answer_error(answer), url))
        }
        Err(WireError::Refused(refusal)) => match refusal.rpc_error() {
            Some((_, error)) => by_code(&error),
            None => AfterDiscover::Initialize,
        },
        Err(WireError::Protocol(_) | WireError::TooLarge(_)) => AfterDiscover::Initialize,
        Err(error) => AfterDiscover::Stop(verdict::outcome(doing, error, url)),
    }
}

#[must_use]
pub fn after_initialize(answer: &Result<Answer, WireError>, url: &Url) -> AfterInitialize {
    let doing = Doing::INITIALIZE;
    match answer {
        Ok(Ok(result)) => match InitializeResult::parse(result) {
            Ok(found) => AfterInitialize::Legacy(Box::new(found)),
            Err(violation) => AfterInitialize::Stop(Outcome::Failed(violated(doing, &violation))),
        },
        Ok(Err(error)) => refused_by_code(error),
        Err(error @ WireError::Refused(refusal)) if matches!(refusal.status, 400 | 404 | 405) => {
            match refusal.rpc_error() {
                Some((_, rpc)) if UnsupportedVersions::of(&rpc).is_some() => refused_by_code(&rpc),
                Some(_) => AfterInitialize::NotLegacy(verdict::outcome(doing, error, url)),
                None => AfterInitialize::MaybeEvents(verdict::outcome(doing, error, url)),
            }
        }
        Err(error) => AfterInitialize::Stop(verdict::outcome(doing, error, url)),
    }
}

/// Redirects, logins, Host checks, rate limits, timeouts and failures of a proxy or the server.
fn says_nothing_about_era(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 403 | 407 | 408 | 421 | 429 | 500..)
}

fn by_code(error: &RpcError) -> AfterDiscover {
    if let Some(versions) = UnsupportedVersions::of(error) {
        return if versions.version(Era::Modern).is_some() {
            AfterDiscover::Again
        } else if versions.version(Era::Legacy).is_some() || versions.supported.is_empty() {
            AfterDiscover::Initialize
        } else {
            AfterDiscover::Stop(Outcome::Failed(unsupported(Doing::DISCOVER, &versions)))
        };
    }
    match error.code {
        // Modern beyond doubt, and it will not talk to us.
        code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY => AfterDiscover::Stop(
            Outcome::Failed(verdict::rpc_failure(Doing::DISCOVER, error)),
        ),
        _ => AfterDiscover::Initialize,
    }
}

fn refused_by_code(error: &RpcError) -> AfterInitialize {
    match UnsupportedVersions::of(error) {
        Some(versions) => {
            AfterInitialize::NotLegacy(Outcome::Failed(unsupported(Doing::INITIALIZE, &versions)))
        }
        None => AfterInitialize::Stop(Outcome::Failed(verdict::rpc_failure(
            Doing::INITIALIZE,
            error,
        ))),
    }
}

fn unsupported(
    doing: Doing<'_>,
    versions: &UnsupportedVersions,
) -> vmcp_core::health::ProbeFailure {
    let listed = if versions.supported.is_empty() {
        "none".to_owned()
    } else {
        versions.supported.join(", ")
    };
    let message = format!(
        "{}: the server supports {listed}; no version in common",
        doing.what
    );
    verdict::failed(doing, ProbeReason::UnsupportedVersion, None, &message)
}

fn violated(doing: Doing<'_>, violation: &ProtocolViolation) -> vmcp_core::health::ProbeFailure {
    let reason = match violation {
        ProtocolViolation::UnsupportedVersion(_) => ProbeReason::UnsupportedVersion,
        ProtocolViolation::Shape(..) | ProtocolViolation::Missing(..) => ProbeReason::ProtocolError,
    };
    verdict::failed(doing, reason, None, &format!("{}: {violation}", doing.what))
}

fn answer_error(answer: &Result<Answer, WireError>) -> &WireError {
    const NONE: &WireError = &WireError::Unsent;
    answer.as_ref().err().unwrap_or(NONE)
}

#[cfg(test)]
mod tests;
