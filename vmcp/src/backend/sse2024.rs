//! The transport of 2024-11-05: one GET stream, messages by POST.
//!
//! Owns the stream and the `endpoint` it names; whom each message belongs to is the desk's. The
//! endpoint must lie on the origin of the URL, else a server could make us carry requests (and one
//! day credentials) elsewhere. A stream that ends in mid-call is an error: nothing is sent again.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use vmcp_core::jsonrpc;
use vmcp_core::mcp::method;

use super::announce::News;
use super::desk::{Desk, Hears};
use super::link::Link;
use super::message::{self, Inbound};
use super::outgoing;
use super::reach::To;
use super::reply::chunk;
use super::side::{Places, Side};
use super::sse_event::{Decoder, Event};
use super::timings::Timings;
use super::tls::Trust;
use super::wire::{WireError, exchange_stream, next_id, within};
use crate::pods::Pin;
use crate::snapshot::Endpoint;

/// An open stream. Dropping it closes the stream, which ends the session at the server.
#[derive(Debug)]
pub struct SseSession {
    pub desk: Arc<Desk>,
    pub side: Side,
    reader: JoinHandle<()>,
    pub timings: Timings,
    /// Where the stream leads: messages must go there, too.
    pub pin: Pin,
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
    pub async fn open(
        endpoint: &Arc<Endpoint>,
        places: &Places,
        news: &News,
        to: To,
        deadline: Instant,
    ) -> Result<Self, WireError> {
        let tls = Trust::Machine;
        let (mut link, timings) = Link::dial_to(endpoint, &tls, to, None, deadline).await?;
        let pin = link.pin;
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
        let url = post_url(&endpoint.url, &first)?;
        let side = Side::plain(endpoint, &tls, places, To::Pinned(pin), url);
        let desk = Arc::new(Desk::default());
        let reader = Reader {
            body,
            decoder,
            desk: Arc::clone(&desk),
            side: side.clone(),
            news: news.clone(),
        };
        let reader = tokio::spawn(reader.run(link));
        Ok(Self {
            desk,
            side,
            reader,
            timings,
            pin,
        })
    }

    /// The answer to a question that nobody listens to on the way.
    ///
    /// # Errors
    /// The POST was not accepted, and what happens to the stream until the answer.
    pub async fn answer(
        &self,
        method: &str,
        params: Option<&str>,
        deadline: Instant,
    ) -> Result<message::Answer, WireError> {
        let id = next_id();
        let mut inbox = self.desk.join(&id, Hears::AnswerAlone)?;
        let asked = async {
            let body = jsonrpc::write_request(&id, method, params);
            self.side.send(body, deadline).await?;
            loop {
                match within(deadline, inbox.recv()).await? {
                    Some(Ok(Inbound::Response { answer, .. })) => return Ok(answer),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Err(lost("the stream ended")),
                }
            }
        }
        .await;
        self.desk.leave(&id);
        asked
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
        let body = jsonrpc::write_notification(method, params);
        self.side.send(body, deadline).await
    }

    /// The stream is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.desk.is_lost()
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
struct Reader {
    body: hyper::body::Incoming,
    decoder: Decoder,
    desk: Arc<Desk>,
    side: Side,
    news: News,
}

impl Reader {
    /// Reads the stream to its end. Holds the link, so that the stream lives as long as the task.
    async fn run(mut self, link: Link) {
        let why = loop {
            match step(&mut self.body, &mut self.decoder).await {
                Ok(messages) => {
                    for message in messages {
                        hear(message, &self.desk, &self.side, &self.news);
                    }
                }
                Err(error) => break error,
            }
        };
        self.desk.fail(&why);
        drop(link);
    }
}

/// Hands on what was said on a stream of a session: news to the registry, pings answered here, the
/// rest to whom it belongs.
pub(super) fn hear(message: Inbound, desk: &Desk, side: &Side, news: &News) {
    match &message {
        Inbound::Notification(text) if message::changes_a_list(text) => {
            // In its place among what a call hears, if there is one; told to the registry anyway.
            if !desk.tell_a_call(message) {
                news.hear();
            }
            return;
        }
        Inbound::Request { id, method, .. } if &**method == method::PING => {
            return side.refuse(id, method);
        }
        _ => {}
    }
    if let Some((id, method)) = desk.hear(message) {
        side.refuse(&id, &method);
    }
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

fn lost(why: &str) -> WireError {
    WireError::Lost(why.to_owned())
}

#[cfg(test)]
mod tests;
