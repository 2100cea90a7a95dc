//! The health-check algorithm, one cycle of it.
//!
//! Owns the order of questions of shared/mcp.md ("Health check"): the remembered session first and
//! cheaply, then everything anew, and only that may fail (R2.2). What an answer means stands in
//! `detect` and `verdict`; this file only asks and keeps the clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::catalog::Catalog;
use vmcp_core::health::{Dialect, Listed, Outcome, ProbeFailure, ProbeReason, SessionMode, Wire};
use vmcp_core::jsonrpc::raw;
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{
    Era, ProtocolVersion, ServerInfo, discover_params, initialize_params, method,
};

use super::conversation::{
    CLIENT_NAME, CLIENT_VERSION, Conversation, LEGACY_CAPABILITIES, MODERN_CAPABILITIES, question,
};
use super::detect::{AfterDiscover, AfterInitialize, after_discover, after_initialize};
use super::fresh::Fresh;
use super::listing::{self, ListError, Tools};
use super::memory::{HealthSession, ProbeMemory};
use super::message::Answer;
use super::outgoing::{Last, SessionId, Voice};
use super::probe::{CheckReport, Want, end_sessions};
use super::sse2024::SseSession;
use super::timings::Timings;
use super::verdict::{self, Doing};
use super::wire::WireError;
use crate::snapshot::{Endpoint, ProtocolChoice, Transport};

/// Share of the deadline for the remembered session, in percent (R2.2).
const REMEMBERED_PERCENT: u32 = 40;

/// Kept back for ending a session that was replaced.
const RESERVE: Duration = Duration::from_millis(250);

/// A remembered session is not worth asking with less than this.
const MIN_SHARE: Duration = Duration::from_millis(10);

/// One cycle.
#[derive(Debug)]
pub struct Cycle<'t> {
    endpoint: &'t Arc<Endpoint>,
    memory: ProbeMemory,
    want: Want,
    started: Instant,
    /// For everything but ending sessions.
    deadline: Instant,
    hard_deadline: Instant,
    timings: Timings,
    catalog: Option<Catalog>,
}

/// What one handshake led to.
#[derive(Debug)]
enum Tried {
    Done(Outcome),
    /// The server is another than remembered, or than this handshake is for.
    Contradicted(Outcome),
    /// There may be a 2024-11-05 stream behind GET.
    MaybeEvents(Outcome),
}

impl<'t> Cycle<'t> {
    #[must_use]
    pub fn new(
        endpoint: &'t Arc<Endpoint>,
        memory: ProbeMemory,
        want: Want,
        limit: Duration,
    ) -> Self {
        let started = Instant::now();
        let hard_deadline = started + limit;
        let deadline = hard_deadline - RESERVE.min(limit / 10);
        let memory = if memory.url.as_ref().is_none_or(|url| *url == endpoint.url) {
            memory
        } else {
            ProbeMemory::default()
        };
        let memory = ProbeMemory {
            url: Some(endpoint.url.clone()),
            ..memory
        };
        Self {
            endpoint,
            memory,
            want,
            started,
            deadline,
            hard_deadline,
            timings: Timings::default(),
            catalog: None,
        }
    }

    pub async fn run(mut self) -> CheckReport {
        let outcome = match self.remembered().await {
            Some(outcome) => outcome,
            None => self.anew().await,
        };
        self.end_retired().await;
        CheckReport {
            outcome,
            catalog: self.catalog,
            timings: self.timings,
            memory: self.memory,
        }
    }

    /// The cheap try. `None`: it proves nothing, ask anew.
    async fn remembered(&mut self) -> Option<Outcome> {
        let dialect = self
            .memory
            .dialect
            .filter(|known| known.era == Era::Legacy && known.wire == Wire::StreamableHttp)?;
        if self.endpoint.protocol == ProtocolChoice::Modern
            || self.endpoint.transport == Transport::Sse
        {
            return None;
        }
        let session = self
            .memory
            .session
            .as_ref()
            .map(|session| session.id.clone());
        if session.is_none() && dialect.sessions == SessionMode::Stateful {
            return None;
        }
        let total = self.hard_deadline.saturating_duration_since(self.started);
        let deadline = self.started + (total * REMEMBERED_PERCENT / 100).max(MIN_SHARE);
        let began = Instant::now();
        let mut talk = Conversation::Legacy {
            fresh: Fresh::new(self.endpoint),
            version: dialect.version,
            session,
        };
        let outcome = self
            .converse(&mut talk, Doing::PING, dialect, began, deadline)
            .await;
        self.note(&talk);
        outcome
    }

    /// Liveness and list over an existing session. `None`: not good, and not final either.
    async fn converse(
        &mut self,
        talk: &mut Conversation<'_>,
        doing: Doing<'static>,
        dialect: Dialect,
        began: Instant,
        deadline: Instant,
    ) -> Option<Outcome> {
        let answer = talk.ask(method::PING, None, self.last(), deadline).await;
        match &answer {
            Ok(answer) if alive(answer) => {}
            Ok(_) => return None,
            Err(error) => {
                return verdict::settles(error)
                    .then(|| verdict::outcome(doing, error, &self.endpoint.url));
            }
        }
        let latency = began.elapsed();
        self.timings.handshake = Some(latency);
        match self.list(talk, deadline).await {
            Ok(listed) => Some(self.healthy(latency, dialect, listed)),
            Err(ListError::Wire(error)) if verdict::settles(&error) => {
                Some(self.list_failed(ListError::Wire(error), dialect))
            }
            Err(_) => None,
        }
    }

    /// Everything from nothing, with what is left of the deadline.
    async fn anew(&mut self) -> Outcome {
        if self.endpoint.transport == Transport::Sse {
            return self.events(None).await;
        }
        let known = self.memory.dialect;
        let tried = match (self.endpoint.protocol, known) {
            (ProtocolChoice::Modern, _) => {
                return self
                    .discover(Fresh::new(self.endpoint))
                    .await
                    .into_outcome();
            }
            (
                ProtocolChoice::Auto,
                Some(Dialect {
                    wire: Wire::Sse, ..
                }),
            ) => self.remembered_events().await,
            (ProtocolChoice::Legacy, _)
            | (
                ProtocolChoice::Auto,
                Some(Dialect {
                    era: Era::Legacy, ..
                }),
            ) => self.initialize(Fresh::new(self.endpoint)).await,
            (ProtocolChoice::Auto, _) => self.discover(Fresh::new(self.endpoint)).await,
        };
        match tried {
            Tried::Done(outcome) => outcome,
            Tried::MaybeEvents(outcome)
                if known.is_none() || self.endpoint.protocol == ProtocolChoice::Legacy =>
            {
                self.events(Some(outcome)).await
            }
            Tried::Contradicted(outcome)
                if self.endpoint.protocol == ProtocolChoice::Legacy || known.is_none() =>
            {
                outcome
            }
            // Not what it was: detect the era again, as if for the first time.
            Tried::Contradicted(_) | Tried::MaybeEvents(_) => {
                match self.discover(Fresh::new(self.endpoint)).await {
                    Tried::MaybeEvents(outcome) => self.events(Some(outcome)).await,
                    other => other.into_outcome(),
                }
            }
        }
    }

    /// `server/discover`; falls through to `initialize` on the same connection where that is
    /// allowed and the answer leaves it open.
    async fn discover(&mut self, mut fresh: Fresh<'t>) -> Tried {
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
    async fn initialize(&mut self, mut fresh: Fresh<'t>) -> Tried {
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

    async fn remembered_events(&mut self) -> Tried {
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
    async fn events(&mut self, earlier: Option<Outcome>) -> Outcome {
        let began = Instant::now();
        let stream = match SseSession::open(self.endpoint, self.deadline).await {
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

    async fn list(
        &mut self,
        talk: &mut Conversation<'_>,
        deadline: Instant,
    ) -> Result<Listed, ListError> {
        if self.want == Want::Liveness {
            return Ok(Listed::No);
        }
        let began = Instant::now();
        let pages = listing::tools(talk, self.memory.tools, deadline).await?;
        self.timings.list = Some(began.elapsed());
        let (catalog, warnings) = Catalog::from_pages(pages);
        for warning in warnings {
            tracing::debug!(url = %self.endpoint.url, warning, "catalogue entry left out");
        }
        self.catalog = Some(catalog);
        Ok(Listed::Yes)
    }

    fn healthy(&self, latency: Duration, dialect: Dialect, listed: Listed) -> Outcome {
        Outcome::Healthy {
            latency,
            dialect,
            server: self.memory.server.clone(),
            listed,
        }
    }

    fn list_failed(&self, error: ListError, dialect: Dialect) -> Outcome {
        let failure = match error {
            ListError::Failure(failure) => failure,
            ListError::Wire(error) => {
                match verdict::outcome(Doing::LIST, &error, &self.endpoint.url) {
                    Outcome::Failed(failure) => failure,
                    // A credential problem or a rate limit is what it is at any step (T3).
                    other => return other,
                }
            }
        };
        Outcome::ListFailed {
            failure,
            dialect,
            server: self.memory.server.clone(),
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

    fn know(&mut self, dialect: Dialect, server: Option<ServerInfo>, capabilities: &str) {
        self.memory.dialect = Some(dialect);
        self.memory.server = server;
        self.memory.tools = if raw::top_level(capabilities, "tools").is_some() {
            Tools::Declared
        } else {
            Tools::Undeclared
        };
        match &mut self.memory.session {
            Some(session) if dialect.sessions == SessionMode::Stateful => {
                session.version = dialect.version
            }
            _ => self.memory.abandon(),
        }
    }

    /// The list may take many requests; without it, liveness ends the connection.
    fn last(&self) -> Last {
        match self.want {
            Want::Liveness => Last::Yes,
            Want::Catalogue => Last::No,
        }
    }

    fn note(&mut self, talk: &Conversation<'_>) {
        if let Conversation::Legacy { fresh, .. } | Conversation::Modern { fresh, .. } = talk {
            self.timings.merge(fresh.timings);
        }
    }

    /// T7: what was replaced is ended, or kept in memory to be tried again.
    async fn end_retired(&mut self) {
        let retired = std::mem::take(&mut self.memory.retired);
        if retired.is_empty() {
            return;
        }
        for session in retired {
            if end_sessions(self.endpoint, std::iter::once(&session), self.hard_deadline).await > 0
            {
                self.memory.retired.push(session);
            }
        }
    }
}

impl Tried {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Done(outcome) | Self::Contradicted(outcome) | Self::MaybeEvents(outcome) => {
                outcome
            }
        }
    }
}

/// A ping that was understood. A server that knows no ping has still answered our id in our
/// session.
fn alive(answer: &Answer) -> bool {
    match answer {
        Ok(result) => result.starts_with('{'),
        Err(error) => error.code == code::METHOD_NOT_FOUND,
    }
}

/// The spec insists on modern and the server is not.
fn not_modern(answer: &Result<Answer, WireError>, url: &url::Url) -> Outcome {
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
fn neither(earlier: Outcome, error: &WireError, url: &url::Url) -> Outcome {
    match earlier {
        Outcome::Failed(failure) => {
            let second = verdict::failure(Doing::STREAM, error, url);
            let message = format!("{}; {}", failure.message, second.message);
            Outcome::Failed(ProbeFailure { message, ..failure })
        }
        other => other,
    }
}
