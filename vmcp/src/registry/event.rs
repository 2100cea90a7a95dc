//! What the registry is told, and what it wants done.
//!
//! Owns the messages on both sides of the state. Exists so that the state itself does nothing: it
//! answers each event with effects, and a test can read them.

use std::sync::Arc;

use tokio::sync::mpsc;

use vmcp_core::catalog::Catalog;
use vmcp_core::health::Outcome;
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::time::Tick;

use crate::discovery::desired::Desired;
use crate::metrics::Durations;
use crate::snapshot::Endpoint;

/// The one door to the registry; bounded, and senders wait.
pub type Events = mpsc::Sender<Event>;

/// Places in the door: one for each backend that a gateway can have.
pub const EVENT_QUEUE: usize = 1024;

/// News for the registry.
#[derive(Debug)]
pub enum Event {
    /// The whole desired state.
    Discovered(Box<Desired>),
    /// A desired state that cannot be used; the one before stays.
    Rejected { message: String },
    /// A check ended.
    Probed(Box<Probed>),
    /// The addresses behind a Service changed.
    WakeService { service: Box<str> },
    /// A backend says that its list changed.
    ListChanged {
        id: BackendId,
        generation: Generation,
    },
}

/// A check that ended, and whose it was.
#[derive(Debug)]
pub struct Probed {
    pub id: BackendId,
    pub generation: Generation,
    pub outcome: Outcome,
    /// Where the check read the tools.
    pub catalog: Option<Catalog>,
    pub durations: Durations,
}

/// How much a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// Does it live?
    Liveness,
    /// And what are its tools?
    Catalogue,
}

/// When the next check of a backend is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub at: Tick,
    pub want: Want,
    pub timeout: std::time::Duration,
    /// Grows with each event that asks for a check at once.
    pub wakes: u64,
    /// Checks of this generation that the registry has taken in.
    pub taken: u64,
}

/// What is to be done outside, after the publication.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A runtime of this generation begins: check it.
    Attach {
        id: BackendId,
        generation: Generation,
        endpoint: Arc<Endpoint>,
        plan: Plan,
    },
    /// The runtime of this generation ends: stop checks at once, close, end sessions.
    Detach {
        id: BackendId,
        generation: Generation,
        cause: Cause,
    },
    /// The next check of a runtime that is attached.
    Plan {
        id: BackendId,
        generation: Generation,
        plan: Plan,
    },
}

/// Why a runtime ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another generation takes its place: calls under way may finish.
    Renewed,
    /// The backend is gone.
    Removed,
}

/// Performs effects. Must not wait: whatever takes time is spawned.
pub trait Runtime: Send + 'static {
    fn apply(&mut self, effect: Effect);
}
