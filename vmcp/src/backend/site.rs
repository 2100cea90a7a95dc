//! Where one runtime of a backend is, for everything that is opened there.
//!
//! Owns what its sessions share: address, trust, the places for messages beside calls, and what is
//! known of its streams. Opens nothing itself.

use std::sync::Arc;

use super::announce::News;
use super::ear::Ears;
use super::side::Places;
use super::tls::Trust;
use crate::snapshot::Endpoint;

/// One runtime of a backend, as its sessions see it.
#[derive(Debug)]
pub struct Site {
    pub endpoint: Arc<Endpoint>,
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
            tls: Trust::Machine,
            places: Places::default(),
            ears: Ears::default(),
            news: News::default(),
        })
    }
}
