//! Connections of traffic to one generation of one backend, for the next call.
//!
//! Owns who may be used again and for how long: idle ones, and those of HTTP/2 while others use
//! them (`shared`). A request of a session only takes one to where the session lives. Only
//! traffic comes here: a check takes none and gives none back (R2.2). The lock is held for a push or
//! a pop, never across an await.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::limits::{BACKEND_IDLE, IN_FLIGHT, UNREPEATABLE_IDLE};

use super::link::Link;
use super::reach::To;
use super::shared::{Shared, Turn};
use crate::gateway::port::Repeat;
use crate::near::PerLane;

/// A server that says `Keep-Alive: timeout=5` closes at 5 s; this much earlier we stop using it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Connections that nobody uses right now.
#[derive(Debug)]
pub struct Pool {
    /// Of each lane its own: another thread would be woken for what they bring.
    idle: PerLane<Mutex<Vec<Idle>>>,
    /// Connections of all lanes, idle or not.
    open: Arc<AtomicU64>,
    shared: Shared,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: Instant,
    keep: Duration,
}

impl Pool {
    /// Of the connections that are counted so.
    #[must_use]
    pub fn new(open: Arc<AtomicU64>) -> Self {
        Self {
            idle: PerLane::default(),
            open,
            shared: Shared::default(),
        }
    }

    /// The connection that was used last, if it is fit for this request. A request that must not
    /// run twice takes only one that was used just now: the older, the likelier that the server is
    /// closing it as we write (T19).
    #[must_use]
    pub fn take(&self, repeat: Repeat, to: To) -> Option<Link> {
        if let Some(link) = self.shared.take(repeat, to) {
            return Some(link);
        }
        let now = Instant::now();
        let mut stale = Vec::new();
        let found = {
            let mut idle = self.idle_here();
            loop {
                let Some(at) = idle.iter().rposition(|one| to.admits(one.link.pin)) else {
                    break None;
                };
                let mut last = idle.remove(at);
                let age = now.saturating_duration_since(last.since);
                if age >= last.keep || !last.link.is_open() {
                    stale.push(last);
                } else if repeat == Repeat::IfUnsent && age >= UNREPEATABLE_IDLE {
                    // All below it are older.
                    idle.insert(at, last);
                    break None;
                } else {
                    break Some(last.link);
                }
            }
        };
        drop(stale);
        found
    }

    /// To be waited for before a connection is opened: where they take many requests, one is opened
    /// at a time.
    pub async fn turn(&self, deadline: Instant) -> Option<Turn<'_>> {
        self.shared.turn(deadline).await
    }

    /// A place on a connection that was opened meanwhile.
    #[must_use]
    pub fn share(&self, repeat: Repeat, to: To) -> Option<Link> {
        self.shared.take(repeat, to)
    }

    /// Notes a new connection, for others to use at the same time if they can.
    pub fn opened(&self, link: &Link) {
        self.shared.opened(link);
    }

    /// Gives a connection that did not take a request to nobody any more.
    pub fn retire(&self, link: &Link) {
        self.shared.retire(link);
    }

    /// Takes back a connection whose last answer was read to its end. Whether it still is open is seen
    /// by whoever takes it, or by the sweep.
    pub fn put(&self, link: Link, keep_alive: Option<Duration>) {
        if link.shared().is_some() {
            return self.shared.put(&link);
        }
        let keep = idle_limit(keep_alive);
        if keep.is_zero() {
            return;
        }
        // All are counted only where there are more than that: those of calls that wait for their
        // client are not idle.
        let few = self.open.load(Ordering::Relaxed) <= IN_FLIGHT as u64;
        if few || self.len() < IN_FLIGHT {
            self.idle_here().push(Idle {
                link,
                since: Instant::now(),
                keep,
            });
        }
    }

    /// Closes what was idle for too long.
    pub fn sweep(&self) {
        self.shared.sweep();
        let now = Instant::now();
        for idle in self.idle.iter() {
            let stale: Vec<Idle> = lock(idle)
                .extract_if(.., |one| {
                    now.saturating_duration_since(one.since) >= one.keep || !one.link.is_open()
                })
                .collect();
            drop(stale);
        }
    }

    /// Closes everything.
    pub fn clear(&self) {
        self.shared.clear();
        for idle in self.idle.iter() {
            let all = std::mem::take(&mut *lock(idle));
            drop(all);
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.iter().map(|idle| lock(idle).len()).sum::<usize>() + self.shared.idle()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn idle_here(&self) -> MutexGuard<'_, Vec<Idle>> {
        lock(self.idle.here())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a connection may lie idle: ours, or a second less than the server's own.
fn idle_limit(keep_alive: Option<Duration>) -> Duration {
    match keep_alive {
        Some(timeout) => BACKEND_IDLE.min(timeout.saturating_sub(KEEP_ALIVE_MARGIN)),
        None => BACKEND_IDLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shared limits: idle 4 s, or `Keep-Alive: timeout` less 1 s where that is shorter.
    #[test]
    fn the_servers_own_limit_counts_where_it_is_shorter() {
        assert_eq!(idle_limit(None), Duration::from_secs(4));
        assert_eq!(
            idle_limit(Some(Duration::from_secs(60))),
            Duration::from_secs(4)
        );
        assert_eq!(
            idle_limit(Some(Duration::from_secs(3))),
            Duration::from_secs(2)
        );
        assert_eq!(idle_limit(Some(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(idle_limit(Some(Duration::ZERO)), Duration::ZERO);
    }
}
