//! A conversation of the health check with one backend, past its handshake.
//!
//! Owns how a question is put in each era and on each transport, so that listing and liveness need
//! not know. Only for checks: all of it runs on connections of the cycle (R2.2).

use tokio::time::Instant;

use vmcp_core::jsonrpc;
use vmcp_core::limits::{BACKEND_RESPONSE, LIVENESS_BODY};
use vmcp_core::mcp::{ProtocolVersion, meta, method};

use super::fresh::{Asked, Fresh, Question};
use super::message::Answer;
use super::outgoing::{self, Last, SessionId, Voice};
use super::sse2024::SseSession;
use super::wire::{WireError, next_id};

/// How the checks introduce themselves, so that a server's log can tell them from users.
pub const CLIENT_NAME: &str = "vmcp-healthcheck";
pub const CLIENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Some servers hide tools from clients that declare less; requests that come of it are refused.
pub const LEGACY_CAPABILITIES: &str = r#"{"roots":{},"sampling":{},"elicitation":{}}"#;
/// A modern list must not vary by connection, so nothing is promised there.
pub const MODERN_CAPABILITIES: &str = "{}";

/// Both ends know how to speak to each other.
#[derive(Debug)]
pub enum Conversation<'a> {
    Legacy {
        fresh: Fresh<'a>,
        version: ProtocolVersion,
        session: Option<SessionId>,
    },
    Modern {
        fresh: Fresh<'a>,
        version: ProtocolVersion,
    },
    Events(SseSession),
}

impl Conversation<'_> {
    /// The answer to one question.
    ///
    /// # Errors
    /// What happened instead of an answer.
    pub async fn ask(
        &mut self,
        method: &str,
        params: Option<&str>,
        last: Last,
        deadline: Instant,
    ) -> Result<Answer, WireError> {
        match self {
            Self::Legacy {
                fresh,
                version,
                session,
            } => {
                let voice = Voice::Legacy {
                    version: *version,
                    session: session.as_ref(),
                };
                question(fresh, voice, method, params, last, deadline)
                    .await
                    .answer
            }
            Self::Modern { fresh, version } => {
                let info = client_info();
                let params =
                    meta::modern_params(params, *version, MODERN_CAPABILITIES, Some(&info));
                let voice = Voice::Modern {
                    version: *version,
                    method,
                    name: None,
                };
                question(fresh, voice, method, Some(&params), last, deadline)
                    .await
                    .answer
            }
            Self::Events(stream) => stream.answer(method, params, deadline).await,
        }
    }

    /// Tells a legacy server that the handshake is over. Its status is of no interest: the question
    /// that follows shows whether the session works.
    ///
    /// # Errors
    /// Only where no HTTP answer came at all.
    pub async fn initialized(&mut self, deadline: Instant) -> Result<(), WireError> {
        match self {
            Self::Legacy {
                fresh,
                version,
                session,
            } => {
                let voice = Voice::Legacy {
                    version: *version,
                    session: session.as_ref(),
                };
                let body = jsonrpc::write_notification(method::NOTIFICATION_INITIALIZED, None);
                let request = outgoing::post(fresh.endpoint, voice, body)?;
                fresh.tell(request, deadline).await.map(drop)
            }
            Self::Modern { .. } => Ok(()),
            Self::Events(stream) => {
                stream
                    .notify(method::NOTIFICATION_INITIALIZED, None, deadline)
                    .await
            }
        }
    }
}

/// Puts one question on the connection of the cycle.
pub async fn question(
    fresh: &mut Fresh<'_>,
    voice: Voice<'_>,
    method: &str,
    params: Option<&str>,
    last: Last,
    deadline: Instant,
) -> Asked {
    let id = next_id();
    match outgoing::post(
        fresh.endpoint,
        voice,
        jsonrpc::write_request(&id, method, params),
    ) {
        Ok(request) => {
            let question = Question {
                id: &id,
                voice,
                max_bytes: limit(method),
            };
            fresh
                .ask(outgoing::ending(request, last), question, deadline)
                .await
        }
        Err(error) => Asked {
            session: None,
            answer: Err(error.into()),
        },
    }
}

/// A discovery or a ping is short; a list may be as long as any answer.
fn limit(method: &str) -> usize {
    match method {
        method::SERVER_DISCOVER | method::PING => LIVENESS_BODY,
        _ => BACKEND_RESPONSE,
    }
}

pub(super) fn client_info() -> String {
    format!(r#"{{"name":"{CLIENT_NAME}","version":"{CLIENT_VERSION}"}}"#)
}
