//! One step of the state: when it is made, and what of it readers would see.

use vmcp_core::backoff::Jitter;
use vmcp_core::time::Tick;

/// Time and chance of one step.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Tick,
    pub jitter: Jitter,
}

/// What a slot's readers would see of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Health or settings.
    pub view: bool,
    /// What is listed, or how.
    pub catalog: bool,
}

impl Dirty {
    pub fn merge(&mut self, other: Self) {
        self.view |= other.view;
        self.catalog |= other.catalog;
    }
}
