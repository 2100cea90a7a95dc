//! The health monitor: one task for each live runtime.
//!
//! Owns when a check is made and that it ends; what a check does is the backend's business, what it
//! means the registry's. A task lives as long as its generation: nothing probes a backend that is
//! removed (R2.8), and a backend that hangs holds up its own task only (R1.14, R4.8). Never shares a
//! connection with traffic, nor with an earlier check: each cycle builds its own (R2.2).

mod follower;
mod live;
mod task;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vmcp_core::catalog::Catalog;
use vmcp_core::health::Outcome;
use vmcp_core::id::{BackendId, Generation};

use crate::backend::watch::{Ended, OnChange};
use crate::clock::Clock;
use crate::metrics::Durations;
use crate::registry::{Cause, Effect, Events, Plan, Runtime, Want};
use crate::snapshot::Endpoint;

pub use live::LiveChecker;
use task::Task;

/// Makes checks.
pub trait Checker: Send + Sync + fmt::Debug + 'static {
    /// What one check hands to the next: the health session.
    type Memory: Default + Send + 'static;

    /// One check over connections of its own, ended after `deadline` at the latest.
    fn check(
        &self,
        endpoint: Arc<Endpoint>,
        memory: Self::Memory,
        want: Want,
        deadline: Duration,
    ) -> BoxFuture<'static, Checked<Self::Memory>>;

    /// Follows what the backend says about its list until `cancel`; `None` where it says nothing.
    fn follow(
        &self,
        endpoint: Arc<Endpoint>,
        memory: &Self::Memory,
        changed: OnChange,
        cancel: CancellationToken,
    ) -> Option<BoxFuture<'static, Ended>>;

    /// Ends what the memory holds at the backend (T7).
    fn end(&self, endpoint: Arc<Endpoint>, memory: Self::Memory) -> BoxFuture<'static, ()>;
}

/// What one check found.
#[derive(Debug)]
pub struct Checked<M> {
    pub outcome: Outcome,
    pub catalog: Option<Catalog>,
    pub durations: Durations,
    pub memory: M,
}

/// Closes the traffic side of a runtime. Must not wait.
pub type OnDetach = Box<dyn Fn(&BackendId, Generation, Cause) + Send>;

/// All live runtimes, as the registry wants them.
pub struct Fleet<C> {
    checker: Arc<C>,
    clock: Clock,
    events: Events,
    on_detach: OnDetach,
    tasks: TaskTracker,
    lives: HashMap<(BackendId, Generation), Life>,
}

struct Life {
    plan: watch::Sender<Plan>,
    cancel: CancellationToken,
}

impl<C> fmt::Debug for Fleet<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("lives", &self.lives.len())
            .finish_non_exhaustive()
    }
}

impl<C: Checker> Fleet<C> {
    #[must_use]
    pub fn new(checker: C, clock: Clock, events: Events, on_detach: OnDetach) -> Self {
        Self {
            checker: Arc::new(checker),
            clock,
            events,
            on_detach,
            tasks: TaskTracker::new(),
            lives: HashMap::new(),
        }
    }

    /// The tasks, to be waited for after the last runtime was detached.
    #[must_use]
    pub fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }
}

impl<C: Checker> Runtime for Fleet<C> {
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Attach {
                id,
                generation,
                endpoint,
                plan,
            } => {
                let (sender, receiver) = watch::channel(plan);
                let cancel = CancellationToken::new();
                let task = Task {
                    id: id.clone(),
                    generation,
                    endpoint,
                    checker: Arc::clone(&self.checker),
                    clock: self.clock,
                    events: self.events.clone(),
                    plan: receiver,
                    cancel: cancel.clone(),
                    tasks: self.tasks.clone(),
                };
                self.tasks.spawn(task.run());
                self.lives.insert(
                    (id, generation),
                    Life {
                        plan: sender,
                        cancel,
                    },
                );
            }
            Effect::Detach {
                id,
                generation,
                cause,
            } => {
                (self.on_detach)(&id, generation, cause);
                if let Some(life) = self.lives.remove(&(id, generation)) {
                    life.cancel.cancel();
                }
            }
            Effect::Plan {
                id,
                generation,
                plan,
            } => {
                if let Some(life) = self.lives.get(&(id, generation)) {
                    life.plan.send_replace(plan);
                }
            }
        }
    }
}
