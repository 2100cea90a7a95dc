//! What sessions want, told to the replicas that may have to serve them.
//!
//! A session's id carries all that its client said at its beginning. What it said later, its log level
//! and its subscriptions, is told to the other replicas before the client has its answer, so that the
//! successor of a replica that was killed goes on with it (decision 8). Owns what is told here and
//! kept here; who still has to hear what is decided by [`Telling`]. Never speaks to a replica: the
//! server does ([`crate::server`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::timeout;

use vmcp_core::limits;
use vmcp_core::session::{Bequest, News, Telling, Told, Will, Wills as Kept};

use super::Gateway;
use super::live::Live;
use super::session::unix_now;

#[derive(Debug, Default)]
pub(super) struct Wills {
    /// Of sessions elsewhere.
    kept: Mutex<Kept>,
    /// Of sessions here. Locked before any table of sessions, where both are.
    telling: Mutex<Telling>,
    /// There is something to tell.
    news: Notify,
    /// Somebody has heard, or does not hear.
    progress: Notify,
}

/// For the server, that tells.
impl Gateway {
    /// Resolves when there is something to tell.
    pub async fn has_news(&self) {
        self.wills.news.notified().await;
    }

    /// These are the other replicas now.
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
    pub fn next_to_tell(&self) -> Option<(Box<str>, Bytes)> {
        let (pod, told) = lock(&self.wills.telling).due()?;
        let (body, rest) = self.write(told);
        if !rest.is_empty() {
            lock(&self.wills.telling).postpone(&pod, rest);
        }
        Some((pod, body))
    }

    /// A replica has heard, and answered this; `None`: it has not.
    pub fn was_told(&self, pod: &str, answer: Option<&[u8]>) {
        let boot = answer.and_then(|answer| serde_json::from_slice::<Box<str>>(answer).ok());
        let mut telling = lock(&self.wills.telling);
        match boot {
            Some(boot) => telling.heard(pod, &boot, || self.sessions.that_want()),
            None => telling.deaf(pod),
        }
        drop(telling);
        self.wills.progress.notify_waiters();
    }

    /// Keeps what another replica tells. `None`: it is not what replicas say; else the answer to it.
    #[must_use]
    pub fn keep_wills(&self, body: &[u8]) -> Option<Vec<u8>> {
        let told: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        // One that is not understood is perhaps understood by a later version: the others are.
        let told = told.into_iter().map(RawValue::get);
        for bequest in told.filter_map(|raw| serde_json::from_str::<Bequest>(raw).ok()) {
            match bequest {
                Bequest::Wants(will) => {
                    if let Some(expires) = self.sessions.elsewhere(&will.id, unix_now()) {
                        lock(&self.wills.kept).keep(will, expires);
                    }
                }
                Bequest::Over(id) => drop(self.forget_will(&id)),
            }
        }
        self.meter.sessions_elsewhere(lock(&self.wills.kept).len());
        serde_json::to_vec(&self.owner().boot).ok()
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
            let bequest = match news {
                News::Over => Some(Bequest::Over(id)),
                // Without state here it is another replica's to speak of.
                News::Wants => self.sessions.look_at(&id, Live::will).map(Bequest::Wants),
            };
            let one = bequest.and_then(|bequest| serde_json::to_vec(&bequest).ok());
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
}

/// For the gateway itself.
impl Gateway {
    /// The session wants something else than before. To be called as soon as it does: its client may
    /// leave before it has an answer.
    pub(super) fn wants_anew(&self, live: &Live) {
        live.says();
        self.news(live, News::Wants);
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
        self.news(live, News::Over);
    }

    /// It is still here, and may have been passed over when others were told.
    pub(super) fn wants_still(&self, live: &Live) {
        self.news(live, News::Wants);
    }

    fn news(&self, live: &Live, news: News) {
        // A stream of the old kind is its session: nobody takes it over.
        if live.revision() > 0 && !self.lines.has(&live.id) {
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

    /// The session is here now, and its replica is gone.
    pub(super) fn execute_will(&self, live: &Arc<Live>) {
        let Some(will) = self.forget_will(&live.id) else {
            return;
        };
        tracing::debug!(
            level = will.log_level.as_deref(),
            subscriptions = will
                .subscribed
                .values()
                .map(std::collections::BTreeSet::len)
                .sum::<usize>(),
            "it goes on as its client wanted"
        );
        live.has_said(will.revision);
        if let Some(level) = will.log_level {
            live.set_log_level_first(level);
        }
        self.hear_on(live, will.subscribed.into());
        self.wants_anew(live);
    }
}

/// A poisoned lock only means that another thread panicked between two plain map operations.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
