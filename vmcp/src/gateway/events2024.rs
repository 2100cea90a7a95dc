//! Clients of revision 2024-11-05: a stream that they read, and a place where they write.
//!
//! Owns what such a client's stream carries (everything: responses, notifications, requests of
//! backends) and the one rule of its session: it ends with the stream. What a message means is told
//! by the same code as for every other client. A client that does not read is cut off.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vmcp_core::jsonrpc::{self, Message, Request, RequestId, RpcError};
use vmcp_core::limits;
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{ProtocolVersion, method};
use vmcp_core::session::SessionClaims;

use super::Gateway;
use super::legacy::no_session;
use super::message::{Answer, EndpointPath, EventKind, Facts, Messages, ServerEvent};
use super::modern::invalid_request;
use super::outbox::{Outbox, StreamWriter};
use super::session::unix_now;

/// The streams of this replica, by session.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: Mutex<HashMap<Arc<str>, Arc<Line>>>,
}

/// One client's stream, from the side of those who write on it.
#[derive(Debug)]
struct Line {
    id: Arc<str>,
    writer: StreamWriter,
    /// Messages that are being worked on; at a stop the stream waits for them.
    work: TaskTracker,
    places: Arc<Semaphore>,
    initialized: AtomicBool,
    /// The session is over, and the stream with it.
    over: CancellationToken,
}

impl Gateway {
    /// A GET of `/sse`: opens the stream. Its first event says where messages go.
    pub fn events(self: &Arc<Self>) -> Answer {
        let now = unix_now();
        let claims = SessionClaims {
            virtual_uid: self.snapshots.current.load().uid.to_string(),
            protocol_version: ProtocolVersion::V2024_11_05,
            issued: now,
            expires: now + self.sessions.max_age.as_secs(),
            owner: self.owner().clone(),
            ..SessionClaims::default()
        };
        let id = match self.sessions.mint(&claims) {
            Ok(id) => id,
            Err(error) => return Answer::error(500, &RequestId::Null, &no_session(error)),
        };
        let outbox = Arc::new(Outbox::new(ProtocolVersion::V2024_11_05));
        let (writer, messages) = outbox.open();
        let line = Arc::new(Line {
            id: Arc::clone(&id),
            writer,
            work: TaskTracker::new(),
            places: Arc::new(Semaphore::new(limits::EVENTS_IN_FLIGHT)),
            initialized: AtomicBool::new(false),
            over: CancellationToken::new(),
        });
        self.lines.lock().insert(id, Arc::clone(&line));
        Answer::Events(self.stream_of(&line, messages))
    }

    /// A POST to `/messages`. What there is to say to it comes on the stream.
    pub fn message(self: &Arc<Self>, facts: &Facts<'_>, body: &Bytes) -> Answer {
        let Some(id) = &facts.session else {
            let error = invalid_request("query parameter sessionId is missing: GET /sse first");
            return Answer::error(400, &RequestId::Null, &error);
        };
        let Some(line) = self.lines.lock().get(&**id).cloned() else {
            let error = RpcError::new(code::SESSION_NOT_FOUND, "session not found");
            return Answer::error(404, &RequestId::Null, &error);
        };
        let parsed = match jsonrpc::parse(body) {
            Ok(parsed) => parsed,
            Err(error) => return Answer::error(400, &RequestId::Null, &error.to_rpc_error()),
        };
        if let Message::Request(request) = &parsed
            && request.method == method::INITIALIZE
        {
            self.initialize_line(&line, request);
            return Answer::Empty { status: 202 };
        }
        let place = match line.place_for(&parsed) {
            Ok(place) => place,
            Err(answer) => return answer,
        };
        let (gateway, facts, body) = (Arc::clone(self), facts.to_owned(), body.clone());
        let work = Arc::clone(&line);
        line.work.spawn(async move {
            let answer = gateway.post(&facts, &body).await;
            work.say(answer).await;
            drop(place);
        });
        Answer::Empty { status: 202 }
    }

    fn initialize_line(self: &Arc<Self>, line: &Arc<Line>, request: &Request<'_>) {
        let opened = self
            .negotiate(&EndpointPath::All, request)
            .and_then(|claims| {
                if line.initialized.swap(true, Ordering::Relaxed) {
                    let error = invalid_request("this session is initialized already");
                    return Err(Answer::error(200, &request.id, &error));
                }
                let begun = self
                    .sessions
                    .begin(Arc::clone(&line.id), claims, unix_now());
                begun.map_err(|error| Answer::error(200, &request.id, &no_session(error)))
            });
        let answer = match opened {
            Ok(session) => {
                let answer = self.initialized(request, &session);
                let messages = session.outbox.standing();
                let standing = self.stand(&session, &EndpointPath::All, messages);
                let (line, ended) = (Arc::clone(line), session.ended.clone());
                // The session ends with the stream, and the stream with the session: nobody would
                // be answered on it any more.
                tokio::spawn(async move {
                    line.pass_on(standing).await;
                    if ended.is_cancelled() {
                        line.over.cancel();
                    }
                });
                answer
            }
            Err(answer) => answer,
        };
        if let Answer::Json { body, .. } | Answer::Error { body, .. } = answer {
            line.writer.send(body);
        }
    }

    fn stream_of(self: &Arc<Self>, line: &Arc<Line>, messages: Messages) -> Messages {
        let place = format!("/messages?sessionId={}", line.id);
        let first = ServerEvent {
            kind: EventKind::Endpoint,
            id: None,
            data: place.into(),
        };
        let (stopping, work) = (self.stopping.clone(), line.work.clone());
        let over = line.over.clone();
        let stopped = async move {
            tokio::select! {
                () = over.cancelled() => return,
                () = stopping.cancelled() => {}
            }
            work.close();
            work.wait().await;
        };
        // Ids are of no use to these clients: they cannot come back.
        let rest = messages.map(|event| ServerEvent { id: None, ..event });
        let rest = rest.take_until(Box::pin(stopped));
        Box::pin(LineStream {
            events: Box::pin(stream::iter([first]).chain(rest)),
            gateway: Arc::clone(self),
            id: Arc::clone(&line.id),
        })
    }

    async fn hang_up(&self, id: Arc<str>) {
        self.lines.lock().remove(&id);
        if let Some(session) = self.sessions.live(&id) {
            self.sessions.delete(&session);
            // Said in between, when the line had gone already.
            self.wants_nothing(&session);
            self.meter.sessions(self.sessions.count());
            session.standing.over().await;
        }
        self.port.end_session(id).await;
    }
}

impl Lines {
    /// The session is such a stream.
    pub(super) fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Cuts off clients that have not read for long.
    pub(super) fn sweep(&self) {
        for line in self.lock().values() {
            line.writer.sweep();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// A place among those who wait, for a request. What is done at once needs none, however many
    /// wait: they may be waiting for just that.
    fn place_for(&self, message: &Message<'_>) -> Result<Option<OwnedSemaphorePermit>, Answer> {
        let request = match message {
            Message::Request(request) if request.method != method::PING => request,
            _ => return Ok(None),
        };
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map(Some).map_err(|_| {
            let error = invalid_request("too many messages are being worked on");
            Answer::error(503, &request.id, &error)
        })
    }

    async fn say(&self, answer: Answer) {
        match answer {
            Answer::Json { body, .. } | Answer::Error { body, .. } => {
                self.writer.send(body);
            }
            Answer::Events(messages) => self.pass_on(messages).await,
            Answer::Empty { .. } => {}
        }
    }

    async fn pass_on(&self, mut messages: Messages) {
        while let Some(event) = messages.next().await {
            if !event.data.is_empty() && !self.writer.send(event.data) {
                return;
            }
        }
    }
}

/// The reading end. Whatever ends it ends the session.
struct LineStream {
    events: Messages,
    gateway: Arc<Gateway>,
    id: Arc<str>,
}

impl Stream for LineStream {
    type Item = ServerEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl Drop for LineStream {
    fn drop(&mut self) {
        let (gateway, id) = (Arc::clone(&self.gateway), Arc::clone(&self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { gateway.hang_up(id).await });
        }
    }
}
