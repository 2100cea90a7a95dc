//! The work queue of a controller: each key at most once at a time, a key that is added
//! while it is worked on comes again, and each visit says when the next one is due.
//!
//! Bounded by the number of objects: a key is there once. Time is tokio's, so that tests
//! run on paused time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{ERROR_DELAY_MAX, ERROR_DELAY_MIN, RACE_DELAY_MAX, RACE_DELAY_MIN};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// When to come again without any event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Only for an event.
    OnEvent,
    /// After this long at the latest.
    After(Duration),
    /// It failed: after a delay that grows with each failure in a row.
    Failed,
    /// Somebody was faster: at once, and slower with each time in a row.
    Raced,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Key>,
    waiting: HashSet<Key>,
    running: HashSet<Key>,
    /// Added while running.
    again: HashSet<Key>,
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
    races: HashMap<Key, u32>,
}

impl Queue {
    /// Makes a visit due now.
    pub fn add(&self, key: Key) {
        let mut state = self.lock();
        state.add(key);
        drop(state);
        self.wake.notify_one();
    }

    /// The next key; it is running until [`Queue::done`].
    pub async fn next(&self) -> Key {
        loop {
            let wake = self.wake.notified();
            let due = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.due.values().min().copied()
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, wake).await;
                }
                None => wake.await,
            }
        }
    }

    /// Ends a visit.
    pub fn done(&self, key: &Key, next: Next) {
        let mut state = self.lock();
        state.done(key, next, Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    /// Keys that wait for a worker now.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn promote(&mut self, now: Instant) {
        let due: Vec<Key> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        // Each visit decides anew when the next one is due.
        self.due.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: &Key, next: Next, now: Instant) {
        self.running.remove(key);
        if next != Next::Failed {
            self.failures.remove(key);
        }
        if next != Next::Raced {
            self.races.remove(key);
        }
        match next {
            Next::OnEvent => {}
            Next::After(delay) => {
                self.due.insert(key.clone(), now + delay);
            }
            Next::Failed => {
                let delay = grown(&mut self.failures, key, ERROR_DELAY_MIN..=ERROR_DELAY_MAX);
                self.due.insert(key.clone(), now + delay);
            }
            Next::Raced => {
                let delay = grown(&mut self.races, key, RACE_DELAY_MIN..=RACE_DELAY_MAX);
                self.due.insert(key.clone(), now + delay);
            }
        }
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }
}

/// Counts one more in a row, and doubles the delay with each.
fn grown(counts: &mut HashMap<Key, u32>, key: &Key, bounds: RangeInclusive<Duration>) -> Duration {
    let count = counts.entry(key.clone()).or_default();
    let doubled = 2_u32.saturating_pow(*count);
    *count = count.saturating_add(1);
    bounds.start().saturating_mul(doubled).min(*bounds.end())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::{Key, Next, Queue};

    fn key(name: &str) -> Key {
        Key::new("team", name)
    }

    async fn is_quiet(queue: &Queue) -> bool {
        timeout(Duration::from_millis(1), queue.next())
            .await
            .is_err()
    }

    /// Decision 9: an object has one visitor at a time, and no event is lost meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_it_is_worked_on_comes_again_afterwards() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));

        queue.add(key("a"));
        assert!(is_quiet(&queue).await);
        queue.done(&key("a"), Next::OnEvent);

        assert_eq!(queue.next().await, key("a"));
        queue.done(&key("a"), Next::OnEvent);
        assert!(is_quiet(&queue).await);
        assert_eq!(queue.depth(), 0);
    }

    /// R2.8: an object is looked at again when something is due, without any event.
    #[tokio::test(start_paused = true)]
    async fn a_due_visit_happens_in_time_and_a_visit_decides_anew_when_the_next_one_is_due() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(key("a"));
        queue.next().await;
        queue.done(&key("a"), Next::After(Duration::from_secs(3)));

        queue.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        queue.done(&key("a"), Next::OnEvent);

        assert!(
            timeout(Duration::from_secs(3600), queue.next())
                .await
                .is_err()
        );
    }

    /// Build 4: no hot loop on an error, and never a final one.
    #[tokio::test(start_paused = true)]
    async fn the_delay_after_failures_grows_to_its_bound_and_a_success_forgets_them() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut delays = Vec::new();
        for _ in 0..9 {
            let before = Instant::now();
            queue.next().await;
            delays.push(before.elapsed().as_millis());
            queue.done(&key("a"), Next::Failed);
        }
        assert_eq!(
            delays,
            [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );

        queue.next().await;
        queue.done(&key("a"), Next::After(Duration::ZERO));
        queue.next().await;
        queue.done(&key("a"), Next::Failed);

        let before = Instant::now();
        queue.next().await;
        assert_eq!(before.elapsed(), Duration::from_millis(500));
    }

    /// Build 4: a lost race is over at once, and one that lasts is no hot loop.
    #[tokio::test(start_paused = true)]
    async fn the_delay_after_races_grows_to_its_bound_and_a_visit_without_one_forgets_them() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut delays = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            queue.next().await;
            delays.push(before.elapsed().as_millis());
            queue.done(&key("a"), Next::Raced);
        }
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000]);

        queue.next().await;
        queue.done(&key("a"), Next::After(Duration::ZERO));
        queue.next().await;
        queue.done(&key("a"), Next::Raced);

        let before = Instant::now();
        queue.next().await;
        assert_eq!(before.elapsed(), Duration::from_millis(100));
    }

    /// Build 4: one object that takes long holds up no other.
    #[tokio::test(start_paused = true)]
    async fn two_workers_get_two_keys() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("b"));

        let (first, second) = tokio::join!(queue.next(), queue.next());

        assert_ne!(first, second);
    }
}
