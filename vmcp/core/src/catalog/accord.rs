//! When the replicas of one gateway list the same.
//!
//! Owns what a replica says to the others when its lists changed, what another one makes of that,
//! and until when it is waited for that all of them list the same. Never reads a clock, never asks
//! anybody. Exists so that a client that was told by one replica is not left with the old list of
//! another (R4.11, T15).
//!
//! # Why nothing goes round
//! Only what a replica found out by itself is news. A list that it read because another replica had
//! news of that backend is compared with the others and never told again, whatever it says: a
//! backend whose list is another at each look costs each replica one look for each piece of news.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::CatalogHash;
use crate::id::BackendName;
use crate::limits;
use crate::time::Tick;

/// A [`CatalogHash`] as it is written.
type Written = Box<str>;

/// What one replica lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The last good lists of each backend that has any.
    pub backends: BTreeMap<BackendName, CatalogHash>,
    /// Of all together, as clients see them.
    pub lists: CatalogHash,
}

/// What one replica says to the others about its lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Lists that it has found changed.
    news: BTreeMap<BackendName, Written>,
    /// Other lists that are to be the same everywhere.
    rest: BTreeMap<BackendName, Written>,
    /// Where something else changed than the list of a backend.
    lists: Option<Written>,
}

/// What answers to a word mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All replicas list the same.
    Agreed,
    /// To be asked again.
    Open,
    /// It takes too long.
    GivenUp,
}

/// One replica among others.
#[derive(Debug, Default)]
pub struct Accord {
    known: Option<Shown>,
    /// Lists that are read anew because of another replica's news; until when that is remembered.
    echoes: BTreeMap<BackendName, Tick>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    word: Word,
    until: Tick,
    /// When the oldest part of it is given up, however much has been said since.
    first: Tick,
    /// Who has said no, and not yes since. Not to answer is neither.
    against: BTreeSet<Box<str>>,
}

impl Shown {
    /// It shows no other list of this backend: this one, or none.
    fn shows_no_other(&self, name: &BackendName, hash: &Written) -> bool {
        let own = self.backends.get(name);
        own.is_none_or(|own| own.to_string() == **hash)
    }
}

impl Word {
    /// The others have to look at a backend.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// A replica that shows nothing of a backend shows no old list of it.
    #[must_use]
    pub fn agrees(&self, own: &Shown) -> bool {
        let mut named = self.news.iter().chain(&self.rest);
        named.all(|(name, hash)| own.shows_no_other(name, hash))
            && (self.lists.as_ref()).is_none_or(|lists| own.lists.to_string() == **lists)
    }
}

impl Accord {
    /// Takes what is listed from now on; what is to be said about it, if anything. The first lists
    /// of a replica are nothing new.
    pub fn published(&mut self, shown: Shown, now: Tick) -> Option<Word> {
        let before = self.known.take();
        let shown = self.known.insert(shown);
        let before = before?;
        let mut word = Word::default();
        for (name, hash) in &shown.backends {
            if before.backends.get(name) != Some(hash) {
                let echo = self.echoes.remove(name).is_some_and(|until| now < until);
                let part = if echo { &mut word.rest } else { &mut word.news };
                part.insert(name.clone(), hash.to_string().into());
            }
        }
        if word == Word::default() && before.lists == shown.lists {
            return None;
        }
        if word == Word::default() {
            word.lists = Some(shown.lists.to_string().into());
        }
        let until = now.after(limits::AGREE_WITHIN);
        let mut first = until;
        if let Some(open) = self.open.take().filter(|open| now < open.first) {
            first = open.first;
            word.adopt(open.word, shown);
        }
        self.open = Some(Open {
            word: word.clone(),
            until,
            first,
            against: BTreeSet::new(),
        });
        Some(word)
    }

    /// Another replica has news; whose lists are to be read anew.
    #[must_use]
    pub fn heard(&self, word: &Word, own: &Shown) -> Vec<BackendName> {
        let news = word.news.iter();
        news.filter(|(name, hash)| !own.shows_no_other(name, hash))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// This list is read anew because another replica had news of it.
    pub fn echoes(&mut self, name: BackendName, now: Tick) {
        self.echoes.retain(|_, until| now < *until);
        let until = now.after(limits::AGREE_WITHIN);
        self.echoes.insert(name, until);
    }

    /// What the others are asked while they do not list the same.
    #[must_use]
    pub fn open(&self) -> Option<&Word> {
        self.open.as_ref().map(|open| &open.word)
    }

    /// Takes what the others answered. Who never answers serves nobody, as far as is known here; who
    /// has said no once has to say yes.
    pub fn answered(&mut self, answers: &[(Box<str>, bool)], now: Tick) -> Verdict {
        let Some(open) = &mut self.open else {
            return Verdict::GivenUp;
        };
        for (who, agrees) in answers {
            if *agrees {
                open.against.remove(who);
            } else {
                open.against.insert(who.clone());
            }
        }
        let verdict = match open.against.is_empty() {
            true => Verdict::Agreed,
            false if open.until <= now => Verdict::GivenUp,
            false => Verdict::Open,
        };
        if verdict != Verdict::Open {
            self.open = None;
        }
        verdict
    }
}

impl Word {
    /// What was not agreed on before is part of this one, as it is listed now.
    fn adopt(&mut self, earlier: Self, shown: &Shown) {
        for name in earlier.news.into_keys().chain(earlier.rest.into_keys()) {
            let hash = shown.backends.get(&name);
            if let Some(hash) = hash.filter(|_| !self.news.contains_key(&name)) {
                self.rest.insert(name, hash.to_string().into());
            }
        }
        if earlier.lists.is_some() {
            self.lists = Some(shown.lists.to_string().into());
        }
    }
}
