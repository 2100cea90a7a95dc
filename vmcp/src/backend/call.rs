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
use vmcp_core::jsonrpc::{self, RequestId, RpcError, raw};
use vmcp_core::mcp::{Era, meta, method};

use super::link::{Link, Outgoing};
use super::message::{self, Answer, Inbound};
use super::outgoing::{self, Last, SessionId, Voice};
use super::reply::Reply;
use super::session::{CLIENT_NAME, CLIENT_VERSION, Cell, OpenError, Opened};
use super::slot::Slot;
use super::sse2024::SseSession;
use super::verdict::{self, Doing};
use super::wire::{Refusal, WireError, exchange, next_id, tell};
use crate::gateway::port::{Repeat, SessionScope, UpstreamError, UpstreamEvent, UpstreamRequest};

/// Telling a backend that nobody waits any more must not outlive the call by much.
const SIDE_MESSAGE_WITHIN: Duration = Duration::from_secs(2);

/// What a full queue tells the client to wait.
const RETRY_OVERLOADED: Duration = Duration::from_secs(1);

pub type Events = mpsc::Sender<Result<UpstreamEvent, UpstreamError>>;
pub type Started = oneshot::Sender<Result<(), UpstreamError>>;

/// A call under way.
#[derive(Debug)]
pub struct Call {
    slot: Arc<Slot>,
    request: UpstreamRequest,
    deadline: Instant,
    allowed: Duration,
    events: Events,
    started: Option<Started>,
}

/// Why a call ended without an answer.
#[derive(Debug)]
enum Broken {
    Wire(WireError),
    Failed(UpstreamError),
    /// Nobody waits for the answer (R4.10).
    Gone,
    /// The backend was removed.
    Stopped,
}

/// How the request travels.
#[derive(Clone, Copy, Debug)]
enum Route<'a> {
    Modern,
    Legacy(Option<&'a SessionId>),
}

impl Call {
    #[must_use]
    pub fn new(
        slot: Arc<Slot>,
        request: UpstreamRequest,
        events: Events,
        started: Started,
    ) -> Self {
        let deadline = Instant::from_std(request.deadline);
        let allowed = deadline.saturating_duration_since(Instant::now());
        Self {
            slot,
            request,
            deadline,
            allowed,
            events,
            started: Some(started),
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
        drop(place);
        learnt
    }

    async fn drive(&mut self) -> Result<CallOutcome, Broken> {
        let Some(dialect) = self.request.target.dialect else {
            return Err(Broken::Failed(UpstreamError::Unavailable(undetected(
                self.doing(),
            ))));
        };
        let answer = match (dialect.era, dialect.sessions) {
            (Era::Modern, _) => self.over_http(dialect, Route::Modern).await,
            (Era::Legacy, SessionMode::Stateless) if dialect.wire == Wire::StreamableHttp => {
                self.over_http(dialect, Route::Legacy(None)).await
            }
            (Era::Legacy, _) => return self.in_session(dialect).await,
        };
        let answer = answer.or_else(own_error)?;
        self.deliver(answer).await
    }

    /// In the session of the client or of a lease, renewed once if the backend forgot it.
    async fn in_session(&mut self, dialect: Dialect) -> Result<CallOutcome, Broken> {
        let scope = self.request.scope.clone();
        let mut cell = self.slot.session(&scope);
        let mut answer = self.within(dialect, &cell).await;
        if let Err(Broken::Wire(WireError::Refused(refusal))) = &answer
            && self.is_lost(refusal, dialect, &cell).await
        {
            tracing::debug!(backend = %self.slot.id, status = refusal.status, "upstream session lost");
            let new = self.slot.renewed(&scope, &cell);
            cell.end(&self.slot.endpoint, &self.slot.tls).await;
            cell = new;
            answer = self.within(dialect, &cell).await;
        }
        if scope == SessionScope::Lease {
            // A call that did not end well may still run there.
            let surplus = if answer.is_ok() {
                self.slot.return_lease(cell)
            } else {
                Some(cell)
            };
            if let Some(cell) = surplus {
                let slot = Arc::clone(&self.slot);
                tokio::spawn(async move { cell.end(&slot.endpoint, &slot.tls).await });
            }
        }
        let answer = answer.or_else(own_error)?;
        self.deliver(answer).await
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

    /// T18: 404 is a lost session; 400 is one only if the session does not answer a ping either.
    async fn is_lost(&self, refusal: &Refusal, dialect: Dialect, cell: &Arc<Cell>) -> bool {
        let Ok(Opened::Http {
            id: Some(id),
            version,
        }) = cell
            .get(&self.slot.endpoint, &self.slot.tls, dialect, self.deadline)
            .await
        else {
            return false;
        };
        match refusal.status {
            404 => true,
            400 => {
                let voice = Voice::Legacy {
                    version: *version,
                    session: Some(id),
                };
                !self.ping(voice).await
            }
            _ => false,
        }
    }

    /// Does the session answer? Anything but a refusal counts as yes: an outage loses no session.
    async fn ping(&self, voice: Voice<'_>) -> bool {
        let id = next_id();
        let asked = async {
            let request = outgoing::post(
                &self.slot.endpoint,
                voice,
                jsonrpc::write_request(&id, method::PING, None),
            )?;
            let deadline = self.deadline.min(Instant::now() + SIDE_MESSAGE_WITHIN);
            let (mut link, _) = Link::dial(&self.slot.endpoint, &self.slot.tls, deadline).await?;
            exchange(
                &mut link,
                outgoing::ending(request, Last::Yes),
                &id,
                deadline,
            )
            .await
            .map(drop)
        };
        !matches!(asked.await, Err(WireError::Refused(_)))
    }

    async fn over_http(&mut self, dialect: Dialect, route: Route<'_>) -> Result<Answer, Broken> {
        let id = next_id();
        let request_method = Arc::clone(&self.request.method);
        let name = self.request.name.clone();
        let (voice, params) = match route {
            Route::Modern => {
                let voice = Voice::Modern {
                    version: dialect.version,
                    method: &request_method,
                    name: name.as_deref(),
                };
                (voice, Some(self.modern_params(dialect)))
            }
            Route::Legacy(session) => {
                let voice = Voice::Legacy {
                    version: dialect.version,
                    session,
                };
                (voice, self.request.params.as_deref().map(ToOwned::to_owned))
            }
        };
        let body = jsonrpc::write_request(&id, &request_method, params.as_deref());
        let request = outgoing::post(&self.slot.endpoint, voice, body).map_err(WireError::from)?;
        let result = self.exchange(request, &id, voice).await;
        if dialect.era == Era::Legacy
            && matches!(
                result,
                Err(Broken::Gone | Broken::Stopped | Broken::Wire(WireError::Timeout(_)))
            )
        {
            self.tell_cancelled(&id, voice);
        }
        result
    }

    async fn exchange(
        &mut self,
        request: Outgoing,
        id: &RequestId,
        voice: Voice<'_>,
    ) -> Result<Answer, Broken> {
        let (mut link, reply) = self.send(request, id).await?;
        let mut reply = reply;
        loop {
            let next = {
                let events = self.events.clone();
                tokio::select! {
                    biased;
                    () = events.closed() => return Err(Broken::Gone),
                    next = reply.next(self.deadline) => next?,
                }
            };
            match next {
                Inbound::Response { answer, .. } => {
                    let slot = Arc::clone(&self.slot);
                    // The rest of the body is read beside the client's answer, not before it.
                    tokio::spawn(async move {
                        let keep_alive = reply.keep_alive;
                        if reply.finish().await
                            && link.reusable(Instant::now() + SIDE_MESSAGE_WITHIN).await
                        {
                            slot.pool.put(link, keep_alive);
                        }
                    });
                    return Ok(answer);
                }
                Inbound::Notification(text) => self.emit(UpstreamEvent::Notification(text)).await?,
                Inbound::Request { id, method } => self.refuse(&id, &method, voice),
            }
        }
    }

    /// Sends the request on an idle connection or a new one. T19: a second time only where the
    /// first provably never left, or where the request may run twice.
    async fn send(&mut self, request: Outgoing, id: &RequestId) -> Result<(Link, Reply), Broken> {
        let repeat = self.request.repeat;
        let events = self.events.clone();
        let deadline = self.deadline;
        let slot = Arc::clone(&self.slot);
        let sending = async move {
            if let Some(mut link) = slot.pool.take(repeat) {
                match exchange(&mut link, request.clone(), id, deadline).await {
                    Ok(reply) => return Ok((link, reply)),
                    Err(WireError::Unsent) => {}
                    Err(WireError::Lost(_)) if repeat == Repeat::Freely => {}
                    Err(error) => return Err(error),
                }
            }
            let (mut link, _) = Link::dial(&slot.endpoint, &slot.tls, deadline).await?;
            let reply = exchange(&mut link, request, id, deadline).await?;
            Ok((link, reply))
        };
        tokio::select! {
            biased;
            () = events.closed() => Err(Broken::Gone),
            sent = sending => Ok(sent?),
        }
    }

    async fn over_events(&mut self, stream: &SseSession) -> Result<Answer, Broken> {
        let method = Arc::clone(&self.request.method);
        let params = self.request.params.clone();
        let (id, mut inbox) = stream
            .ask(&method, params.as_deref(), self.deadline)
            .await?;
        let events = self.events.clone();
        let ended = loop {
            let received = tokio::select! {
                biased;
                () = events.closed() => break Err(Broken::Gone),
                received = super::wire::within(self.deadline, inbox.recv()) => received,
            };
            match received {
                Ok(Some(Ok(Inbound::Response { answer, .. }))) => break Ok(answer),
                Ok(Some(Ok(Inbound::Notification(text)))) => {
                    if let Err(error) = self.emit(UpstreamEvent::Notification(text)).await {
                        break Err(error);
                    }
                }
                Ok(Some(Ok(Inbound::Request { .. }))) => {}
                Ok(Some(Err(error))) | Err(error) => break Err(error.into()),
                Ok(None) => break Err(WireError::Lost("the event stream ended".to_owned()).into()),
            }
        };
        if ended.is_err() {
            stream.forget(&id);
            let cancelled = cancelled_params(&id);
            let deadline = Instant::now() + SIDE_MESSAGE_WITHIN;
            if let Err(error) = stream
                .notify(method::NOTIFICATION_CANCELLED, Some(&cancelled), deadline)
                .await
            {
                tracing::debug!(%error, "cancellation not sent");
            }
        }
        ended
    }

    fn modern_params(&self, dialect: Dialect) -> String {
        let capabilities = self.request.client_capabilities.as_deref().unwrap_or("{}");
        let own = format!(r#"{{"name":"{CLIENT_NAME}","version":"{CLIENT_VERSION}"}}"#);
        let info = self.request.client_info.as_deref().unwrap_or(&own);
        meta::modern_params(
            self.request.params.as_deref(),
            dialect.version,
            capabilities,
            Some(info),
        )
    }

    /// A legacy backend does not take a closed connection for a cancellation.
    fn tell_cancelled(&self, id: &RequestId, voice: Voice<'_>) {
        let body = jsonrpc::write_notification(
            method::NOTIFICATION_CANCELLED,
            Some(&cancelled_params(id)),
        );
        self.tell_aside(body, voice);
    }

    fn refuse(&self, id: &RequestId, method: &str, voice: Voice<'_>) {
        self.tell_aside(message::reply_to(id, method), voice);
    }

    /// Sends a message on a connection of its own, beside the call.
    fn tell_aside(&self, body: Vec<u8>, voice: Voice<'_>) {
        let Ok(request) = outgoing::post(&self.slot.endpoint, voice, body) else {
            return;
        };
        let slot = Arc::clone(&self.slot);
        tokio::spawn(async move {
            let deadline = Instant::now() + SIDE_MESSAGE_WITHIN;
            let told = async {
                let (mut link, _) = Link::dial(&slot.endpoint, &slot.tls, deadline).await?;
                tell(&mut link, outgoing::ending(request, Last::Yes), deadline).await
            };
            if let Err(error) = told.await {
                tracing::debug!(backend = %slot.id, %error, "side message not sent");
            }
        });
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

    async fn emit(&mut self, event: UpstreamEvent) -> Result<(), Broken> {
        if let Some(started) = self.started.take() {
            started.send(Ok(())).map_err(|_| Broken::Gone)?;
        }
        super::wire::within(self.deadline, self.events.send(Ok(event)))
            .await?
            .map_err(|_| Broken::Gone)
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
            OpenError::Ended => return Broken::Stopped,
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

/// [`Doing`] that outlives a borrow of the call.
#[derive(Debug)]
struct OwnedDoing(Arc<str>);

impl OwnedDoing {
    fn as_doing(&self) -> Doing<'_> {
        Doing {
            step: Step::Call,
            what: &self.0,
        }
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// An HTTP 400 or 404 whose body is a JSON-RPC error is the backend's own answer: modern servers
/// answer so by rule, legacy ones by habit. It passes as it is.
fn own_error(broken: Broken) -> Result<Answer, Broken> {
    if let Broken::Wire(WireError::Refused(refusal)) = &broken
        && matches!(refusal.status, 400 | 404)
        && let Some((_, error)) = refusal.rpc_error()
    {
        return Ok(Err::<Arc<str>, RpcError>(error));
    }
    Err(broken)
}

fn by_reason(failure: ProbeFailure) -> UpstreamError {
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
fn learnt_from(error: &UpstreamError) -> Option<CallOutcome> {
    match error {
        UpstreamError::Unavailable(failure) if failure.reason == ProbeReason::RateLimited => None,
        UpstreamError::Unavailable(failure)
        | UpstreamError::Authentication(failure)
        | UpstreamError::Protocol(failure) => Some(CallOutcome::Failed(failure.clone())),
        UpstreamError::Timeout(_) | UpstreamError::Overloaded { .. } => None,
    }
}

fn is_tool_error(method: &str, result: &str) -> bool {
    method == method::TOOLS_CALL && raw::top_level(result, "isError") == Some("true")
}

fn cancelled_params(id: &RequestId) -> String {
    format!(
        r#"{{"requestId":{},"reason":"the client is gone"}}"#,
        id.to_raw()
    )
}

fn undetected(doing: Doing<'_>) -> ProbeFailure {
    verdict::failed(
        doing,
        ProbeReason::ProtocolError,
        None,
        "the backend has not been understood yet",
    )
}

fn stopped(doing: Doing<'_>) -> ProbeFailure {
    verdict::failed(doing, ProbeReason::Stopped, None, "the backend was removed")
}
