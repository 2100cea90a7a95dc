//! Messages beside calls: answers to a backend's requests, cancellations, notifications.
//!
//! Owns where they go and how many are on their way at once, each on a connection of its own, for
//! that of the call is taken by its reply. Never repeats one: what is lost here the backend waits
//! for in vain, as it would with a client that went away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use vmcp_core::jsonrpc::RequestId;
use vmcp_core::limits::ASIDE;
use vmcp_core::mcp::ProtocolVersion;

use super::link::Link;
use super::message;
use super::outgoing::{self, Last, SessionId, Voice};
use super::reach::To;
use super::tls::Trust;
use super::wire::{Refusal, WireError, tell, within};
use crate::snapshot::Endpoint;

/// Telling a backend that nobody waits any more must not outlive the call by much.
pub const SIDE_MESSAGE_WITHIN: Duration = Duration::from_secs(2);

/// The answer of a client took a person's time; it may take ours.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Places for messages beside calls, shared by all that speaks to one runtime of a backend.
#[derive(Clone, Debug)]
pub struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ASIDE)))
    }
}

/// The way to one session of a backend.
#[derive(Clone, Debug)]
pub struct Side {
    endpoint: Arc<Endpoint>,
    tls: Trust,
    places: Places,
    /// Where the session lives.
    to: To,
    speech: Speech,
}

#[derive(Clone, Debug)]
enum Speech {
    /// 2024-11-05: to the URL that the stream named.
    Plain(Url),
    Legacy {
        version: ProtocolVersion,
        session: Option<SessionId>,
    },
}

impl Side {
    #[must_use]
    pub fn legacy(
        endpoint: &Arc<Endpoint>,
        tls: &Trust,
        places: &Places,
        to: To,
        (version, session): (ProtocolVersion, Option<&SessionId>),
    ) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            tls: tls.clone(),
            places: places.clone(),
            to,
            speech: Speech::Legacy {
                version,
                session: session.cloned(),
            },
        }
    }

    #[must_use]
    pub fn plain(endpoint: &Arc<Endpoint>, tls: &Trust, places: &Places, to: To, url: Url) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            tls: tls.clone(),
            places: places.clone(),
            to,
            speech: Speech::Plain(url),
        }
    }

    /// Sends one message on a connection of its own and awaits that it was taken.
    ///
    /// # Errors
    /// Any status but 2xx is `Refused`.
    pub async fn send(&self, body: Vec<u8>, deadline: Instant) -> Result<(), WireError> {
        let request = match &self.speech {
            Speech::Plain(url) => outgoing::post_to(url, &self.endpoint, Voice::Plain, body)?,
            Speech::Legacy { version, session } => {
                let voice = Voice::Legacy {
                    version: *version,
                    session: session.as_ref(),
                };
                outgoing::post(&self.endpoint, voice, body)?
            }
        };
        let dialled = Link::dial_to(&self.endpoint, &self.tls, self.to, None, deadline);
        let (mut link, _) = dialled.await?;
        match tell(&mut link, outgoing::ending(request, Last::Yes), deadline).await? {
            200..=299 => Ok(()),
            status => Err(WireError::Refused(Box::new(Refusal {
                status,
                ..Refusal::default()
            }))),
        }
    }

    /// Sends a message in the background. Waits for its place: calls bound how many there are.
    pub fn tell(&self, body: Vec<u8>) {
        let place = Arc::clone(&self.places.0).acquire_owned();
        self.spawn(body, SIDE_MESSAGE_WITHIN, async { place.await.ok() });
    }

    /// Sends the answer of a client in the background.
    pub fn answer(&self, body: Vec<u8>) {
        let place = Arc::clone(&self.places.0).acquire_owned();
        self.spawn(body, ANSWER_WITHIN, async { place.await.ok() });
    }

    /// Answers a request of the backend's ourselves: a ping well, all else with a refusal. Dropped
    /// where too many are being answered: nothing but the backend's own restraint bounds how many
    /// there are.
    pub fn refuse(&self, id: &RequestId, method: &str) {
        match Arc::clone(&self.places.0).try_acquire_owned() {
            Ok(place) => {
                let body = message::reply_to(id, method);
                let place = std::future::ready(Some(place));
                self.spawn(body, SIDE_MESSAGE_WITHIN, place);
            }
            Err(_) => tracing::debug!(method, "request of a server dropped"),
        }
    }

    fn spawn(
        &self,
        body: Vec<u8>,
        limit: Duration,
        place: impl Future<Output = Option<OwnedSemaphorePermit>> + Send + 'static,
    ) {
        let side = self.clone();
        tokio::spawn(async move {
            let deadline = Instant::now() + limit;
            let told = async {
                let _place = within(deadline, place).await?;
                side.send(body, deadline).await
            };
            if let Err(error) = told.await {
                tracing::debug!(url = %side.endpoint.url, %error, "side message not sent");
            }
        });
    }
}
