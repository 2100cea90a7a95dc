//! The watch stream of one runtime, kept up while the backend is well.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use vmcp_core::time::Tick;

use super::Checker;
use super::task::Task;
use crate::backend::watch::OnChange;
use crate::registry::Event;

/// A stream that ends at once, again and again, must not become a storm.
const AGAIN: Duration = Duration::from_secs(15);

/// At most one stream at a time.
#[derive(Debug, Default)]
pub(super) struct Follower {
    running: Option<JoinHandle<()>>,
    begun: Option<Tick>,
}

impl Follower {
    /// Begins to follow, where the backend announces changes and nobody does yet. To be asked after
    /// each good check.
    pub(super) fn keep_up<C: Checker>(&mut self, task: &Task<C>, memory: &C::Memory) {
        let now = task.clock.now();
        let running = self
            .running
            .as_ref()
            .is_some_and(|running| !running.is_finished());
        if running || self.begun.is_some_and(|at| now.since(at) < AGAIN) {
            return;
        }
        let (events, id, generation) = (task.events.clone(), task.id.clone(), task.generation);
        // A full queue loses an announcement; the list is read once a minute anyway.
        let changed = OnChange::new(move || {
            _ = events.try_send(Event::ListChanged {
                id: id.clone(),
                generation,
            });
        });
        let endpoint = Arc::clone(&task.endpoint);
        let follow = task
            .checker
            .follow(endpoint, memory, changed, task.cancel.clone());
        self.running = follow.map(|follow| task.tasks.spawn(follow));
        self.begun = Some(now);
    }
}
