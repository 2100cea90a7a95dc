//! The health-check algorithm, one cycle of it.
//!
//! Owns the order of questions of shared/mcp.md ("Health check"): the remembered session first and
//! cheaply, then everything anew, and only that may fail (R2.2). What an answer means stands in
//! `detect` and `verdict`; this file only asks and keeps the clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::catalog::Catalog;
use vmcp_core::health::{Dialect, Listed, Outcome, SessionMode, Wire};
use vmcp_core::jsonrpc::raw;
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, ServerInfo, method};

use super::conversation::Conversation;
use super::fresh::Fresh;
use super::listing::{self, ListError};
use super::memory::{Changes, ProbeMemory};
use super::message::Answer;
use super::outgoing::Last;
use super::probe::{CheckReport, Want, end_sessions};
use super::timings::Timings;
use super::verdict::{self, Doing};
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
    pub(super) endpoint: &'t Arc<Endpoint>,
    pub(super) memory: ProbeMemory,
    want: Want,
    started: Instant,
    /// For everything but ending sessions.
    pub(super) deadline: Instant,
    hard_deadline: Instant,
    pub(super) timings: Timings,
    catalog: Option<Catalog>,
}

/// What one handshake led to.
#[derive(Debug)]
pub(super) enum Tried {
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
            Err(ListError::Wire(kind, error)) if verdict::settles(&error) => {
                Some(self.list_failed(ListError::Wire(kind, error), dialect))
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

    pub(super) async fn list(
        &mut self,
        talk: &mut Conversation<'_>,
        deadline: Instant,
    ) -> Result<Listed, ListError> {
        if self.want == Want::Liveness {
            return Ok(Listed::No);
        }
        let began = Instant::now();
        let mut pages = listing::all(talk, self.memory.offers, deadline).await?;
        self.timings.list = Some(began.elapsed());
        if matches!(talk, Conversation::Modern { .. }) {
            let left_out = listing::leave_out(&mut pages.tools);
            self.tell_left_out(left_out);
        }
        let (catalog, warnings) = Catalog::from_pages(pages);
        for warning in warnings {
            tracing::debug!(url = %self.endpoint.url, warning, "catalogue entry left out");
        }
        self.catalog = Some(catalog);
        Ok(Listed::Yes)
    }

    /// Said once, not at each list.
    fn tell_left_out(&mut self, left_out: Vec<String>) {
        if left_out != self.memory.left_out && !left_out.is_empty() {
            tracing::warn!(
                url = %self.endpoint.url,
                tools = ?left_out,
                "tools left out: clients must refuse their annotations"
            );
        }
        self.memory.left_out = left_out;
    }

    pub(super) fn healthy(&self, latency: Duration, dialect: Dialect, listed: Listed) -> Outcome {
        Outcome::Healthy {
            latency,
            dialect,
            server: self.memory.server.clone(),
            listed,
        }
    }

    pub(super) fn list_failed(&self, error: ListError, dialect: Dialect) -> Outcome {
        let failure = match error {
            ListError::Failure(failure) => failure,
            ListError::Wire(kind, error) => {
                match verdict::outcome(Doing::list(kind), &error, &self.endpoint.url) {
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

    pub(super) fn know(
        &mut self,
        dialect: Dialect,
        server: Option<ServerInfo>,
        capabilities: &str,
    ) {
        self.memory.dialect = Some(dialect);
        self.memory.server = server;
        self.memory.offers = listing::Offers::parse(capabilities);
        let announces = |name: &&str| {
            raw::top_level(capabilities, name)
                .and_then(|capability| raw::top_level(capability, "listChanged"))
                == Some("true")
        };
        let announced = ["tools", "prompts", "resources"].iter().any(announces);
        self.memory.changes = if announced {
            Changes::Announced
        } else {
            Changes::Silent
        };
        match &mut self.memory.session {
            Some(session) if dialect.sessions == SessionMode::Stateful => {
                session.version = dialect.version
            }
            _ => self.memory.abandon(),
        }
    }

    /// The list may take many requests; without it, liveness ends the connection.
    pub(super) fn last(&self) -> Last {
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
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Done(outcome) | Self::Contradicted(outcome) | Self::MaybeEvents(outcome) => {
                outcome
            }
        }
    }
}

/// A ping that was understood. A server that knows no ping has still answered our id in our
/// session.
pub(super) fn alive(answer: &Answer) -> bool {
    match answer {
        Ok(result) => result.starts_with('{'),
        Err(error) => error.code == code::METHOD_NOT_FOUND,
    }
}
