//! One request of a client's on its way through a backend.
//!
//! Owns the life of a call: its session, its connection, what may be sent again and what never
//! (T19), and what health learns from it. A tool call leaves at most once, unless it is marked as
//! repeatable, provably never left, or was refused for a forgotten session (T18). Nothing that is
//! not an answer is ever made one (T11).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use vmcp_core::health::{
    CallOutcome, Dialect, Outcome, ProbeFailure, ProbeReason, SessionMode, Step, Wire,
};
use vmcp_core::jsonrpc::raw;
use vmcp_core::mcp::{Era, method};

use super::announce::{Announcements, Announcer};
use super::ending::{
    OwnedDoing, by_reason, learnt_from, own_error, session_ended, stopped, undetected,
};
use super::message::Answer;
use super::outgoing::Voice;
use super::passage::{Route, SIDE_MESSAGE_WITHIN};
use super::session::{Cell, OpenError, Opened};
use super::slot::Slot;
use super::verdict::{self, Doing};
use super::wire::{Refusal, WireError};
use crate::gateway::port::{SessionScope, UpstreamError, UpstreamEvent, UpstreamRequest};

/// What a full queue tells the client to wait.
const RETRY_OVERLOADED: Duration = Duration::from_secs(1);

pub type Events = mpsc::Sender<Result<UpstreamEvent, UpstreamError>>;
pub type Started = oneshot::Sender<Result<(), UpstreamError>>;

/// How often a call may change its session. Once for a refusal (T18), and as often again where
/// other calls of its client renewed theirs before this one was sent.
const RENEWALS: usize = 3;

/// A call under way.
#[derive(Debug)]
pub struct Call {
    pub(super) slot: Arc<Slot>,
    pub(super) request: UpstreamRequest,
    pub(super) deadline: Instant,
    pub(super) allowed: Duration,
    pub(super) events: Events,
    pub(super) started: Option<Started>,
    pub(super) announcements: Announcements,
    /// The session of the client, claimed before the call waits for its place: a client that ends
    /// meanwhile then ends this one too, and none is opened that nobody would end (T7).
    claimed: Option<Arc<Cell>>,
    /// The exclusive session of a modern client, until it is given back or ended.
    lease: Option<Arc<Cell>>,
}

/// Why a call ended without an answer.
#[derive(Debug)]
pub(super) enum Broken {
    Wire(WireError),
    Failed(UpstreamError),
    /// The backend was not asked, so health learns nothing.
    Unasked(UpstreamError),
    /// Nobody waits for the answer (R4.10).
    Gone,
    /// The backend was removed.
    Stopped,
    /// The session was ended before the call was sent in it.
    Ended,
}

impl Call {
    #[must_use]
    pub fn new(
        slot: Arc<Slot>,
        request: UpstreamRequest,
        events: Events,
        started: Started,
        announcer: Announcer,
    ) -> Self {
        let deadline = Instant::from_std(request.deadline);
        let allowed = deadline.saturating_duration_since(Instant::now());
        let of_client = matches!(request.scope, SessionScope::Client(_));
        let claimed = (of_client && request.target.dialect.is_some_and(keeps_sessions))
            .then(|| slot.session(&request.scope));
        let (id, generation) = (request.target.id.clone(), request.target.generation);
        Self {
            announcements: Announcements::new(announcer, id, generation),
            claimed,
            slot,
            request,
            deadline,
            allowed,
            events,
            started: Some(started),
            lease: None,
        }
    }

    /// Runs to the end and reports to the caller; returns what health may learn, if anything.
    pub async fn run(mut self) -> Option<CallOutcome> {
        let Ok(place) = self.slot.admit().await else {
            self.report(UpstreamError::Overloaded {
                retry_after: RETRY_OVERLOADED,
            })
            .await;
            return None;
        };
        let slot = Arc::clone(&self.slot);
        let ended = tokio::select! {
            biased;
            () = slot.stop.cancelled() => Err(Broken::Stopped),
            ended = self.drive() => ended,
        };
        let learnt = self.conclude(ended).await;
        // A call that did not end well may still run in its lease.
        if let Some(cell) = self.lease.take() {
            cell.end(&slot.endpoint, &slot.tls).await;
        }
        drop(place);
        learnt
    }

    async fn drive(&mut self) -> Result<CallOutcome, Broken> {
        let Some(dialect) = self.request.target.dialect else {
            return Err(Broken::Unasked(UpstreamError::Unavailable(undetected(
                self.doing(),
            ))));
        };
        if keeps_sessions(dialect) {
            return self.in_session(dialect).await;
        }
        let route = match dialect.era {
            Era::Modern => Route::Modern,
            Era::Legacy => Route::Legacy(None),
        };
        let answer = self.over_http(dialect, route).await;
        let answer = own_error(dialect.era, self.doing(), answer)?;
        self.deliver(answer).await
    }

    /// In the session of the client or of a lease, renewed if the backend forgot it.
    async fn in_session(&mut self, dialect: Dialect) -> Result<CallOutcome, Broken> {
        let claimed = self.claimed.take();
        let mut cell = claimed.unwrap_or_else(|| self.slot.session(&self.request.scope));
        self.hold(&cell);
        let mut answer = self.within(dialect, &cell).await;
        let mut refused = false;
        for _ in 0..RENEWALS {
            let again = match &answer {
                Err(Broken::Ended) => true,
                Err(Broken::Wire(WireError::Refused(refusal))) if !refused => {
                    refused = self.is_lost(refusal, &cell).await;
                    refused
                }
                _ => false,
            };
            if !again {
                break;
            }
            cell = self.renew(&cell).await?;
            answer = self.within(dialect, &cell).await;
        }
        if answer.is_ok() {
            self.give_back();
        }
        let answer = own_error(dialect.era, self.doing(), answer)?;
        self.deliver(answer).await
    }

    async fn renew(&mut self, lost: &Arc<Cell>) -> Result<Arc<Cell>, Broken> {
        tracing::debug!(backend = %self.slot.id, "upstream session lost");
        let new = self.slot.renewed(&self.request.scope, lost);
        lost.end(&self.slot.endpoint, &self.slot.tls).await;
        let new = new.ok_or(Broken::Ended)?;
        self.hold(&new);
        Ok(new)
    }

    fn hold(&mut self, cell: &Arc<Cell>) {
        self.lease = (self.request.scope == SessionScope::Lease).then(|| Arc::clone(cell));
    }

    /// Leaves the lease for the next modern client; kept to be ended where there are enough.
    fn give_back(&mut self) {
        self.lease = self
            .lease
            .take()
            .and_then(|cell| self.slot.return_lease(cell));
    }

    async fn within(&mut self, dialect: Dialect, cell: &Arc<Cell>) -> Result<Answer, Broken> {
        let slot = Arc::clone(&self.slot);
        let opened = match cell
            .get(&slot.endpoint, &slot.tls, dialect, self.deadline)
            .await
        {
            Ok(opened) => opened,
            Err(error) => return Err(self.not_open(error)),
        };
        match opened {
            Opened::Http { id, version } => {
                self.over_http(
                    Dialect {
                        version: *version,
                        ..dialect
                    },
                    Route::Legacy(id.as_ref()),
                )
                .await
            }
            Opened::Events(stream) => self.over_events(stream).await,
        }
    }

    /// T18: 404 is a lost session; 400 is one only if the session does not answer a ping either. A
    /// session that another call found lost already is not asked again.
    async fn is_lost(&self, refusal: &Refusal, cell: &Arc<Cell>) -> bool {
        let Some(Opened::Http {
            id: Some(id),
            version,
        }) = cell.peek()
        else {
            return false;
        };
        match refusal.status {
            404 => true,
            400 if cell.is_ended() => true,
            400 => {
                let voice = Voice::Legacy {
                    version: *version,
                    session: Some(id),
                };
                // Looked at again: its end may have overtaken the ping.
                !self.ping(voice).await || cell.is_ended()
            }
            _ => false,
        }
    }

    async fn deliver(&mut self, answer: Answer) -> Result<CallOutcome, Broken> {
        let learnt = match &answer {
            Ok(result) if is_tool_error(&self.request.method, result) => CallOutcome::ToolError,
            Ok(_) => CallOutcome::Ok,
            Err(_) => CallOutcome::ToolError,
        };
        self.emit(UpstreamEvent::Response(answer)).await?;
        Ok(learnt)
    }

    async fn report(&mut self, error: UpstreamError) {
        match self.started.take() {
            Some(started) => drop(started.send(Err(error))),
            None => {
                // The client may be slow; it is not waited for beyond the call's own time.
                let patience = self.deadline.max(Instant::now() + SIDE_MESSAGE_WITHIN);
                let _ = super::wire::within(patience, self.events.send(Err(error))).await;
            }
        }
    }

    async fn conclude(&mut self, ended: Result<CallOutcome, Broken>) -> Option<CallOutcome> {
        let doing = self.doing_owned();
        let (error, learnt) = match ended {
            Ok(learnt) => return Some(learnt),
            Err(Broken::Gone) => return Some(CallOutcome::Cancelled),
            Err(Broken::Stopped) => (UpstreamError::Unavailable(stopped(doing.as_doing())), None),
            Err(Broken::Ended) => (
                UpstreamError::Unavailable(session_ended(doing.as_doing())),
                None,
            ),
            Err(Broken::Unasked(error)) => (error, None),
            Err(Broken::Failed(error)) => {
                let learnt = learnt_from(&error);
                (error, learnt)
            }
            Err(Broken::Wire(error)) => {
                let failure = verdict::failure(doing.as_doing(), &error, &self.slot.endpoint.url);
                let learnt = if failure.reason == ProbeReason::RateLimited {
                    None
                } else {
                    Some(CallOutcome::Failed(failure.clone()))
                };
                (self.client_error(&error, failure), learnt)
            }
        };
        self.report(error).await;
        learnt
    }

    fn client_error(&self, error: &WireError, failure: ProbeFailure) -> UpstreamError {
        match error {
            WireError::Timeout(_) => UpstreamError::Timeout(self.allowed),
            WireError::Protocol(_) | WireError::Cut(_) | WireError::TooLarge(_) => {
                UpstreamError::Protocol(failure)
            }
            _ => by_reason(failure),
        }
    }

    fn not_open(&self, error: OpenError) -> Broken {
        let failure = match error {
            OpenError::Ended => return Broken::Ended,
            OpenError::Wire(error) => {
                verdict::failure(Doing::INITIALIZE, &error, &self.slot.endpoint.url)
            }
            OpenError::Outcome(outcome) => match *outcome {
                Outcome::Failed(failure)
                | Outcome::AuthRequired(failure)
                | Outcome::AuthFailed(failure) => failure,
                _ => verdict::failed(
                    Doing::INITIALIZE,
                    ProbeReason::RateLimited,
                    Some(429),
                    "initialize answered HTTP 429",
                ),
            },
        };
        Broken::Failed(by_reason(failure))
    }

    fn doing(&self) -> Doing<'_> {
        Doing {
            step: Step::Call,
            what: &self.request.method,
        }
    }

    fn doing_owned(&self) -> OwnedDoing {
        OwnedDoing(Arc::clone(&self.request.method))
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

fn is_tool_error(method: &str, result: &str) -> bool {
    method == method::TOOLS_CALL && raw::top_level(result, "isError") == Some("true")
}

/// Does a backend of this kind know its clients by a session?
fn keeps_sessions(dialect: Dialect) -> bool {
    dialect.era == Era::Legacy
        && (dialect.sessions == SessionMode::Stateful || dialect.wire == Wire::Sse)
}
