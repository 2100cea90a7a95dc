//! What all lanes use, so that none has to wait for what another one writes.
//!
//! Owns the copies. A count that two cores change is fetched from the other core each time, which
//! takes longer than most steps of a call. What a lane changes with each call it has for itself; what
//! is asked seldom is put together from all of them.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::lanes;

/// In cache lines of its own; processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

/// One for each lane, made when the lane first needs it.
#[derive(Debug)]
pub struct PerLane<T>(Box<[OnceLock<Box<Apart<T>>>]>);

impl<T> PerLane<T> {
    /// This lane's, which is made if there is none.
    pub fn here_or(&self, make: impl FnOnce() -> T) -> &T {
        &self.0[lanes::here()]
            .get_or_init(|| Box::new(Apart(make())))
            .0
    }

    /// Those that were made.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|one| Some(&one.get()?.0))
    }
}

impl<T: Default> PerLane<T> {
    /// This lane's.
    pub fn here(&self) -> &T {
        self.here_or(T::default)
    }
}

impl<T> Default for PerLane<T> {
    fn default() -> Self {
        Self((0..lanes::places()).map(|_| OnceLock::new()).collect())
    }
}

/// Something whose owners are counted on each lane by themselves.
pub struct Spread<T> {
    of: Arc<T>,
    near: PerLane<Near<T>>,
}

/// One owner of it. Meant to be dropped on the lane where it was made; anywhere else it is as good,
/// and slower.
pub struct Near<T>(Arc<Apart<Arc<T>>>);

impl<T> Spread<T> {
    #[must_use]
    pub fn near(&self) -> Near<T> {
        let near = self
            .near
            .here_or(|| Near(Arc::new(Apart(Arc::clone(&self.of)))));
        near.clone()
    }

    /// For whoever keeps it longer than a call.
    #[must_use]
    pub fn whole(&self) -> Arc<T> {
        Arc::clone(&self.of)
    }
}

impl<T> Clone for Spread<T> {
    fn clone(&self) -> Self {
        Arc::clone(&self.of).into()
    }
}

impl<T> From<Arc<T>> for Spread<T> {
    fn from(of: Arc<T>) -> Self {
        Self {
            of,
            near: PerLane::default(),
        }
    }
}

impl<T> From<T> for Spread<T> {
    fn from(of: T) -> Self {
        Arc::new(of).into()
    }
}

impl<T> Deref for Spread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.of
    }
}

impl<T: fmt::Debug> fmt::Debug for Spread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of.fmt(f)
    }
}

impl<T> Near<T> {
    /// An owner of something that nobody else has.
    #[must_use]
    pub fn of(one: T) -> Self {
        Self(Arc::new(Apart(Arc::new(one))))
    }
}

impl<T> Clone for Near<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Near<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Near<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::lanes::Lanes;

    /// Runs on each lane, and here.
    pub(crate) async fn everywhere<T: Send + 'static>(
        run: impl Fn() -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let lanes = Lanes::start().unwrap();
        let mut seats = Vec::new();
        let mut all = vec![run()];
        for _ in 1..lanes::places() {
            let (seat, run) = (lanes.seat(), run.clone());
            all.push(seat.runtime().spawn(async move { run() }).await.unwrap());
            // Kept, so that the next one is on another lane.
            seats.push(seat);
        }
        all
    }

    #[tokio::test]
    async fn each_lane_has_its_own_and_all_are_found() {
        let counts = Arc::new(PerLane::<AtomicUsize>::default());
        let counted = Arc::clone(&counts);
        everywhere(move || counted.here().fetch_add(2, Ordering::Relaxed)).await;

        let each: Vec<_> = counts
            .iter()
            .map(|one| one.load(Ordering::Relaxed))
            .collect();
        assert_eq!(each, vec![2; lanes::places()]);
    }

    /// An owner keeps it alive, wherever it is dropped; none is left over.
    #[tokio::test]
    async fn owners_are_counted_by_lane_and_keep_it_alive() {
        let shared = Arc::new(Spread::from(7));
        let (whole, of) = (Arc::downgrade(&shared.whole()), Arc::clone(&shared));
        let owners = everywhere(move || (of.near(), of.near())).await;

        for (at, (one, two)) in owners.iter().enumerate() {
            assert!(Arc::ptr_eq(&one.0, &two.0), "one count for each lane");
            let others = owners.iter().skip(at + 1);
            let mut others = others.filter(|(other, _)| Arc::ptr_eq(&one.0, &other.0));
            assert!(others.next().is_none(), "and another for another");
        }

        drop(shared);
        assert!(owners.iter().all(|(one, two)| (***one, ***two) == (7, 7)));
        drop(owners);
        assert_eq!(whole.strong_count(), 0);
    }
}
