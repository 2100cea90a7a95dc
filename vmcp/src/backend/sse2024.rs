//! The transport of 2024-11-05: one GET stream, messages by POST.
//!
//! Owns the stream, the `endpoint` it names and the way of each answer back to its question. The
//! endpoint must lie on the origin of the URL, else a server could make us carry requests (and one
//! day credentials) elsewhere. A stream that ends in mid-call is an error: nothing is sent again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use vmcp_core::jsonrpc::{self, RequestId, raw};

use super::link::{Link, Outgoing};
use super::message::{self, Inbound};
use super::outgoing::{self, Last, Voice};
use super::reply::chunk;
use super::sse_event::{Decoder, Event};
use super::timings::Timings;
use super::tls::Trust;
use super::wire::{WireError, exchange_stream, next_id, tell, within};
use crate::gateway::port::EVENT_BUFFER;
use crate::snapshot::Endpoint;

/// Answering a request of the server's must not hold up the stream for longer.
const REFUSE_WITHIN: Duration = Duration::from_secs(2);

/// Questions open on one stream; a client asks few at once, and the map must be bounded.
const MAX_PENDING: usize = 100;

/// What comes back for one question.
pub type Inbox = mpsc::Receiver<Result<Inbound, WireError>>;

/// An open stream. Dropping it closes the stream, which ends the session at the server.
#[derive(Debug)]
pub struct SseSession {
    endpoint: Arc<Endpoint>,
    post_url: Url,
    tls: Trust,
    shared: Arc<Mutex<Pending>>,
    reader: JoinHandle<()>,
    pub timings: Timings,
}

#[derive(Debug, Default)]
struct Pending {
    questions: HashMap<RequestId, Question>,
    /// Why the stream is over.
    lost: Option<String>,
}

#[derive(Debug)]
struct Question {
    inbox: mpsc::Sender<Result<Inbound, WireError>>,
    /// Raw `_meta.progressToken`, by which progress finds its question.
    token: Option<Box<str>>,
}

impl Drop for SseSession {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl SseSession {
    /// Opens the stream and waits for its `endpoint` event.
    ///
    /// # Errors
    /// `Refused` where GET is not answered with 200; `Protocol` where the answer is no such stream
    /// or the endpoint lies elsewhere.
    pub async fn open(endpoint: &Arc<Endpoint>, deadline: Instant) -> Result<Self, WireError> {
        let tls = Trust::Machine;
        let (mut link, timings) = Link::dial(endpoint, &tls, deadline).await?;
        let mut body =
            exchange_stream(&mut link, outgoing::get_stream(endpoint)?, deadline).await?;
        let mut decoder = Decoder::default();
        let first = loop {
            if let Some(event) = decoder.next_event()? {
                break event;
            }
            match within(deadline, chunk(&mut body)).await?? {
                Some(bytes) => decoder.push(&bytes)?,
                None => {
                    return Err(WireError::Protocol(
                        "the stream ended before its endpoint event".to_owned(),
                    ));
                }
            }
        };
        let post_url = post_url(&endpoint.url, &first)?;
        let shared = Arc::new(Mutex::new(Pending::default()));
        let refuser = Refuser {
            endpoint: Arc::clone(endpoint),
            post_url: post_url.clone(),
            tls: tls.clone(),
        };
        let reader = tokio::spawn(read(link, body, decoder, Arc::clone(&shared), refuser));
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            post_url,
            tls,
            shared,
            reader,
            timings,
        })
    }

    /// Asks under `id`; the inbox yields notifications and ends with the response or an error.
    /// Whoever stops waiting says so with [`Self::forget`].
    ///
    /// # Errors
    /// The POST was not accepted.
    pub async fn ask(
        &self,
        id: &RequestId,
        method: &str,
        params: Option<&str>,
        deadline: Instant,
    ) -> Result<Inbox, WireError> {
        let body = jsonrpc::write_request(id, method, params);
        // One place more than notifications may take: the response always fits.
        let (sender, inbox) = mpsc::channel(EVENT_BUFFER + 1);
        let question = Question {
            inbox: sender,
            token: progress_token(params),
        };
        lock(&self.shared).register(id, question)?;
        if let Err(error) = self.post(body, deadline).await {
            self.forget(id);
            return Err(error);
        }
        Ok(inbox)
    }

    /// The answer to a question that nobody listens to on the way.
    ///
    /// # Errors
    /// As [`Self::ask`], and what happens to the stream until the answer.
    pub async fn answer(
        &self,
        method: &str,
        params: Option<&str>,
        deadline: Instant,
    ) -> Result<message::Answer, WireError> {
        let id = next_id();
        let mut inbox = self.ask(&id, method, params, deadline).await?;
        loop {
            let received = within(deadline, inbox.recv())
                .await
                .inspect_err(|_| self.forget(&id))?;
            match received {
                Some(Ok(Inbound::Response { answer, .. })) => return Ok(answer),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(lost("the stream ended")),
            }
        }
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// The POST was not accepted.
    pub async fn notify(
        &self,
        method: &str,
        params: Option<&str>,
        deadline: Instant,
    ) -> Result<(), WireError> {
        self.post(jsonrpc::write_notification(method, params), deadline)
            .await
    }

    /// No answer to this question will be read.
    pub fn forget(&self, id: &RequestId) {
        lock(&self.shared).questions.remove(id);
    }

    /// The stream is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.shared).lost.is_none()
    }

    async fn post(&self, body: Vec<u8>, deadline: Instant) -> Result<(), WireError> {
        let request = outgoing::post_to(&self.post_url, &self.endpoint, Voice::Plain, body)?;
        send_alone(&self.endpoint, &self.tls, request, deadline).await
    }
}

impl Pending {
    fn register(&mut self, id: &RequestId, question: Question) -> Result<(), WireError> {
        if self.lost.is_some() || self.questions.len() >= MAX_PENDING {
            return Err(WireError::Unsent);
        }
        self.questions.insert(id.clone(), question);
        Ok(())
    }

    /// Hands a message to whom it belongs; what belongs to nobody is dropped (an answer after its
    /// deadline, a notification outside any call).
    fn deliver(&mut self, message: Inbound) {
        match &message {
            Inbound::Response { id, answer } => {
                let addressee = match answer {
                    // An error without id can only mean the one question that is open.
                    Err(_) if *id == RequestId::Null && self.questions.len() == 1 => {
                        self.questions.keys().next().cloned()
                    }
                    _ => Some(id.clone()),
                };
                if let Some(question) = addressee.and_then(|id| self.questions.remove(&id)) {
                    let _ = question.inbox.try_send(Ok(message));
                }
            }
            Inbound::Notification(text) => {
                if let Some(question) = self.addressee(text)
                    && question.inbox.capacity() > 1
                {
                    let _ = question.inbox.try_send(Ok(message));
                }
            }
            Inbound::Request { .. } => {}
        }
    }

    fn addressee(&self, notification: &str) -> Option<&Question> {
        let token = raw::top_level(notification, "params")
            .and_then(|params| raw::top_level(params, "progressToken"));
        match token {
            Some(token) => self
                .questions
                .values()
                .find(|question| question.token.as_deref() == Some(token)),
            None if self.questions.len() == 1 => self.questions.values().next(),
            None => None,
        }
    }

    fn fail(&mut self, why: &WireError) {
        self.lost = Some(why.to_string());
        for (_, question) in self.questions.drain() {
            let _ = question.inbox.try_send(Err(why.clone()));
        }
    }
}

/// Where messages are posted.
///
/// # Errors
/// `Protocol`: another event came first, or the URL does not resolve to the same origin.
pub fn post_url(base: &Url, event: &Event) -> Result<Url, WireError> {
    if &*event.name != "endpoint" {
        return Err(WireError::Protocol(format!(
            "the stream began with {:?}, not with an endpoint event",
            event.name
        )));
    }
    let url = base.join(event.data.trim()).map_err(|error| {
        WireError::Protocol(format!("the endpoint event holds no URL: {error}"))
    })?;
    if url.origin() != base.origin() {
        return Err(WireError::Protocol(format!(
            "the endpoint event points to another origin, {}",
            url.origin().ascii_serialization()
        )));
    }
    Ok(url)
}

#[derive(Debug)]
struct Refuser {
    endpoint: Arc<Endpoint>,
    post_url: Url,
    tls: Trust,
}

impl Refuser {
    async fn refuse(&self, id: &RequestId, method: &str) {
        let deadline = Instant::now() + REFUSE_WITHIN;
        let request = outgoing::post_to(
            &self.post_url,
            &self.endpoint,
            Voice::Plain,
            message::reply_to(id, method),
        );
        let sent = match request {
            Ok(request) => send_alone(&self.endpoint, &self.tls, request, deadline).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, method, "request of a server could not be refused");
        }
    }
}

/// Reads the stream to its end. Holds the link, so that the stream lives as long as the task.
async fn read(
    link: Link,
    mut body: hyper::body::Incoming,
    mut decoder: Decoder,
    shared: Arc<Mutex<Pending>>,
    refuser: Refuser,
) {
    let why = loop {
        match step(&mut body, &mut decoder).await {
            Ok(messages) => {
                for message in messages {
                    if let Inbound::Request { id, method } = &message {
                        refuser.refuse(id, method).await;
                    }
                    lock(&shared).deliver(message);
                }
            }
            Err(error) => break error,
        }
    };
    lock(&shared).fail(&why);
    drop(link);
}

async fn step(
    body: &mut hyper::body::Incoming,
    decoder: &mut Decoder,
) -> Result<Vec<Inbound>, WireError> {
    if let Some(event) = decoder.next_event()? {
        return message::in_event(&event);
    }
    match chunk(body).await {
        Ok(Some(bytes)) => decoder.push(&bytes)?,
        Ok(None) => return Err(lost("the stream ended")),
        Err(error) => return Err(lost(&error.to_string())),
    }
    Ok(Vec::new())
}

/// One POST on a connection of its own; any 2xx is acceptance.
async fn send_alone(
    endpoint: &Endpoint,
    tls: &Trust,
    request: Outgoing,
    deadline: Instant,
) -> Result<(), WireError> {
    let (mut link, _) = Link::dial(endpoint, tls, deadline).await?;
    let request = outgoing::ending(request, Last::Yes);
    match tell(&mut link, request, deadline).await? {
        200..=299 => Ok(()),
        status => Err(WireError::Refused(Box::new(super::wire::Refusal {
            status,
            ..Default::default()
        }))),
    }
}

fn progress_token(params: Option<&str>) -> Option<Box<str>> {
    let meta = raw::top_level(params?, "_meta")?;
    raw::top_level(meta, "progressToken").map(Into::into)
}

fn lost(why: &str) -> WireError {
    WireError::Lost(why.to_owned())
}

/// A poisoned lock only means that another thread panicked between two plain map operations.
fn lock(shared: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
