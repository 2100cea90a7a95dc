//! Who still has to hear what about which session.
//!
//! Owns, for each other replica, the sessions that it has not heard the newest about, and when it is
//! spoken to again. Never speaks to anybody and never reads a clock: rounds come in, and what became
//! of each attempt. Exists so that a replica that does not hear delays nobody but once, and hears all
//! of it later.

use std::collections::HashMap;
use std::sync::Arc;

/// A replica with nothing to hear is spoken to every so many rounds: its answer says whether it is
/// still the same process, that has heard all before.
const GREETING: u32 = 10;

/// Sessions that are spoken of at a time, at most.
const AT_A_TIME: usize = 1_000;

/// Sessions over that one replica is to hear of, at most: they are news only for its memory, which is
/// bounded.
const OVER: usize = crate::limits::MAX_SESSIONS;

/// What there is to tell of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It wants something else.
    Wants,
    /// It is over.
    Over,
}

/// Sessions and what is to be told of each.
pub type Told = HashMap<Arc<str>, News>;

/// What all other replicas still have to hear.
#[derive(Debug, Default)]
pub struct Telling {
    replicas: HashMap<Box<str>, Listener>,
}

/// One other replica.
#[derive(Debug, Default)]
struct Listener {
    /// The process that heard last.
    boot: Option<Box<str>>,
    untold: Told,
    /// It is being told this.
    on_its_way: Option<Told>,
    /// It heard the last time, or has not been spoken to.
    hears: bool,
    /// So many rounds it is left alone, unless it hears and there is news.
    rest: u32,
}

impl Telling {
    /// These are the other replicas; to one that is new `all` is news. It is waited for, until it is
    /// found not to hear.
    pub fn replicas(&mut self, pods: &[Box<str>], all: impl Fn() -> Vec<Arc<str>>) {
        self.replicas.retain(|pod, _| pods.contains(pod));
        for pod in pods {
            let replicas = self.replicas.entry(pod.clone());
            replicas.or_insert_with(|| Listener {
                untold: all().into_iter().map(|id| (id, News::Wants)).collect(),
                hears: true,
                ..Listener::default()
            });
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
            let over = news == News::Over;
            if over && listener.untold.len() >= OVER && !listener.untold.contains_key(id) {
                continue;
            }
            listener.untold.insert(Arc::clone(id), news);
        }
    }

    /// A replica that is to be spoken to now, and of what. It is on its way until [`Self::heard`] or
    /// [`Self::deaf`].
    pub fn due(&mut self) -> Option<(Box<str>, Told)> {
        let (pod, listener) = self.replicas.iter_mut().find(|(_, one)| one.is_due())?;
        let some: Vec<_> = listener.untold.keys().take(AT_A_TIME).cloned().collect();
        let some = some.into_iter();
        let told: Told = some
            .filter_map(|id| listener.untold.remove_entry(&id))
            .collect();
        listener.on_its_way = Some(told.clone());
        Some((pod.clone(), told))
    }

    /// There was no room for these.
    pub fn postpone(&mut self, pod: &str, rest: Told) {
        let Some(listener) = self.replicas.get_mut(pod) else {
            return;
        };
        if let Some(on_its_way) = &mut listener.on_its_way {
            on_its_way.retain(|id, _| !rest.contains_key(id));
        }
        listener.owe(rest);
    }

    /// It has heard, and is this process; to another process than the last time `all` is news.
    pub fn heard(&mut self, pod: &str, boot: &str, all: impl FnOnce() -> Vec<Arc<str>>) {
        let Some(listener) = self.replicas.get_mut(pod) else {
            return;
        };
        listener.on_its_way = None;
        listener.hears = true;
        listener.rest = GREETING;
        let before = listener.boot.replace(boot.into());
        if before.is_some_and(|before| *before != *boot) {
            listener.owe(all().into_iter().map(|id| (id, News::Wants)).collect());
        }
    }

    /// It did not hear: it is told in the next round, and waited for by nobody until then.
    pub fn deaf(&mut self, pod: &str) {
        let Some(listener) = self.replicas.get_mut(pod) else {
            return;
        };
        if let Some(told) = listener.on_its_way.take() {
            listener.owe(told);
        }
        listener.hears = false;
        listener.rest = 1;
    }

    /// Everybody that hears has heard the newest of this session.
    #[must_use]
    pub fn is_known(&self, id: &str) -> bool {
        let mut hearing = self.replicas.values().filter(|one| one.hears);
        hearing.all(|one| !one.owes(id))
    }
}

impl Listener {
    fn is_due(&self) -> bool {
        let news = self.hears && !self.untold.is_empty();
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
        self.untold.contains_key(id) || on_its_way.is_some_and(|told| told.contains_key(id))
    }
}
