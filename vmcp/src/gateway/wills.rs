//! What sessions want, told to the replicas that may have to serve them.
//!
//! A session's id carries all that its client said at its beginning. What it said later, its log level
//! and its subscriptions, is told to the other replicas before the client has its answer, so that the
//! successor of a replica that was killed goes on with it (decision 8). Owns what is told here and
//! kept here; who still has to hear what is decided by [`Telling`]. Never speaks to a replica: the
//! server does ([`crate::server`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::timeout;

use vmcp_core::id::BackendName;
use vmcp_core::limits;
use vmcp_core::session::{Attempt, Bequest, News, Subscribed, Telling, Told, Will, Wills as Kept};

use super::Gateway;
use super::live::Live;
use super::session::{unix_micros, unix_now};

/// Both are locked before the table of sessions, where that is.
#[derive(Debug, Default)]
pub(super) struct Wills {
    /// Of sessions elsewhere.
    kept: Mutex<Kept>,
    /// Of sessions here.
    telling: Mutex<Telling>,
    /// There is something to tell.
    news: Notify,
    /// Somebody has heard, or does not hear.
    progress: Notify,
}

/// What a session hears, for the replica that it moves to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HandedStanding {
    /// Backends that keep a session for this client.
    #[serde(default)]
    pub(super) used: BTreeSet<BackendName>,
    /// Resources that it is subscribed to, by backend.
    #[serde(default)]
    pub(super) subscribed: Subscribed,
}

impl HandedStanding {
    pub(super) fn is_subscribed(&self) -> bool {
        !self.subscribed.is_empty()
    }

    /// The same, with these subscriptions.
    pub(super) fn with(self, subscribed: Subscribed) -> Self {
        Self { subscribed, ..self }
    }
}

/// What a session wanted at another replica.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub revision: u64,
    /// Raw JSON string.
    pub log_level: Option<Arc<str>>,
    pub standing: HandedStanding,
}

/// For the server, that tells.
impl Gateway {
    /// Resolves when there is something to tell.
    pub async fn has_news(&self) {
        self.wills.news.notified().await;
    }

    /// Who the other replicas are has changed, or what is known of one.
    pub fn others_are(&self, others: &[Box<str>]) {
        lock(&self.wills.telling).replicas(others, || self.sessions.that_want());
        self.wills.progress.notify_waiters();
    }

    /// Time passes. To be called once in a while, all the time.
    pub fn tell_round(&self) {
        lock(&self.wills.telling).round();
    }

    /// Whom to tell what, now. [`Self::was_told`] is to be called when it is known what became of it.
    #[must_use]
    pub fn next_to_tell(&self) -> Option<(Attempt, Bytes)> {
        let (attempt, told) = lock(&self.wills.telling).due()?;
        let (body, rest) = self.write(told);
        if !rest.is_empty() {
            lock(&self.wills.telling).postpone(&attempt, rest);
        }
        Some((attempt, body))
    }

    /// A replica has heard, and answered this; `None`: it has not.
    pub fn was_told(&self, attempt: &Attempt, answer: Option<&[u8]>) {
        let boot = answer.and_then(|answer| serde_json::from_slice::<Box<str>>(answer).ok());
        let mut telling = lock(&self.wills.telling);
        match boot {
            Some(boot) => telling.heard(attempt, &boot, || self.sessions.that_want()),
            None => telling.deaf(attempt),
        }
        drop(telling);
        self.wills.progress.notify_waiters();
    }

    /// Keeps what another replica tells. `None`: it is not what replicas say; else the answer to it.
    #[must_use]
    pub fn keep_wills(&self, body: &[u8]) -> Option<Vec<u8>> {
        let told: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        let told = told.into_iter().map(RawValue::get);
        // One that is not understood comes from a later version. The others are.
        for bequest in told.filter_map(|raw| serde_json::from_str::<Bequest>(raw).ok()) {
            match bequest {
                Bequest::Wants(will) => self.keep_will(will),
                Bequest::Over { id, revision } => self.keep_end(&id, revision),
            }
        }
        self.meter.sessions_elsewhere(lock(&self.wills.kept).len());
        serde_json::to_vec(&self.owner().boot).ok()
    }

    fn keep_will(&self, will: Will) {
        // Asked under the lock: a session comes here before its will is taken.
        let mut kept = lock(&self.wills.kept);
        if let Some(expires) = self.sessions.elsewhere(&will.id, unix_now()) {
            kept.keep(will, expires);
            return;
        }
        drop(kept);
        // It has come here already, before anybody could say what it wants.
        let live = self.sessions.live(&will.id);
        let came = |live: &Arc<Live>| live.revision() == 0 && live.claims.owner != *self.owner();
        if let Some(live) = live.filter(came) {
            let standing = HandedStanding::default().with(will.subscribed);
            let wants = Wants {
                revision: will.revision,
                log_level: will.log_level,
                standing,
            };
            self.go_on(&live, wants);
        }
    }

    fn keep_end(&self, id: &Arc<str>, revision: u64) {
        lock(&self.wills.kept).over(id, revision);
        // Another replica had a copy and has none any more: it lives here.
        let live = self.sessions.live(id).filter(|live| live.revision() > 0);
        if let Some(live) = live.filter(|live| live.revision() <= revision) {
            live.has_said(revision);
            self.wants_anew(&live);
        }
    }

    /// What is known here of what a session wants, as it is told.
    #[must_use]
    pub fn known_will(&self, id: &str) -> Option<Vec<u8>> {
        let live = self.sessions.live(id).filter(|live| live.revision() > 0);
        let will = match live {
            Some(live) => Some(live.will()),
            None => lock(&self.wills.kept).get(id).cloned(),
        };
        let known: Vec<Bequest> = will.into_iter().map(Bequest::Wants).collect();
        serde_json::to_vec(&known).ok()
    }

    /// As much as is told at a time, and what is left over.
    fn write(&self, told: Told) -> (Bytes, Told) {
        let mut body = vec![b'['];
        let mut rest = Told::new();
        for (id, news) in told {
            if body.len() >= limits::WILLS_AT_A_TIME {
                rest.insert(id, news);
                continue;
            }
            let one = self.bequest(&id, news);
            let one = one.and_then(|one| serde_json::to_vec(&one).ok());
            if let Some(one) = one {
                if body.len() > 1 {
                    body.push(b',');
                }
                body.extend_from_slice(&one);
            }
        }
        body.push(b']');
        (body.into(), rest)
    }

    fn bequest(&self, id: &Arc<str>, news: News) -> Option<Bequest> {
        let live = self.sessions.live(id).filter(|live| live.revision() > 0);
        match (live, news) {
            // It may have come back after it was over.
            (Some(live), _) => Some(Bequest::Wants(live.will())),
            (None, News::Over(revision)) => Some(Bequest::Over {
                id: Arc::clone(id),
                revision,
            }),
            // Another replica's to speak of.
            (None, News::Wants) => None,
        }
    }
}

/// For the gateway itself.
impl Gateway {
    /// The session wants something else than before. To be called as soon as it does: its client may
    /// leave before it has an answer.
    pub(super) fn wants_anew(&self, live: &Live) {
        // A stream of the old kind is its session: nobody takes it over.
        if !self.lines.has(&live.id) {
            live.says(unix_micros());
            self.tell(live, News::Wants);
        }
    }

    /// Waits until the others know what the session wants, as far as they can be reached. Bounded.
    pub(super) async fn others_know(&self, live: &Live) {
        let known = async {
            loop {
                let mut progress = std::pin::pin!(self.wills.progress.notified());
                progress.as_mut().enable();
                if lock(&self.wills.telling).is_known(&live.id) {
                    return;
                }
                progress.await;
            }
        };
        let _ = timeout(limits::PEER_ASK, known).await;
    }

    /// Its state here is gone: nobody is to restore it.
    pub(super) fn wants_nothing(&self, live: &Live) {
        self.tell(live, News::Over(live.revision()));
    }

    /// It is still here, and may have been passed over when others were told.
    pub(super) fn wants_still(&self, live: &Live) {
        self.tell(live, News::Wants);
    }

    fn tell(&self, live: &Live, news: News) {
        if live.revision() > 0 {
            lock(&self.wills.telling).news(&live.id, news);
            self.wills.news.notify_one();
        }
    }

    /// Its session was deleted, or is here now.
    pub(super) fn forget_will(&self, id: &str) -> Option<Will> {
        let mut kept = lock(&self.wills.kept);
        let will = kept.take(id)?;
        self.meter.sessions_elsewhere(kept.len());
        Some(will)
    }

    /// Forgets those whose ids are good no longer.
    pub(super) fn sweep_wills(&self, now: u64) {
        let mut kept = lock(&self.wills.kept);
        kept.sweep(now);
        self.meter.sessions_elsewhere(kept.len());
    }

    /// The session is here now, and goes on with what it wanted elsewhere: with this, or with what is
    /// kept of it, whichever is newer.
    pub(super) fn go_on(&self, live: &Arc<Live>, handed: Wants) {
        let wants = match self.forget_will(&live.id) {
            Some(will) if will.revision > handed.revision => Wants {
                revision: will.revision,
                log_level: will.log_level,
                standing: handed.standing.with(will.subscribed),
            },
            _ => handed,
        };
        let newer = wants.revision > live.revision();
        live.has_said(wants.revision);
        if newer {
            live.standing.forget_all();
        }
        let anything = wants.log_level.is_some() || wants.standing.is_subscribed();
        if let Some(level) = wants.log_level
            && (newer || live.log_level().is_none())
        {
            live.set_log_level(level);
        }
        self.hear_on(live, wants.standing);
        if anything || wants.revision > 0 {
            self.wants_anew(live);
        }
    }
}

/// A poisoned lock only means that another thread panicked between two plain map operations.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
