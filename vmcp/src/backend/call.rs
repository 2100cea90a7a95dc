//! One request of a client's on its way through a backend.
//!
//! Owns the life of a call: its session, its connection, what may be sent again and what never
//! (T19), and what health learns from it. A tool call leaves at most once, unless it is marked as
//! repeatable, provably never left, or was refused for a forgotten session (T18). Nothing that is
//! not an answer is ever made one (T11).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::health::{CallOutcome, Dialect, ProbeReason, SessionMode, Step, Wire};
use vmcp_core::jsonrpc::RequestId;
use vmcp_core::mcp::{Era, is_tool_error, meta, method};

use super::announce::Announcements;
use super::bulkhead::Place;
use super::ending::{
    OwnedDoing, client_error, learnt_from, not_opened, own_error, session_ended, stopped,
    undetected,
};
use super::listener::Listener;
use super::message::Answer;
use super::params::Token;
use super::passage::Route;
use super::questions::{Clock, Questions};
use super::session::{Cell, OpenError, Terms};
use super::side::{SIDE_MESSAGE_WITHIN, Side};
use super::slot::{Slot, Wanted};
use super::verdict::{self, Doing};
use super::wire::{Refusal, WireError};
use crate::gateway::port::{Origin, SessionScope, UpstreamError, UpstreamEvent, UpstreamRequest};
use crate::near::Near;
use crate::snapshot::SessionLoss;

/// What a full queue tells the client to wait.
const RETRY_OVERLOADED: Duration = Duration::from_secs(1);

/// Says in the first result of a session that it began anew.
const SESSION_RESTARTED: &str = "vmcp.dev/sessionRestarted";

/// How often a call may change its session. Once for a refusal (T18), and as often again where
/// other calls of its client renewed theirs before this one was sent.
const RENEWALS: usize = 3;

/// A call under way.
#[derive(Debug)]
pub struct Call {
    pub(super) slot: Near<Slot>,
    pub(super) request: Arc<UpstreamRequest>,
    terms: Terms,
    pub(super) clock: Clock,
    pub(super) allowed: Duration,
    pub(super) listener: Listener,
    pub(super) announcements: Announcements,
    /// Whom it counts for.
    pub(super) principal: Option<Arc<str>>,
    pub(super) place: Option<Place>,
    pub(super) token: Token,
    pub(super) questions: Questions,
    /// The way of answers, once something was asked.
    pub(super) side: Option<Side>,
    /// The session of the client, claimed before the call waits for its place: a client that ends
    /// meanwhile then ends this one too, and none is opened that nobody would end (T7).
    claimed: Option<Arc<Cell>>,
    /// The exclusive session of a modern client, until it is given back or ended.
    lease: Option<Arc<Cell>>,
    /// What was sent last, and the session that it was sent in.
    pub(super) sent: Option<RequestId>,
    pub(super) sent_in: Option<Arc<Cell>>,
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

impl Broken {
    /// The backend may still be at work on it.
    pub(super) fn leaves_it_running(&self) -> bool {
        matches!(
            self,
            Self::Gone
                | Self::Wire(WireError::Timeout(_))
                | Self::Failed(UpstreamError::Timeout(_))
        )
    }
}

impl Call {
    #[must_use]
    pub(super) fn new(slot: Near<Slot>, request: Arc<UpstreamRequest>, listener: Listener) -> Self {
        let deadline = Instant::from_std(request.deadline);
        let terms = Terms::new(request.client_capabilities.as_ref(), request.client_version);
        let client = match &request.scope {
            SessionScope::Client(client) => Some(client),
            SessionScope::Lease => None,
        };
        let principal = request.principal.as_ref().or(client).map(Arc::clone);
        let stateful = request.target.dialect.is_some_and(keeps_sessions);
        let claimed = (client.is_some() && stateful).then(|| {
            slot.session(Wanted {
                scope: &request.scope,
                principal: request.principal.as_ref(),
                terms: &terms,
                level: None,
            })
        });
        Self {
            announcements: Announcements::new(slot.clone()),
            allowed: deadline.saturating_duration_since(Instant::now()),
            clock: Clock::new(deadline),
            claimed,
            slot,
            request,
            terms,
            listener,
            principal,
            place: None,
            token: None,
            questions: Questions::default(),
            side: None,
            lease: None,
            sent: None,
            sent_in: None,
        }
    }

    /// Runs to the end and reports to the caller; returns what health may learn, if anything.
    ///
    /// What is seldom waited for is boxed, here and below: the future of a call is made for each.
    pub async fn run(mut self: Box<Self>) -> Option<CallOutcome> {
        let slot = self.slot.clone();
        let (_under_way, stop) = slot.begin();
        self.place = slot.places.admit_now(self.principal.as_ref());
        if self.place.is_none() {
            match Box::pin(slot.places.admit(self.principal.as_ref())).await {
                Ok(place) => self.place = Some(place),
                Err(_overloaded) => {
                    let retry_after = RETRY_OVERLOADED;
                    self.report(UpstreamError::Overloaded { retry_after }).await;
                    return None;
                }
            }
        }
        let ended = tokio::select! {
            biased;
            () = stop => Err(Broken::Stopped),
            ended = self.drive() => ended,
        };
        let stopped = matches!(ended, Err(Broken::Stopped));
        let learnt = self.conclude(ended).await;
        if stopped {
            Box::pin(self.tell_stopped()).await;
        }
        // A call that did not end well may still run in its lease.
        if let Some(cell) = self.lease.take() {
            Box::pin(cell.end(&slot.site)).await;
        }
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
            Era::Modern => Route::Modern(dialect.version),
            Era::Legacy => Route::Stateless(dialect.version),
        };
        let answer = self.travel(route).await;
        let answer = own_error(dialect.era, self.doing(), answer)?;
        self.deliver(answer).await
    }

    /// In the session of the client or of a lease, renewed if the backend forgot it.
    async fn in_session(&mut self, dialect: Dialect) -> Result<CallOutcome, Broken> {
        let claimed = self.claimed.take();
        let mut cell = claimed.unwrap_or_else(|| self.slot.session(self.wanted()));
        self.hold(&cell);
        if cell.is_restarted() {
            self.survives_loss()?;
        }
        let mut answer = self.within(dialect, &cell).await;
        let mut refused = false;
        for _ in 0..RENEWALS {
            let again = match &answer {
                Err(Broken::Ended) => true,
                // Architecture 8: a session ends with its pod.
                Err(Broken::Wire(WireError::Gone)) if !refused => {
                    refused = true;
                    true
                }
                Err(Broken::Wire(WireError::Refused(refusal))) if !refused => {
                    refused = Box::pin(self.is_lost(refusal, &cell)).await;
                    refused
                }
                _ => false,
            };
            if !again {
                break;
            }
            if refused {
                self.survives_loss()?;
            }
            cell = Box::pin(self.renew(&cell)).await?;
            answer = Box::pin(self.within(dialect, &cell)).await;
        }
        if answer.is_ok() {
            self.give_back();
        }
        let mut answer = own_error(dialect.era, self.doing(), answer)?;
        if let Ok(result) = &mut answer
            && self.request.origin == Origin::Client
            && cell.take_restarted()
        {
            *result = meta::with_meta(Some(result), &[(SESSION_RESTARTED, "true")]).into();
        }
        self.deliver(answer).await
    }

    /// May the call go on in a new session, where the backend forgot its client's?
    fn survives_loss(&self) -> Result<(), Broken> {
        let of_client = matches!(self.request.scope, SessionScope::Client(_));
        match self.slot.site.endpoint.session_loss {
            SessionLoss::Fail if of_client => Err(Broken::Unasked(UpstreamError::SessionLost)),
            SessionLoss::Fail | SessionLoss::Reinitialize => Ok(()),
        }
    }

    async fn renew(&mut self, lost: &Arc<Cell>) -> Result<Arc<Cell>, Broken> {
        tracing::debug!(backend = %self.slot.id, "upstream session lost");
        let new = self.slot.renewed(self.wanted(), lost);
        lost.end(&self.slot.site).await;
        let new = new.ok_or(Broken::Ended)?;
        self.hold(&new);
        Ok(new)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            scope: &self.request.scope,
            principal: self.request.principal.as_ref(),
            terms: &self.terms,
            level: self.request.log_level.as_ref(),
        }
    }

    fn hold(&mut self, cell: &Arc<Cell>) {
        self.lease = (self.request.scope == SessionScope::Lease).then(|| Arc::clone(cell));
    }

    /// Leaves the lease for the next modern client; kept to be ended where there are enough.
    fn give_back(&mut self) {
        let principal = self.request.principal.as_ref();
        self.lease = self
            .lease
            .take()
            .and_then(|cell| self.slot.return_lease(cell, principal));
    }

    async fn within(&mut self, dialect: Dialect, cell: &Arc<Cell>) -> Result<Answer, Broken> {
        self.sent_in = Some(Arc::clone(cell));
        let slot = self.slot.clone();
        let deadline = self.clock.deadline();
        match cell.get(&slot.site, dialect, deadline).await {
            Ok(opened) => {
                if let Some(level) = &self.request.log_level {
                    Box::pin(opened.tell_level(&slot.site, level, deadline)).await;
                }
                self.travel(Route::Session(opened)).await
            }
            Err(OpenError::Ended) => Err(Broken::Ended),
            Err(error) => {
                let error = not_opened(error, &slot.site.endpoint.url);
                Err(Broken::Failed(error))
            }
        }
    }

    /// T18: 404 is a lost session; 400 is one only if the session does not answer a ping either. A
    /// session that another call found lost already is not asked again.
    async fn is_lost(&self, refusal: &Refusal, cell: &Arc<Cell>) -> bool {
        let Some(opened) = cell.peek().filter(|opened| opened.is_session()) else {
            return false;
        };
        match refusal.status {
            404 => true,
            400 if cell.is_ended() => true,
            // Looked at again: its end may have overtaken the ping.
            400 => !self.ping(opened).await || cell.is_ended(),
            _ => false,
        }
    }

    async fn deliver(&mut self, answer: Answer) -> Result<CallOutcome, Broken> {
        let learnt = match &answer {
            Ok(result) if &*self.request.method == method::TOOLS_CALL && is_tool_error(result) => {
                CallOutcome::ToolError
            }
            Ok(_) => CallOutcome::Ok,
            Err(_) => CallOutcome::ToolError,
        };
        self.emit(UpstreamEvent::Response(answer)).await?;
        Ok(learnt)
    }

    async fn report(&mut self, error: UpstreamError) {
        // The client may be slow; it is not waited for beyond the call's own time.
        let patience = self
            .clock
            .deadline()
            .max(Instant::now() + SIDE_MESSAGE_WITHIN);
        let _ = super::wire::within(patience, self.listener.tell(Err(error))).await;
    }

    async fn conclude(&mut self, ended: Result<CallOutcome, Broken>) -> Option<CallOutcome> {
        let doing = self.doing_owned();
        self.give_up_questions();
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
                let failure =
                    verdict::failure(doing.as_doing(), &error, &self.slot.site.endpoint.url);
                let learnt = if failure.reason == ProbeReason::RateLimited {
                    None
                } else {
                    Some(CallOutcome::Failed(failure.clone()))
                };
                let error = match client_error(&error, failure) {
                    UpstreamError::Timeout(_) => UpstreamError::Timeout(self.allowed),
                    error => error,
                };
                (error, learnt)
            }
        };
        self.report(error).await;
        learnt
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

/// Does a backend of this kind know its clients by a session?
pub(super) fn keeps_sessions(dialect: Dialect) -> bool {
    dialect.era == Era::Legacy
        && (dialect.sessions == SessionMode::Stateful || dialect.wire == Wire::Sse)
}
