//! The stale-cache guard (architecture, decision 9): an object is not looked at again
//! before our own cache shows what the last look wrote. Otherwise a second look at the
//! old state writes the same again, or judges by it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cache::{Cache, Watched};
use crate::limits::GUARD_TIMEOUT;

type Seen = Box<dyn Fn() -> bool + Send>;

/// What is still to be seen, by the UID of the owner whose visit wrote it.
#[derive(Default)]
pub struct Guard {
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    by_owner: HashMap<String, Vec<Expectation>>,
    swept: Option<Instant>,
}

struct Expectation {
    since: Instant,
    seen: Seen,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    /// Expects the cache to show the object as the server answered.
    pub fn expect_written<K: Watched>(
        &self,
        owner_uid: &str,
        cache: &Cache<K>,
        written: &ObjectMeta,
    ) {
        let cache = cache.clone();
        let written = written.clone();
        self.expect(owner_uid, Instant::now(), move || {
            shows(&cache, &written, |found| {
                found.uid != written.uid || at_least(found, &written)
            })
        });
    }

    /// Expects the cache to show that the object is gone or going.
    pub fn expect_deleted<K: Watched>(
        &self,
        owner_uid: &str,
        cache: &Cache<K>,
        deleted: &ObjectMeta,
    ) {
        let cache = cache.clone();
        let deleted = deleted.clone();
        self.expect(owner_uid, Instant::now(), move || {
            !shows(&cache, &deleted, |found| {
                found.uid == deleted.uid && found.deletion_timestamp.is_none()
            })
        });
    }

    fn expect(&self, owner_uid: &str, since: Instant, seen: impl Fn() -> bool + Send + 'static) {
        let expectation = Expectation {
            since,
            seen: Box::new(seen),
        };
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.sweep(since);
        pending
            .by_owner
            .entry(owner_uid.to_owned())
            .or_default()
            .push(expectation);
    }

    /// Whether everything that was written for this owner is seen, or has waited too long.
    #[must_use]
    pub fn settled(&self, owner_uid: &str, now: Instant) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = pending.by_owner.get_mut(owner_uid) else {
            return true;
        };
        list.retain(|expectation| !(expectation.seen)() && !expectation.is_over(now));
        let settled = list.is_empty();
        if settled {
            pending.by_owner.remove(owner_uid);
        }
        settled
    }
}

impl Pending {
    /// Nobody asks again for an owner that is deleted: what is over is forgotten, now and
    /// then, when something comes in.
    fn sweep(&mut self, now: Instant) {
        let due = |swept: Instant| now.saturating_duration_since(swept) >= GUARD_TIMEOUT;
        if !self.swept.is_none_or(due) {
            return;
        }
        self.swept = Some(now);
        self.by_owner.retain(|_, list| {
            list.retain(|expectation| !expectation.is_over(now));
            !list.is_empty()
        });
    }
}

impl Expectation {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= GUARD_TIMEOUT
    }
}

fn shows<K: Watched>(
    cache: &Cache<K>,
    wanted: &ObjectMeta,
    holds: impl Fn(&ObjectMeta) -> bool,
) -> bool {
    let (Some(namespace), Some(name)) = (&wanted.namespace, &wanted.name) else {
        return true;
    };
    cache
        .get(namespace, name)
        .is_some_and(|found| holds(found.meta()))
}

/// Whether one resource version is not older than another. They are decimal numbers that
/// may be compared (KEP-5504); any other form only says whether they are equal.
fn at_least(found: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    let (Some(found), Some(wanted)) = (&found.resource_version, &wanted.resource_version) else {
        return true;
    };
    let number = |text: &str| text.parse::<u128>().ok();
    match (number(found), number(wanted)) {
        (Some(found), Some(wanted)) => found >= wanted,
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::{Guard, at_least};
    use crate::limits::GUARD_TIMEOUT;

    /// Decision 9.
    #[test]
    fn an_owner_is_settled_when_every_write_was_seen() {
        let guard = Guard::default();
        let start = Instant::now();
        let seen = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&seen);
        guard.expect("1", start, move || flag.load(Ordering::Relaxed));
        guard.expect("1", start, || true);

        assert!(!guard.settled("1", start));
        assert!(guard.settled("2", start));
        seen.store(true, Ordering::Relaxed);

        assert!(guard.settled("1", start));
    }

    /// Decision 9: a watch that hangs does not hold an object up for ever.
    #[test]
    fn a_write_that_is_never_seen_is_given_up_after_the_timeout() {
        let guard = Guard::default();
        let start = Instant::now();
        guard.expect("1", start, || false);

        let just_before = GUARD_TIMEOUT.saturating_sub(Duration::from_millis(1));
        assert!(!guard.settled("1", start + just_before));
        assert!(guard.settled("1", start + GUARD_TIMEOUT));
    }

    /// Decision 9: what was written for an owner that is deleted by now is forgotten.
    #[test]
    fn nothing_is_kept_for_an_owner_that_nobody_asks_about() {
        let guard = Guard::default();
        let start = Instant::now();
        guard.expect("deleted", start, || false);

        guard.expect("another", start + GUARD_TIMEOUT, || false);

        let pending = guard.pending.lock().unwrap();
        let owners: Vec<&String> = pending.by_owner.keys().collect();
        assert_eq!(owners, ["another"]);
    }

    /// Decision 9: versions are compared as numbers, not as texts.
    #[test]
    fn a_later_version_shows_an_earlier_write() {
        let version = |text: &str| ObjectMeta {
            resource_version: Some(text.to_owned()),
            ..ObjectMeta::default()
        };

        assert!(at_least(&version("1000"), &version("999")));
        assert!(!at_least(&version("999"), &version("1000")));
        assert!(at_least(&version("x"), &version("x")));
        assert!(!at_least(&version("y"), &version("x")));
    }
}
