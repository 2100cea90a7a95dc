//! When a backend's catalogue is read again (R1.12).
//!
//! A good list is good for a while, a failed one is not tried again for a while, and neither
//! outlives a recovery (T5).

use std::time::Duration;

use crate::health::State;
use crate::time::Tick;

/// Between reads of a backend that announces no changes.
pub const POSITIVE_TTL: Duration = Duration::from_secs(60);
/// After a failed list of a backend that is otherwise well.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// What is known about the newest reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogAge {
    /// The newest good read.
    pub fetched: Option<Tick>,
    /// The newest failed read, where no good one came after it.
    pub failed: Option<Tick>,
    /// As the backend promised; [`POSITIVE_TTL`] where it did not.
    pub ttl: Option<Duration>,
}

impl CatalogAge {
    pub fn read(&mut self, now: Tick, ttl: Option<Duration>) {
        *self = Self {
            fetched: Some(now),
            failed: None,
            ttl,
        };
    }

    pub fn read_failed(&mut self, now: Tick) {
        self.failed = Some(now);
    }

    /// Forgets both: the next check reads the list.
    pub fn invalidate(&mut self) {
        *self = Self::default();
    }
}

/// Why the question is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// A check is due.
    #[default]
    Routine,
    /// The backend said that its list changed.
    ListChanged,
    /// The backend is new or was replaced.
    Added,
    /// It was down and is back.
    Recovered,
}

/// Should the next check read the list, beside asking whether the backend lives?
#[must_use]
pub fn should_refresh(age: &CatalogAge, now: Tick, state: State, hint: Hint) -> bool {
    if hint != Hint::Routine || !state.serves() {
        // A check asks for life first, so wanting the list of a dead backend costs nothing, and
        // its first good check brings the tools along.
        return true;
    }
    if let Some(failed) = age.failed {
        return now.since(failed) >= NEGATIVE_TTL;
    }
    match age.fetched {
        None => true,
        Some(fetched) => now.since(fetched) >= age.ttl.unwrap_or(POSITIVE_TTL).min(POSITIVE_TTL),
    }
}
