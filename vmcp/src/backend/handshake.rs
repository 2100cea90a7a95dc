//! The handshakes of the health check: modern, legacy, and the stream of 2024-11-05.
//!
//! Owns the questions of each; what the answers mean stands in `detect`. Each handshake starts from
//! nothing and ends in an outcome or in the insight that another one is due.

use tokio::time::Instant;
use url::Url;

use vmcp_core::health::{Dialect, Outcome, ProbeFailure, ProbeReason, SessionMode, Wire};
use vmcp_core::mcp::{Era, ProtocolVersion, discover_params, initialize_params, method};

use super::announce::News;
use super::conversation::{
    CLIENT_NAME, CLIENT_VERSION, Conversation, LEGACY_CAPABILITIES, MODERN_CAPABILITIES, question,
};
use super::cycle::{Cycle, Tried, alive};
use super::detect::{AfterDiscover, AfterInitialize, after_discover, after_initialize};
use super::fresh::Fresh;
use super::memory::HealthSession;
use super::message::Answer;
use super::outgoing::{Last, SessionId, Voice};
use super::reach::To;
use super::side::Places;
use super::sse2024::SseSession;
use super::verdict::{self, Doing};
use super::wire::WireError;
use crate::snapshot::ProtocolChoice;

impl<'t> Cycle<'t> {
    /// `server/discover`; falls through to `initialize` on the same connection where that is
    /// allowed and the answer leaves it open.
    pub(super) async fn discover(&mut self, mut fresh: Fresh<'t>) -> Tried {
        let version = ProtocolVersion::LATEST_MODERN;
        let params = discover_params(version, CLIENT_NAME, CLIENT_VERSION, MODERN_CAPABILITIES);
        let voice = Voice::Modern {
            version,
            method: method::SERVER_DISCOVER,
            name: None,
        };
        let mut again = true;
        loop {
            let began = Instant::now();
            // Not the last request: where this is no modern server, initialize follows on it.
            let asked = question(
                &mut fresh,
                voice,
                method::SERVER_DISCOVER,
                Some(&params),
                Last::No,
                self.deadline,
            )
            .await;
            self.timings.merge(fresh.timings);
            match after_discover(&asked.answer, &self.endpoint.url) {
                AfterDiscover::Modern(found, version) => {
                    let dialect = Dialect {
                        era: Era::Modern,
                        version,
                        wire: Wire::StreamableHttp,
                        sessions: SessionMode::Stateless,
                    };
                    self.memory.abandon();
                    self.know(dialect, found.server_info, &found.capabilities_raw);
                    let talk = Conversation::Modern { fresh, version };
                    return Tried::Done(self.conclude(talk, dialect, began).await);
                }
                AfterDiscover::Again if again => again = false,
                AfterDiscover::Again | AfterDiscover::Initialize
                    if self.endpoint.protocol == ProtocolChoice::Modern =>
                {
                    return Tried::Done(not_modern(&asked.answer, &self.endpoint.url));
                }
                AfterDiscover::Again | AfterDiscover::Initialize => {
                    return Box::pin(self.initialize(fresh)).await;
                }
                AfterDiscover::Stop(outcome) => return Tried::Done(outcome),
            }
        }
    }

    /// `initialize`, `initialized`, `ping`, and the list.
    pub(super) async fn initialize(&mut self, mut fresh: Fresh<'t>) -> Tried {
        let offered = ProtocolVersion::LATEST_LEGACY;
        let params = initialize_params(offered, CLIENT_NAME, CLIENT_VERSION, LEGACY_CAPABILITIES);
        let began = Instant::now();
        let asked = question(
            &mut fresh,
            Voice::Plain,
            method::INITIALIZE,
            Some(&params),
            Last::No,
            self.deadline,
        )
        .await;
        self.timings.merge(fresh.timings);
        if let Some(id) = &asked.session {
            self.memory.adopt(HealthSession {
                id: id.clone(),
                version: offered,
            });
        }
        let found = match after_initialize(&asked.answer, &self.endpoint.url) {
            AfterInitialize::Legacy(found) => found,
            AfterInitialize::MaybeEvents(outcome) => return Tried::MaybeEvents(outcome),
            AfterInitialize::NotLegacy(outcome) => return Tried::Contradicted(outcome),
            AfterInitialize::Stop(outcome) => return Tried::Done(outcome),
        };
        let dialect = self.legacy(found.version, Wire::StreamableHttp, asked.session.as_ref());
        self.know(dialect, found.server_info, &found.capabilities_raw);
        let talk = Conversation::Legacy {
            fresh,
            version: found.version,
            session: asked.session,
        };
        Tried::Done(self.prove(talk, dialect, began).await)
    }

    pub(super) async fn remembered_events(&mut self) -> Tried {
        match self.events(None).await {
            Outcome::Failed(ProbeFailure {
                http_status: Some(400..=499),
                ..
            }) => Tried::Contradicted(Outcome::Cancelled),
            outcome => Tried::Done(outcome),
        }
    }

    /// The 2024-11-05 stream. `earlier`: why POST did not work, the better answer if GET does not
    /// either.
    pub(super) async fn events(&mut self, earlier: Option<Outcome>) -> Outcome {
        let began = Instant::now();
        let stream = match SseSession::open(
            self.endpoint,
            &Places::default(),
            &News::default(),
            To::Any,
            self.deadline,
        )
        .await
        {
            Ok(stream) => stream,
            Err(error) => {
                return match earlier {
                    Some(earlier) => neither(earlier, &error, &self.endpoint.url),
                    None => verdict::outcome(Doing::STREAM, &error, &self.endpoint.url),
                };
            }
        };
        self.timings.merge(stream.timings);
        let params = initialize_params(
            ProtocolVersion::LATEST_LEGACY,
            CLIENT_NAME,
            CLIENT_VERSION,
            LEGACY_CAPABILITIES,
        );
        let answer = stream
            .answer(method::INITIALIZE, Some(&params), self.deadline)
            .await;
        let found = match after_initialize(&answer, &self.endpoint.url) {
            AfterInitialize::Legacy(found) => found,
            AfterInitialize::MaybeEvents(outcome)
            | AfterInitialize::NotLegacy(outcome)
            | AfterInitialize::Stop(outcome) => {
                return outcome;
            }
        };
        self.memory.abandon();
        let dialect = Dialect {
            era: Era::Legacy,
            version: found.version,
            wire: Wire::Sse,
            sessions: SessionMode::Stateful,
        };
        self.know(dialect, found.server_info, &found.capabilities_raw);
        self.prove(Conversation::Events(stream), dialect, began)
            .await
    }

    /// Ends a legacy handshake and proves that the session works.
    async fn prove(
        &mut self,
        mut talk: Conversation<'_>,
        dialect: Dialect,
        began: Instant,
    ) -> Outcome {
        let url = &self.endpoint.url;
        if let Err(error) = talk.initialized(self.deadline).await {
            return verdict::outcome(
                Doing {
                    what: method::NOTIFICATION_INITIALIZED,
                    ..Doing::INITIALIZE
                },
                &error,
                url,
            );
        }
        match talk
            .ask(method::PING, None, self.last(), self.deadline)
            .await
        {
            Ok(answer) if alive(&answer) => self.conclude(talk, dialect, began).await,
            Ok(Ok(_)) => {
                let message = "ping: the result is no object";
                Outcome::Failed(verdict::failed(
                    Doing::PING,
                    ProbeReason::ProtocolError,
                    None,
                    message,
                ))
            }
            Ok(Err(error)) => Outcome::Failed(verdict::rpc_failure(Doing::PING, &error)),
            Err(error) => verdict::outcome(Doing::PING, &error, url),
        }
    }

    /// Alive; now the list, if it is wanted.
    async fn conclude(
        &mut self,
        mut talk: Conversation<'_>,
        dialect: Dialect,
        began: Instant,
    ) -> Outcome {
        let latency = began.elapsed();
        self.timings.handshake = Some(latency);
        let deadline = self.deadline;
        let listed = self.list(&mut talk, deadline).await;
        match listed {
            Ok(listed) => self.healthy(latency, dialect, listed),
            Err(error) => self.list_failed(error, dialect),
        }
    }

    fn legacy(&self, version: ProtocolVersion, wire: Wire, session: Option<&SessionId>) -> Dialect {
        let sessions = if session.is_some() {
            SessionMode::Stateful
        } else {
            SessionMode::Stateless
        };
        Dialect {
            era: Era::Legacy,
            version,
            wire,
            sessions,
        }
    }
}

/// The spec insists on modern and the server is not.
fn not_modern(answer: &Result<Answer, WireError>, url: &Url) -> Outcome {
    match answer {
        Ok(Ok(_)) => {
            let message = "server/discover: the server offers no modern version";
            Outcome::Failed(verdict::failed(
                Doing::DISCOVER,
                ProbeReason::UnsupportedVersion,
                None,
                message,
            ))
        }
        Ok(Err(error)) => Outcome::Failed(verdict::rpc_failure(Doing::DISCOVER, error)),
        Err(error) => verdict::outcome(Doing::DISCOVER, error, url),
    }
}

/// POST failed and GET is no way out: the first says more, the second is named.
fn neither(earlier: Outcome, error: &WireError, url: &Url) -> Outcome {
    match earlier {
        Outcome::Failed(failure) => {
            let second = verdict::failure(Doing::STREAM, error, url);
            let message = format!("{}; {}", failure.message, second.message);
            Outcome::Failed(ProbeFailure { message, ..failure })
        }
        other => other,
    }
}
