//! Who still has to hear what about which session.
//!
//! Owns, for each other replica, the sessions that it has not heard the newest about, and when it is
//! spoken to again. Never speaks to anybody and never reads a clock: rounds come in, and what became
//! of each attempt. Exists so that a replica that does not hear delays nobody but once, and hears all
//! of it later.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits;

/// A replica with nothing to hear is spoken to every so many rounds: its answer says whether it is
/// still the same process, that has heard all before.
const GREETING: u32 = 10;

/// One that does not hear, again and again, is left alone for this many rounds at most: one that is
/// ready again is to hear soon.
const PATIENCE: u32 = 2;

/// Sessions that are spoken of at a time, at most.
const AT_A_TIME: usize = 1_000;

/// What there is to tell of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It wants something else.
    Wants,
    /// It is over, at this revision.
    Over(u64),
}

/// Sessions and what is to be told of each.
pub type Told = HashMap<Arc<str>, News>;

/// One attempt to tell one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub pod: Box<str>,
    number: u64,
}

/// What all other replicas still have to hear.
#[derive(Debug, Default)]
pub struct Telling {
    replicas: HashMap<Box<str>, Listener>,
    attempts: u64,
}

/// One other replica.
#[derive(Debug, Default)]
struct Listener {
    /// The process that heard last.
    boot: Option<Box<str>>,
    untold: Told,
    /// It is being told this, in the attempt of this number.
    on_its_way: Option<(u64, Told)>,
    /// So often in a row it did not hear. Nobody waits for one that did not hear.
    failures: u32,
    /// So many rounds it is left alone, unless it hears and there is news.
    rest: u32,
}

impl Telling {
    /// These are the other replicas; to one that is new `all` is news. Who they are has changed, or
    /// what is known of one of them: each is spoken to, for it may be another process.
    pub fn replicas(&mut self, pods: &[Box<str>], all: impl Fn() -> Vec<Arc<str>>) {
        self.replicas.retain(|pod, _| pods.contains(pod));
        for pod in pods {
            let replica = self.replicas.entry(pod.clone());
            let replica = replica.or_insert_with(|| Listener {
                untold: wants(all()),
                ..Listener::default()
            });
            replica.rest = 0;
        }
    }

    /// Time passes.
    pub fn round(&mut self) {
        for listener in self.replicas.values_mut() {
            listener.rest = listener.rest.saturating_sub(1);
        }
    }

    /// Everybody has to hear of this session.
    pub fn news(&mut self, id: &Arc<str>, news: News) {
        for listener in self.replicas.values_mut() {
            // One that never hears may never hear of what is over: its memory is bounded without.
            if matches!(news, News::Over(_)) && listener.untold.len() >= limits::MAX_SESSIONS {
                listener.untold.remove(id);
            } else {
                listener.untold.insert(Arc::clone(id), news);
            }
        }
    }

    /// A replica that is to be spoken to now, and of what. Nothing else is on its way to it until
    /// [`Self::heard`] or [`Self::deaf`].
    pub fn due(&mut self) -> Option<(Attempt, Told)> {
        let (pod, listener) = self.replicas.iter_mut().find(|(_, one)| one.is_due())?;
        self.attempts += 1;
        let ids = listener.untold.keys().take(AT_A_TIME).cloned();
        let ids: Vec<_> = ids.collect();
        let told: Told = ids
            .iter()
            .filter_map(|id| listener.untold.remove_entry(id))
            .collect();
        listener.on_its_way = Some((self.attempts, told.clone()));
        let attempt = Attempt {
            pod: pod.clone(),
            number: self.attempts,
        };
        Some((attempt, told))
    }

    /// There was no room for these.
    pub fn postpone(&mut self, attempt: &Attempt, rest: Told) {
        let Some(listener) = self.listener(attempt) else {
            return;
        };
        if let Some((_, told)) = &mut listener.on_its_way {
            told.retain(|id, _| !rest.contains_key(id));
        }
        listener.owe(rest);
    }

    /// It has heard, and is this process; to another process than the last time `all` is news.
    pub fn heard(&mut self, attempt: &Attempt, boot: &str, all: impl FnOnce() -> Vec<Arc<str>>) {
        let Some(listener) = self.listener(attempt) else {
            return;
        };
        listener.on_its_way = None;
        listener.failures = 0;
        listener.rest = GREETING;
        let before = listener.boot.replace(boot.into());
        if before.is_some_and(|before| *before != *boot) {
            listener.owe(wants(all()));
        }
    }

    /// It did not hear: it is told in a later round, and waited for by nobody until then.
    pub fn deaf(&mut self, attempt: &Attempt) {
        let Some(listener) = self.listener(attempt) else {
            return;
        };
        if let Some((_, told)) = listener.on_its_way.take() {
            listener.owe(told);
        }
        listener.rest = 1_u32
            .checked_shl(listener.failures)
            .map_or(PATIENCE, |rounds| rounds.min(PATIENCE));
        listener.failures = listener.failures.saturating_add(1);
    }

    /// Everybody that hears has heard the newest of this session.
    #[must_use]
    pub fn is_known(&self, id: &str) -> bool {
        let mut hearing = self.replicas.values().filter(|one| one.failures == 0);
        hearing.all(|one| !one.owes(id))
    }

    /// Whom this attempt was for, unless it is an earlier one than that which is on its way.
    fn listener(&mut self, attempt: &Attempt) -> Option<&mut Listener> {
        let listener = self.replicas.get_mut(&attempt.pod)?;
        let on_its_way = listener.on_its_way.as_ref();
        on_its_way
            .is_some_and(|(number, _)| *number == attempt.number)
            .then_some(listener)
    }
}

impl Listener {
    fn is_due(&self) -> bool {
        let news = self.failures == 0 && !self.untold.is_empty();
        self.on_its_way.is_none() && (news || self.rest == 0)
    }

    /// What has become newer meanwhile stays.
    fn owe(&mut self, told: Told) {
        for (id, news) in told {
            self.untold.entry(id).or_insert(news);
        }
    }

    fn owes(&self, id: &str) -> bool {
        let on_its_way = self.on_its_way.as_ref();
        self.untold.contains_key(id) || on_its_way.is_some_and(|(_, told)| told.contains_key(id))
    }
}

fn wants(ids: Vec<Arc<str>>) -> Told {
    ids.into_iter().map(|id| (id, News::Wants)).collect()
}
