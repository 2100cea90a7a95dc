//! Does a backend's catalogue stay visible while it is down? (R4.5)

use std::time::Duration;

use crate::health::{Observed, State};
use crate::time::Tick;

/// `catalog.policy` of an MCPServer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CatalogPolicy {
    /// Last-good until the backend is removed.
    #[default]
    Keep,
    /// Last-good for this long after it became Unhealthy.
    KeepFor(Duration),
    /// Gone while it is Unhealthy.
    Hide,
}

/// Is the last-good catalogue to be seen now? Only Unhealthy counts as down: a credential problem
/// takes no tool away (T3).
#[must_use]
pub fn published(policy: CatalogPolicy, observed: &Observed, now: Tick) -> bool {
    if observed.state != State::Unhealthy {
        return true;
    }
    match policy {
        CatalogPolicy::Keep => true,
        CatalogPolicy::KeepFor(time) => now.since(observed.since) < time,
        CatalogPolicy::Hide => false,
    }
}
