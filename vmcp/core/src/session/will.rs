//! What a session wants, for the replica that serves it when its own was killed.
//!
//! An id carries all that its client said at the beginning. What it said later, its log level and its
//! subscriptions, only its replica knows, and tells the others (decision 8). Owns what is told of one
//! session and what is kept of sessions elsewhere, within bounds. Never looks at a clock or at the
//! network.
//!
//! # Which of two is newer
//! A session moves between replicas, and what each of them tells may overtake what another has told.
//! So each has a number that only grows, from whichever replica it comes, and an older one never
//! replaces a newer one. One that wants nothing any more is kept as well, or an older one would come
//! to life again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::BackendName;
use crate::jsonrpc::quote;
use crate::limits;

/// Resources that a session is subscribed to, by backend.
pub type Subscribed = BTreeMap<BackendName, BTreeSet<Arc<str>>>;

/// What a will costs beside its texts.
const OVERHEAD: usize = 256;

/// What one session wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Will {
    pub id: Arc<str>,
    /// Grows with each change ([`next_revision`]).
    pub revision: u64,
    /// Raw JSON string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subscribed: Subscribed,
}

/// What is said about one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bequest {
    Wants(Will),
    /// It has no state any more, and nobody is to restore what it wanted up to this revision.
    Over {
        id: Arc<str>,
        revision: u64,
    },
}

/// The revision of a session that says something after `last`. A session that was forgotten begins
/// anew with 0: the time makes what it says newer than what was known of it.
#[must_use]
pub fn next_revision(last: u64, unix_micros: u64) -> u64 {
    unix_micros.max(last.saturating_add(1))
}

impl Will {
    /// Subscriptions are left out, the last ones first, where they are more than is kept of a
    /// session ([`limits::WILL`]).
    #[must_use]
    pub fn new(
        id: Arc<str>,
        revision: u64,
        log_level: Option<Arc<str>>,
        subscribed: Subscribed,
    ) -> Self {
        let mut will = Self {
            id,
            revision,
            log_level,
            subscribed: Subscribed::new(),
        };
        let mut bytes = will.bytes();
        for (backend, uris) in subscribed {
            let uris: BTreeSet<_> = uris
                .into_iter()
                .take_while(|uri| {
                    bytes += cost(&backend, uri);
                    bytes <= limits::WILL
                })
                .collect();
            if !uris.is_empty() {
                will.subscribed.insert(backend, uris);
            }
        }
        will
    }

    fn bytes(&self) -> usize {
        let resources = self.subscribed.iter();
        let resources =
            resources.flat_map(|(backend, uris)| uris.iter().map(|uri| cost(backend, uri)));
        let level = self.log_level.as_ref().map_or(0, |level| level.len());
        OVERHEAD + self.id.len() + level + resources.sum::<usize>()
    }
}

/// Of one subscription, as it is told.
fn cost(backend: &BackendName, uri: &str) -> usize {
    backend.0.len() + quote(uri).len() + 16
}

/// The wills of sessions elsewhere. Bounded: those that were told longest ago go first.
#[derive(Debug, Default)]
pub struct Wills {
    kept: HashMap<Arc<str>, Kept>,
    by_age: BTreeMap<u64, Arc<str>>,
    told: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    will: Will,
    /// Seconds since 1970: until when its id is good.
    expires: u64,
    told: u64,
}

impl Wills {
    /// Keeps a will, unless a newer one is known.
    pub fn keep(&mut self, will: Will, expires: u64) {
        let known = self.kept.get(&will.id);
        if known.is_some_and(|known| known.will.revision > will.revision) {
            return;
        }
        self.take(&will.id);
        self.told += 1;
        self.bytes += will.bytes();
        self.by_age.insert(self.told, Arc::clone(&will.id));
        let kept = Kept {
            expires,
            told: self.told,
            will,
        };
        self.kept.insert(Arc::clone(&kept.will.id), kept);
        while self.bytes > limits::WILLS
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.take(&oldest);
        }
    }

    /// What is kept of a session.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Will> {
        self.kept.get(id).map(|kept| &kept.will)
    }

    /// The session is over, at this revision.
    pub fn over(&mut self, id: &str, revision: u64) {
        if self.get(id).is_some_and(|will| will.revision <= revision) {
            self.take(id);
        }
    }

    /// Takes it out: its session is here now, or deleted.
    pub fn take(&mut self, id: &str) -> Option<Will> {
        let kept = self.kept.remove(id)?;
        self.by_age.remove(&kept.told);
        self.bytes -= kept.will.bytes();
        Some(kept.will)
    }

    /// Forgets those whose ids are good no longer.
    pub fn sweep(&mut self, now: u64) {
        let expired = self.kept.values().filter(|kept| kept.expires <= now);
        let expired: Vec<_> = expired.map(|kept| Arc::clone(&kept.will.id)).collect();
        for id in expired {
            self.take(&id);
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
