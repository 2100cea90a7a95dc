//! The way of one request through a connection or a stream, and back.
//!
//! Owns sending and listening for a call: idle connections, the second try where T19 permits it,
//! notifications on the way, requests of the server's, cancellation. Whose session it is and what
//! the end means stands in `call`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::Instant;

use vmcp_core::health::Dialect;
use vmcp_core::jsonrpc::{self, Message, RequestId};
use vmcp_core::mcp::{Era, meta, method};

use super::call::{Broken, Call};
use super::link::{Link, Outgoing};
use super::message::{self, Answer, Inbound};
use super::outgoing::{self, Last, SessionId, Voice};
use super::reply::Reply;
use super::session::{CLIENT_NAME, CLIENT_VERSION};
use super::sse2024::{Inbox, SseSession};
use super::wire::{WireError, exchange, next_id, tell, within};
use crate::gateway::port::{Repeat, UpstreamError, UpstreamEvent};

/// Telling a backend that nobody waits any more must not outlive the call by much.
pub(super) const SIDE_MESSAGE_WITHIN: Duration = Duration::from_secs(2);

/// How the request travels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route<'a> {
    Modern,
    Legacy(Option<&'a SessionId>),
}

impl Call {
    pub(super) async fn over_http(
        &mut self,
        dialect: Dialect,
        route: Route<'_>,
    ) -> Result<Answer, Broken> {
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
                (voice, self.legacy_params())
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
                Inbound::Notification(text) => self.pass(text).await?,
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
            let (link, _) = Link::dial(&slot.endpoint, &slot.tls, deadline).await?;
            let mut link = link.counted(&slot.connections);
            let reply = exchange(&mut link, request, id, deadline).await?;
            Ok((link, reply))
        };
        tokio::select! {
            biased;
            () = events.closed() => Err(Broken::Gone),
            sent = sending => Ok(sent?),
        }
    }

    pub(super) async fn over_events(&mut self, stream: &SseSession) -> Result<Answer, Broken> {
        let method = Arc::clone(&self.request.method);
        let params = self.legacy_params();
        let id = next_id();
        let events = self.events.clone();
        let asked = tokio::select! {
            biased;
            () = events.closed() => Err(Broken::Gone),
            asked = stream.ask(&id, &method, params.as_deref(), self.deadline) => asked.map_err(Broken::Wire),
        };
        let ended = match asked {
            Ok(inbox) => self.listen(inbox).await,
            Err(error) => Err(error),
        };
        if ended.is_err() {
            stream.forget(&id);
            let params = cancelled_params(&id);
            let deadline = Instant::now() + SIDE_MESSAGE_WITHIN;
            let told = stream
                .notify(method::NOTIFICATION_CANCELLED, Some(&params), deadline)
                .await;
            if let Err(error) = told {
                tracing::debug!(%error, "cancellation not sent");
            }
        }
        ended
    }

    async fn listen(&mut self, mut inbox: Inbox) -> Result<Answer, Broken> {
        let events = self.events.clone();
        loop {
            let received = tokio::select! {
                biased;
                () = events.closed() => return Err(Broken::Gone),
                received = within(self.deadline, inbox.recv()) => received?,
            };
            match received {
                Some(Ok(Inbound::Response { answer, .. })) => return Ok(answer),
                Some(Ok(Inbound::Notification(text))) => self.pass(text).await?,
                Some(Ok(Inbound::Request { .. })) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(WireError::Lost("the event stream ended".to_owned()).into()),
            }
        }
    }

    /// To the client; news of a list goes to the registry instead, which tells clients what came of
    /// it (T15).
    async fn pass(&mut self, notification: Arc<str>) -> Result<(), Broken> {
        let parsed = jsonrpc::parse(notification.as_bytes());
        let method = match &parsed {
            Ok(Message::Notification(parsed)) => parsed.method.as_ref(),
            _ => "",
        };
        match method {
            method::NOTIFICATION_TOOLS_LIST_CHANGED => self.announcements.hear(),
            method::NOTIFICATION_PROMPTS_LIST_CHANGED
            | method::NOTIFICATION_RESOURCES_LIST_CHANGED => {}
            _ => {
                let event = UpstreamEvent::Notification(Arc::clone(&notification));
                self.emit(event).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn emit(&mut self, event: UpstreamEvent) -> Result<(), Broken> {
        if let Some(started) = self.started.take() {
            started.send(Ok(())).map_err(|_| Broken::Gone)?;
        }
        match within(self.deadline, self.events.send(Ok(event))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Gone),
            // The client does not read: the call is over, and the backend is not to blame.
            Err(_) => Err(Broken::Failed(UpstreamError::Timeout(self.allowed))),
        }
    }

    /// Does the session answer? Anything but a refusal of the session counts as yes: neither an
    /// outage nor a rate limit nor a missing credential loses a session.
    pub(super) async fn ping(&self, voice: Voice<'_>) -> bool {
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
        let asked = asked.await.map_err(|error| error.status());
        !matches!(asked, Err(Some(400 | 404)))
    }

    fn legacy_params(&self) -> Option<String> {
        let params = self.request.params.as_deref()?;
        Some(meta::legacy_params(params).into_owned())
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

    /// A legacy backend does not take a closed connection for a cancellation. Waits for its place:
    /// calls bound how many there are.
    fn tell_cancelled(&self, id: &RequestId, voice: Voice<'_>) {
        let body = jsonrpc::write_notification(
            method::NOTIFICATION_CANCELLED,
            Some(&cancelled_params(id)),
        );
        let place = Arc::clone(&self.slot.aside).acquire_owned();
        self.tell_aside(body, voice, place);
    }

    /// A request of the server's. Dropped where too many are being answered: nothing but the
    /// backend's own restraint bounds how many there are.
    fn refuse(&self, id: &RequestId, method: &str, voice: Voice<'_>) {
        match Arc::clone(&self.slot.aside).try_acquire_owned() {
            Ok(place) => {
                let place = std::future::ready(Ok(place));
                self.tell_aside(message::reply_to(id, method), voice, place);
            }
            Err(_) => {
                tracing::debug!(backend = %self.slot.id, method, "request of a server dropped");
            }
        }
    }

    /// Sends a message on a connection of its own, beside the call.
    fn tell_aside(
        &self,
        body: Vec<u8>,
        voice: Voice<'_>,
        place: impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + 'static,
    ) {
        let Ok(request) = outgoing::post(&self.slot.endpoint, voice, body) else {
            return;
        };
        let slot = Arc::clone(&self.slot);
        tokio::spawn(async move {
            let deadline = Instant::now() + SIDE_MESSAGE_WITHIN;
            let told = async {
                let _place = within(deadline, place).await?;
                let (mut link, _) = Link::dial(&slot.endpoint, &slot.tls, deadline).await?;
                tell(&mut link, outgoing::ending(request, Last::Yes), deadline).await
            };
            if let Err(error) = told.await {
                tracing::debug!(backend = %slot.id, %error, "side message not sent");
            }
        });
    }
}

fn cancelled_params(id: &RequestId) -> String {
    format!(
        r#"{{"requestId":{},"reason":"the client is gone"}}"#,
        id.to_raw()
    )
}
