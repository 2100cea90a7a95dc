//! Places for calls under way at one backend.
//!
//! Owns the bound on them, the share that one principal may have of it, and the short queue before
//! it, so that a slow backend uses up nothing of another's (R4.8) and one client not all of a
//! backend. A call that waits for its client gives its place back; streams and checks take none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use vmcp_core::limits::{IN_FLIGHT, IN_FLIGHT_PRINCIPAL, QUEUE, QUEUE_WAIT};

/// Every place is taken and so is every seat in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls under way")]
pub struct Overloaded;

/// The places of one backend.
#[derive(Debug)]
pub struct Bulkhead {
    places: Arc<Semaphore>,
    shares: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    waiting: AtomicUsize,
}

impl Default for Bulkhead {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(IN_FLIGHT)),
            shares: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// One call under way, for as long as it is kept.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    _share: Option<OwnedSemaphorePermit>,
}

impl Bulkhead {
    /// A place for one call, waiting for it briefly where the queue has room.
    ///
    /// # Errors
    /// No place in time.
    pub async fn admit(
        self: &Arc<Self>,
        principal: Option<&Arc<str>>,
    ) -> Result<Place, Overloaded> {
        if let Some(place) = self.admit_now(principal) {
            return Ok(place);
        }
        let _seat = Seat::take(&self.waiting).ok_or(Overloaded)?;
        match timeout(QUEUE_WAIT, self.wait(principal)).await {
            Ok(Some(place)) => Ok(place),
            Ok(None) | Err(_) => Err(Overloaded),
        }
    }

    /// A place, if one is free now.
    #[must_use]
    pub fn admit_now(self: &Arc<Self>, principal: Option<&Arc<str>>) -> Option<Place> {
        let share = match principal {
            None => None,
            Some(principal) => Some(self.share_of(principal).try_acquire_owned().ok()?),
        };
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place {
            _place: place,
            _share: share,
        })
    }

    /// Its own share first: who waits for that must not keep a place from others.
    async fn wait(self: &Arc<Self>, principal: Option<&Arc<str>>) -> Option<Place> {
        let share = match principal {
            None => None,
            Some(principal) => Some(self.share_of(principal).acquire_owned().await.ok()?),
        };
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place {
            _place: place,
            _share: share,
        })
    }

    /// Forgets principals that have nothing under way.
    pub fn sweep(&self) {
        // Whoever holds a part of a share, or waits for one, has it, too.
        self.shares()
            .retain(|_, share| Arc::strong_count(share) > 1);
    }

    fn share_of(&self, principal: &Arc<str>) -> Arc<Semaphore> {
        let mut shares = self.shares();
        let share = shares
            .entry(Arc::clone(principal))
            .or_insert_with(|| Arc::new(Semaphore::new(IN_FLIGHT_PRINCIPAL)));
        Arc::clone(share)
    }

    /// A poisoned lock only means that another thread panicked between two plain map operations.
    fn shares(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Semaphore>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat in the queue, left again by dropping.
#[derive(Debug)]
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let seat = Self(waiting);
        // Taken first and looked at second: two that come at once cannot both get the last one.
        let before = waiting.fetch_add(1, Ordering::AcqRel);
        (before < QUEUE).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fill(bulkhead: &Arc<Bulkhead>, who: Option<&str>, calls: usize) -> Vec<Place> {
        let who = who.map(Arc::from);
        let mut places = Vec::new();
        for _ in 0..calls {
            places.extend(bulkhead.admit_now(who.as_ref()));
        }
        places
    }

    /// At most half for one principal, and all of it for all.
    #[tokio::test]
    async fn one_principal_gets_half() {
        let bulkhead = Arc::new(Bulkhead::default());

        let ann = fill(&bulkhead, Some("ann"), 1000).await;
        let ben = fill(&bulkhead, Some("ben"), 30).await;
        let rest = fill(&bulkhead, None, 1000).await;

        assert_eq!(ann.len(), IN_FLIGHT_PRINCIPAL);
        assert_eq!(ben.len(), 30);
        assert_eq!(rest.len(), IN_FLIGHT - IN_FLIGHT_PRINCIPAL - 30);
        drop(rest);
        assert!(bulkhead.admit_now(Some(&"ann".into())).is_none());
        assert!(bulkhead.admit_now(Some(&"cid".into())).is_some());
    }

    /// What a principal had is forgotten soon after its last call, and not before.
    #[tokio::test]
    async fn an_idle_principal_is_not_remembered() {
        let bulkhead = Arc::new(Bulkhead::default());
        let places = fill(&bulkhead, Some("ann"), 3).await;
        bulkhead.sweep();
        assert_eq!(bulkhead.shares().len(), 1);

        drop(places);
        bulkhead.sweep();

        assert_eq!(bulkhead.shares().len(), 0);
    }

    /// The queue is short and its wait brief.
    #[tokio::test(start_paused = true)]
    async fn the_queue_has_few_seats_and_little_patience() {
        let bulkhead = Arc::new(Bulkhead::default());
        let mut places = fill(&bulkhead, None, IN_FLIGHT).await;
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let bulkhead = Arc::clone(&bulkhead);
                tokio::spawn(async move { bulkhead.admit(None).await })
            })
            .collect();
        while bulkhead.waiting.load(Ordering::Acquire) < QUEUE {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();

        assert!(bulkhead.admit(None).await.is_err());
        assert_eq!(began.elapsed(), std::time::Duration::ZERO);
        places.pop();
        let mut admitted = Vec::new();
        for one in waiting {
            admitted.extend(one.await.unwrap());
        }
        assert_eq!(admitted.len(), 1);
        assert_eq!(began.elapsed(), QUEUE_WAIT);
    }
}
