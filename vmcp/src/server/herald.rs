//! Lists that changed, between replicas.
//!
//! Owns the questions that the replicas of a gateway ask each other about their lists, and the cue
//! for clients: they are told after the other replicas were, and again once all show the same. What
//! is said and how long is waited is decided by [`Accord`]. Touches no list itself: a backend that
//! another replica has news of is looked at as if it had announced a change.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use vmcp_core::catalog::{Accord, CatalogHash, Shown, Verdict, Word};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::limits;

use crate::clock::Clock;
use crate::gateway::cue::Cue;
use crate::peer::{PeerMeter, Peers};
use crate::snapshot::{Snapshot, SnapshotReader};

/// News: these lists have changed. Answered as [`AGREE`] is, after the look at them has begun.
pub(super) const CHANGED: &str = "/.vmcp/changed";
/// Question: do you list the same?
pub(super) const AGREE: &str = "/.vmcp/agree";

/// News is said again so often while the others do not list the same: they may have had no room.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks at a backend's lists at once, if there is room for it. Must not wait.
pub type Refresh = Box<dyn Fn(&BackendId, Generation) -> bool + Send + Sync>;

/// Which replica lists the same.
type Answers = Vec<(Box<str>, bool)>;

/// What replicas say to each other about their lists.
pub struct Herald {
    accord: Mutex<Accord>,
    snapshots: SnapshotReader,
    clock: Clock,
    refresh: Refresh,
    meter: Arc<PeerMeter>,
}

/// The way to the other replicas.
pub trait Others: Send + Sync + 'static {
    /// What those say that answer in time.
    fn ask(&self, path: &'static str, word: Bytes) -> BoxFuture<'_, Answers>;
}

impl Others for Arc<Peers> {
    fn ask(&self, path: &'static str, word: Bytes) -> BoxFuture<'_, Answers> {
        Box::pin(async move {
            let answers = self.ask_all(path, &word).await.into_iter();
            let said =
                |(who, answer): (_, Bytes)| Some((who, serde_json::from_slice(&answer).ok()?));
            answers.filter_map(said).collect()
        })
    }
}

impl Herald {
    #[must_use]
    pub fn new(
        snapshots: SnapshotReader,
        clock: Clock,
        refresh: Refresh,
        meter: Arc<PeerMeter>,
    ) -> Self {
        Self {
            accord: Mutex::default(),
            snapshots,
            clock,
            refresh,
            meter,
        }
    }

    /// Another replica has news.
    pub(super) fn hear(&self, body: &[u8]) -> Option<Vec<u8>> {
        let word: Word = serde_json::from_slice(body).ok()?;
        let snapshot = self.snapshots.load();
        let own = shown(&snapshot);
        let names = self.lock().heard(&word, &own);
        for name in names {
            let looks = snapshot.backend(&name).is_some_and(|view| {
                tracing::debug!(
                    backend = &*name.0,
                    "another replica has seen a changed list"
                );
                (self.refresh)(&view.id, view.generation)
            });
            if looks {
                self.lock().echoes(name, self.clock.now());
            }
        }
        answer(&word, &snapshot, &own)
    }

    /// Another replica compares.
    pub(super) fn compare(&self, body: &[u8]) -> Option<Vec<u8>> {
        let word: Word = serde_json::from_slice(body).ok()?;
        let snapshot = self.snapshots.load();
        answer(&word, &snapshot, &shown(&snapshot))
    }

    /// Gives the cues until stopped.
    pub async fn run(
        self: Arc<Self>,
        others: impl Others,
        cues: watch::Sender<Cue>,
        stop: CancellationToken,
    ) {
        let mut snapshots = self.snapshots.clone();
        // What is there already was told by nobody yet.
        snapshots.changed.mark_changed();
        // Goes on over publications, however many there are.
        let mut next = Instant::now();
        let mut again = next;
        loop {
            let open = self.open();
            let due = async {
                match &open {
                    Some(word) => {
                        sleep_until(next).await;
                        word
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                word = due => {
                    let repeated = word.has_news() && again <= Instant::now();
                    let path = if repeated { CHANGED } else { AGREE };
                    let asked = self.ask(&others, path, word);
                    let Some(answers) = stop.run_until_cancelled(asked).await else {
                        return;
                    };
                    let verdict = self.judge(&answers);
                    cues.send_if_modified(|cue| settle(cue, verdict));
                    next = Instant::now() + limits::AGREE_EVERY;
                    if repeated {
                        again = Instant::now() + AGAIN;
                    }
                }
                changed = snapshots.changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if stop.run_until_cancelled(self.tell(&others, &cues)).await.is_none() {
                        return;
                    }
                    if open.is_none() {
                        next = Instant::now() + limits::AGREE_EVERY;
                    }
                    again = Instant::now() + AGAIN;
                }
            }
        }
    }

    /// The other replicas first, then clients.
    async fn tell(&self, others: &impl Others, cues: &watch::Sender<Cue>) {
        let told = self.snapshots.load();
        let word = match told.first_round_done {
            true => self.lock().published(shown(&told), self.clock.now()),
            // Nobody comes here yet.
            false => None,
        };
        let verdict = match &word {
            None => None,
            Some(word) => {
                let path = if word.has_news() { CHANGED } else { AGREE };
                Some(self.judge(&self.ask(others, path, word).await))
            }
        };
        cues.send_modify(|cue| {
            let earlier = std::mem::replace(&mut cue.told, told);
            if let Some(verdict) = verdict {
                cue.before.get_or_insert(earlier);
                settle(cue, verdict);
            }
        });
    }

    async fn ask(&self, others: &impl Others, path: &'static str, word: &Word) -> Answers {
        let Ok(body) = serde_json::to_vec(word) else {
            return Vec::new();
        };
        let asked = timeout(limits::AGREE_WITHIN, others.ask(path, body.into()));
        asked.await.unwrap_or_default()
    }

    fn judge(&self, answers: &[(Box<str>, bool)]) -> Verdict {
        let verdict = self.lock().answered(answers, self.clock.now());
        let counter = match verdict {
            // Alone there is nothing to agree on.
            Verdict::Agreed if answers.is_empty() => return verdict,
            Verdict::Agreed => &self.meter.agreed,
            Verdict::GivenUp => &self.meter.given_up,
            Verdict::Open => return verdict,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        verdict
    }

    fn open(&self) -> Option<Word> {
        self.lock().open().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Accord> {
        self.accord.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Herald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Herald").finish_non_exhaustive()
    }
}

/// Whether clients are to hear of it.
fn settle(cue: &mut Cue, verdict: Verdict) -> bool {
    if verdict == Verdict::Agreed {
        cue.agreed += 1;
    }
    if verdict != Verdict::Open {
        cue.before = None;
    }
    verdict != Verdict::Open
}

fn shown(snapshot: &Snapshot) -> Shown {
    let backends = snapshot.backends.iter();
    let listed = backends.filter_map(|view| Some((view.id.name.clone(), view.catalog_hash?)));
    Shown {
        backends: listed.collect(),
        lists: CatalogHash::all(&snapshot.lists.hashes),
    }
}

/// A replica that starts shows nothing to anybody.
fn answer(word: &Word, snapshot: &Snapshot, own: &Shown) -> Option<Vec<u8>> {
    let agrees = !snapshot.first_round_done || word.agrees(own);
    serde_json::to_vec(&agrees).ok()
}

#[cfg(test)]
mod tests;
