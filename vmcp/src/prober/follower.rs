//! The watch stream of one runtime, kept up while the backend is well.
//!
//! Owns when another stream is asked for: each try may cost the backend a session, so one that does
//! not serve it is left alone (T2, T7). Nothing depends on the stream: lists are read once a minute
//! anyway.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;

use vmcp_core::time::Tick;

use super::Checker;
use super::task::Task;
use crate::backend::watch::{Ended, OnChange};
use crate::registry::Event;

/// After a stream ended; doubled each time that one did not stand.
const FIRST_PAUSE: Duration = Duration::from_secs(15);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(600);

/// A stream that lived this long stood. Above the minute after which proxies cut a silent one.
const STOOD: Duration = Duration::from_secs(120);

/// At most one stream at a time.
#[derive(Debug)]
pub(super) struct Follower {
    state: State,
    pause: Duration,
}

#[derive(Debug)]
enum State {
    /// Until then nobody follows.
    Resting(Tick),
    Running {
        begun: Tick,
        stream: JoinHandle<(Ended, Tick)>,
    },
    /// Never again in this generation.
    Refused,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            state: State::Resting(Tick::default()),
            pause: FIRST_PAUSE,
        }
    }
}

impl Follower {
    /// Begins to follow, where the backend announces changes and nobody does yet. To be asked after
    /// each good check.
    pub(super) fn keep_up<C: Checker>(&mut self, task: &Task<C>, memory: &C::Memory) {
        let now = task.clock.now();
        self.settle(now);
        if matches!(self.state, State::Resting(until) if until <= now) {
            self.begin(task, memory, now);
        }
    }

    /// Takes note of a stream that ended.
    fn settle(&mut self, now: Tick) {
        let State::Running { begun, stream } = &mut self.state else {
            return;
        };
        let Some(joined) = stream.now_or_never() else {
            return;
        };
        let (ended, at) = joined.unwrap_or((Ended::Broken, now));
        if at.since(*begun) >= STOOD {
            self.pause = FIRST_PAUSE;
        }
        self.state = match ended {
            Ended::Refused => State::Refused,
            Ended::Broken => State::Resting(at.after(self.pause)),
        };
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    fn begin<C: Checker>(&mut self, task: &Task<C>, memory: &C::Memory, now: Tick) {
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
        let clock = task.clock;
        if let Some(follow) = follow {
            let stream = task.tasks.spawn(async move { (follow.await, clock.now()) });
            self.state = State::Running { begun: now, stream };
        }
    }
}
