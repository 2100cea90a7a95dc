//! Connections of HTTP/2 that calls use at the same time.
//!
//! Owns which of them takes one more request, and that only one is opened at a time: without that
//! each of many calls that begin together would open its own. Idle ones end as those of HTTP/1.1
//! do. The lock is held for a look, never across an await.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync;
use tokio::time::{Instant, timeout_at};

use vmcp_core::limits::{BACKEND_IDLE, UNREPEATABLE_IDLE};

use super::link::Link;
use super::many::Many;
use super::reach::To;
use crate::gateway::port::Repeat;
use crate::pods::Pin;

/// How long one call waits for another that opens a connection, before it opens one itself.
const TURN_WITHIN: Duration = Duration::from_secs(1);

/// The right to open a connection.
pub type Turn<'a> = sync::MutexGuard<'a, ()>;

#[derive(Debug, Default)]
pub struct Shared {
    /// There was one of them: the others need not be looked for, and have no turns.
    any: AtomicBool,
    kept: Mutex<Vec<Kept>>,
    turns: sync::Mutex<()>,
}

#[derive(Debug)]
struct Kept {
    many: Many,
    pin: Pin,
    /// When it was last used.
    since: Instant,
}

impl Shared {
    /// A place on a connection that has room. A request that must not run twice takes none that
    /// nobody has used just now: the server may be closing it as we write (T19).
    #[must_use]
    pub fn take(&self, repeat: Repeat, to: To) -> Option<Link> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        let mut kept = self.lock();
        let fits = |one: &&mut Kept| {
            let age = now.saturating_duration_since(one.since);
            let fresh = repeat == Repeat::Freely || age < UNREPEATABLE_IDLE;
            let alive = one.many.under_way() > 0 || (fresh && age < BACKEND_IDLE);
            alive && to.admits(one.pin) && one.many.has_room()
        };
        let one = kept.iter_mut().find(fits)?;
        one.since = now;
        Some(Link::on(&one.many, one.pin))
    }

    /// Waits for its turn, if there are turns; not for long.
    pub async fn turn(&self, deadline: Instant) -> Option<Turn<'_>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let deadline = deadline.min(Instant::now() + TURN_WITHIN);
        timeout_at(deadline, self.turns.lock()).await.ok()
    }

    /// Keeps a new connection, if it is one to share.
    pub fn opened(&self, link: &Link) {
        let Some(many) = link.shared() else { return };
        self.any.store(true, Ordering::Relaxed);
        self.lock().push(Kept {
            many: many.clone(),
            pin: link.pin,
            since: Instant::now(),
        });
    }

    /// A call on it has ended well.
    pub fn put(&self, link: &Link) {
        let Some(many) = link.shared() else { return };
        let mut kept = self.lock();
        if let Some(one) = kept.iter_mut().find(|one| one.many.is(many)) {
            one.since = Instant::now();
        }
    }

    /// It does not take requests any more; those under way go on.
    pub fn retire(&self, link: &Link) {
        let Some(many) = link.shared() else { return };
        self.lock().retain(|one| !one.many.is(many));
    }

    /// Lets go of what is idle for too long or takes no more requests. Calls under way go on.
    pub fn sweep(&self) {
        let stale: Vec<Kept> = self
            .lock()
            .extract_if(.., |one| {
                let idle = one.many.under_way() == 0 && one.since.elapsed() >= BACKEND_IDLE;
                idle || !one.many.is_open()
            })
            .collect();
        drop(stale);
    }

    /// Lets go of all.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    /// How many nobody uses.
    #[must_use]
    pub fn idle(&self) -> usize {
        let idle = |one: &&Kept| one.many.under_way() == 0;
        self.lock().iter().filter(idle).count()
    }

    /// A poisoned lock only means that another thread panicked between two plain list operations.
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
