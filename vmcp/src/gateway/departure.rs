//! Sessions that were handed to another replica, or are on their way.
//!
//! Owns the memory of where they went, so that a request that still comes here finds them. Fills
//! only while this process stops; it is never emptied, because it dies with the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::session::Hold;
use crate::table::Table;

/// The pod where a session has arrived; `None` while it is on its way.
type Arrival = watch::Sender<Option<Box<str>>>;

#[derive(Debug, Default)]
pub(super) struct Departures(Mutex<Table<Arc<str>, Arrival>>);

impl Departures {
    pub(super) fn begin(&self, id: &Arc<str>) {
        let (sender, _) = watch::channel(None);
        lock(&self.0).insert(Arc::clone(id), sender);
    }

    /// It has arrived in this pod.
    pub(super) fn arrived(&self, id: &str, pod: &str) {
        if let Some(departure) = lock(&self.0).get(id) {
            departure.send_replace(Some(pod.into()));
        }
    }

    /// It came back, or stayed.
    pub(super) fn forget(&self, id: &str) {
        lock(&self.0).remove(id);
    }

    pub(super) fn look(&self, id: &str) -> Option<Hold> {
        let departures = lock(&self.0);
        let departure = departures.get(id)?;
        let pod = departure.borrow().clone();
        Some(match pod {
            Some(pod) => Hold::Moved(pod),
            None => Hold::Leaving(departure.subscribe()),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
