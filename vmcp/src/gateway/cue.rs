//! When clients may be told of what is published.
//!
//! Owns the signal that those wait for who tell clients of changed lists. With one replica it is the
//! publication itself; with several, whoever speaks with the others gives it. Knows no replica:
//! only that a snapshot may be told, and that all have come to show the same.

use std::sync::Arc;

use tokio::sync::watch;

use crate::snapshot::{Snapshot, SnapshotReader};

/// What clients may be told of by now.
#[derive(Clone, Debug)]
pub struct Cue {
    pub told: Arc<Snapshot>,
    /// The last one that all replicas showed, while they do not show the same.
    pub before: Option<Arc<Snapshot>>,
    /// Grows whenever all replicas have come to show the same.
    pub agreed: u64,
}

impl Cue {
    #[must_use]
    pub const fn new(told: Arc<Snapshot>) -> Self {
        Self {
            told,
            before: None,
            agreed: 0,
        }
    }

    /// The oldest snapshot that a client may be shown.
    #[must_use]
    pub fn oldest(&self) -> &Snapshot {
        self.before.as_ref().unwrap_or(&self.told)
    }
}

/// The cues, one after the other.
#[derive(Clone, Debug)]
pub struct Cues(Source);

#[derive(Clone, Debug)]
enum Source {
    Published(SnapshotReader),
    Given(watch::Receiver<Cue>),
}

impl Cues {
    /// Each publication is a cue.
    #[must_use]
    pub const fn published(snapshots: SnapshotReader) -> Self {
        Self(Source::Published(snapshots))
    }

    /// Somebody gives them.
    #[must_use]
    pub const fn given(cues: watch::Receiver<Cue>) -> Self {
        Self(Source::Given(cues))
    }

    /// The newest; the next one is another.
    pub(super) fn now(&mut self) -> Cue {
        match &mut self.0 {
            Source::Published(snapshots) => {
                snapshots.changed.mark_unchanged();
                Cue::new(snapshots.load())
            }
            Source::Given(cues) => cues.borrow_and_update().clone(),
        }
    }

    /// Waits for one that was not seen yet; `None` when there will be none any more.
    pub(super) async fn next(&mut self) -> Option<Cue> {
        match &mut self.0 {
            Source::Published(snapshots) => {
                snapshots.changed.changed().await.ok()?;
                Some(Cue::new(snapshots.load()))
            }
            Source::Given(cues) => {
                cues.changed().await.ok()?;
                Some(cues.borrow_and_update().clone())
            }
        }
    }
}
