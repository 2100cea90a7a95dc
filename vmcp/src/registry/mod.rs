//! The single writer of everything that is known about backends.
//!
//! Owns the task that takes events one after the other, publishes a whole new snapshot when readers
//! would see a difference, and only then lets runtimes begin and end (R4.3, R4.12): whoever reads
//! the newest snapshot never meets a backend that is already closed. Exists so that there is no
//! lock across backends and no second opinion (R4.8, R0.7).

mod event;
mod lists;
mod publish;
mod seen;
mod slot;
mod state;
mod step;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use event::{Cause, EVENT_QUEUE, Effect, Event, Events, Plan, Probed, Runtime, Want};
pub use publish::Publication;

pub use state::State;
pub use step::Moment;

use crate::clock::{Clock, Dice};
use crate::gateway::port::Observation;
use crate::shelf::Stock;
use crate::snapshot::{Snapshot, SnapshotReader};

/// Observations that wait; what does not fit is lost, never waited for.
pub const OBSERVATION_QUEUE: usize = 1024;

/// Events that may be taken before a publication: bounds how stale readers get in a storm, and
/// coalesces bursts into one snapshot (R4.11).
const BURST: usize = 256;

/// The registry before it runs.
#[derive(Debug)]
pub struct Registry {
    state: State,
    clock: Clock,
    dice: Dice,
    events: mpsc::Receiver<Event>,
    observations: mpsc::Receiver<Observation>,
    current: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<u64>,
}

/// The doors to a registry.
#[derive(Clone, Debug)]
pub struct Doors {
    pub events: Events,
    /// Sent to with `try_send`.
    pub observations: mpsc::Sender<Observation>,
    pub snapshots: SnapshotReader,
    /// The clock of all its ticks.
    pub clock: Clock,
}

impl Registry {
    /// A registry that knows nothing, and the doors to it.
    #[must_use]
    pub fn new(clock: Clock) -> (Self, Doors) {
        let (events_door, events) = mpsc::channel(EVENT_QUEUE);
        let (observations_door, observations) = mpsc::channel(OBSERVATION_QUEUE);
        let mut state = State::new(Publication::new(clock));
        let first = state.snapshot(clock.now());
        let (changed, reader) = watch::channel(first.revision);
        let current = Arc::new(ArcSwap::from_pointee(first));
        let doors = Doors {
            events: events_door,
            observations: observations_door,
            snapshots: SnapshotReader {
                current: Arc::clone(&current),
                changed: reader,
            },
            clock,
        };
        let dice = Dice::default();
        (
            Self {
                state,
                clock,
                dice,
                events,
                observations,
                current,
                changed,
            },
            doors,
        )
    }

    /// With lists from before the start: a backend has its own from its first moment.
    #[must_use]
    pub fn with_stock(mut self, stock: Stock) -> Self {
        self.state.stock(stock);
        self
    }

    /// Takes events until cancelled, then ends every runtime.
    pub async fn run(mut self, mut runtime: impl Runtime, cancel: CancellationToken) {
        let mut effects = Vec::new();
        loop {
            let deadline = self.state.deadline(self.clock.now());
            let wake = deadline.map(|tick| self.clock.instant(tick));
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(event) = self.events.recv() => self.take(event, &mut effects),
                Some(seen) = self.observations.recv() => self.observe(&seen, &mut effects),
                () = sleep_until(wake) => self.state.touch(),
            }
            self.take_burst(&mut effects);
            self.publish();
            effects.drain(..).for_each(|effect| runtime.apply(effect));
        }
        self.state.close(&mut effects);
        effects.drain(..).for_each(|effect| runtime.apply(effect));
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            jitter: self.dice.roll(),
        }
    }

    fn take(&mut self, event: Event, effects: &mut Vec<Effect>) {
        let moment = self.moment();
        self.state.step(event, moment, effects);
    }

    fn observe(&mut self, seen: &Observation, effects: &mut Vec<Effect>) {
        let moment = self.moment();
        self.state.observe(seen, moment, effects);
    }

    fn take_burst(&mut self, effects: &mut Vec<Effect>) {
        for _ in 0..BURST {
            if let Ok(event) = self.events.try_recv() {
                self.take(event, effects);
            } else if let Ok(seen) = self.observations.try_recv() {
                self.observe(&seen, effects);
            } else {
                return;
            }
        }
    }

    fn publish(&mut self) {
        if let Some(snapshot) = self.state.publish(self.clock.now()) {
            let revision = snapshot.revision;
            self.current.store(Arc::new(snapshot));
            self.changed.send_replace(revision);
        }
    }
}

async fn sleep_until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
