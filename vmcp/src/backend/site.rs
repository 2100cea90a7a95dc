//! Where one runtime of a backend is, for everything that is opened there.
//!
//! Owns what its sessions share: address, trust, the places for messages beside calls, and what is
//! known of its streams. Opens connections, and keeps none.

use std::sync::Arc;

use tokio::time::Instant;

use vmcp_core::jsonrpc::RequestId;
use vmcp_core::limits::UNPROCESSED_REPEATS;

use super::announce::News;
use super::ear::Ears;
use super::link::{Link, Outgoing};
use super::outgoing::Address;
use super::reach::To;
use super::reply::Reply;
use super::side::Places;
use super::tls::Trust;
use super::wire::{self, WireError};
use crate::near::PerLane;
use crate::snapshot::Endpoint;

/// One runtime of a backend, as its sessions see it.
#[derive(Debug)]
pub struct Site {
    pub endpoint: Arc<Endpoint>,
    /// Of its URL.
    address: PerLane<Option<Address>>,
    pub tls: Trust,
    pub places: Places,
    pub ears: Ears,
    pub news: News,
}

impl Site {
    #[must_use]
    pub fn new(endpoint: &Arc<Endpoint>) -> Arc<Self> {
        Arc::new(Self {
            endpoint: Arc::clone(endpoint),
            address: PerLane::default(),
            tls: Trust::Machine,
            places: Places::default(),
            ears: Ears::default(),
            news: News::default(),
        })
    }

    /// Where its requests go, as their heads say it; `None` where no request can be written.
    pub fn address(&self) -> Option<&Address> {
        let endpoint = &self.endpoint;
        let made = || Address::of(&endpoint.url, endpoint).ok();
        self.address.here_or(made).as_ref()
    }

    /// A new connection, to whoever is meant.
    ///
    /// # Errors
    /// As [`Link::dial_to`].
    pub async fn dial(&self, to: To, deadline: Instant) -> Result<Link, WireError> {
        let dialled = Link::dial_to(&self.endpoint, &self.tls, to, None, deadline);
        dialled.await.map(|(link, _)| link)
    }

    /// Sends a message on a new connection and reads the head of its reply. What was never processed
    /// is sent again.
    ///
    /// # Errors
    /// As [`wire::exchange`] and [`Link::dial_to`].
    pub async fn exchange(
        &self,
        to: To,
        request: Outgoing,
        expects: &RequestId,
        deadline: Instant,
    ) -> Result<(Link, Reply), WireError> {
        let mut again = UNPROCESSED_REPEATS;
        loop {
            let mut link = self.dial(to, deadline).await?;
            match wire::exchange(&mut link, request.clone(), expects, deadline).await {
                Err(WireError::Unsent) if again > 0 => again -= 1,
                reply => return reply.map(|reply| (link, reply)),
            }
        }
    }

    /// As [`Self::exchange`], for what wants no answer: the HTTP status.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub async fn tell(
        &self,
        to: To,
        request: Outgoing,
        deadline: Instant,
    ) -> Result<u16, WireError> {
        let mut again = UNPROCESSED_REPEATS;
        loop {
            let mut link = self.dial(to, deadline).await?;
            match wire::tell(&mut link, request.clone(), deadline).await {
                Err(WireError::Unsent) if again > 0 => again -= 1,
                told => return told,
            }
        }
    }
}
