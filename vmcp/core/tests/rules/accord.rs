//! When the replicas of a gateway list the same.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use vmcp_core::catalog::{Accord, CatalogHash, Shown, Verdict, Word};
use vmcp_core::id::BackendName;
use vmcp_core::limits::AGREE_WITHIN;
use vmcp_core::time::Tick;

const NOW: Tick = Tick(1_000_000);
const MOMENT: Duration = Duration::from_millis(1);

fn name(name: &str) -> BackendName {
    BackendName(name.into())
}

/// What a replica shows whose backends list these.
fn shown(backends: &[(&str, &str)]) -> Shown {
    let hash = |list: &str| CatalogHash::of([(list, "{}")]);
    let named = backends.iter().map(|(at, list)| (name(at), hash(list)));
    Shown {
        backends: named.collect(),
        lists: CatalogHash::of(backends.iter().copied()),
    }
}

/// A replica that has shown this for a while.
fn settled(backends: &[(&str, &str)]) -> Accord {
    let mut accord = Accord::default();
    assert_eq!(accord.published(shown(backends), NOW), None);
    accord
}

/// Another's news, and the looks that it brings on.
fn hear(accord: &mut Accord, word: &Word, own: &Shown) -> Vec<BackendName> {
    let names = accord.heard(word, own);
    for name in &names {
        accord.echoes(name.clone(), NOW);
    }
    names
}

/// What replicas answer, the first one first.
fn said(answers: &[bool]) -> Vec<(Box<str>, bool)> {
    let named = answers.iter().enumerate();
    named
        .map(|(at, agrees)| (at.to_string().into(), *agrees))
        .collect()
}

/// R4.11, T15: what is the same as before is no news, nor what a replica lists first.
#[test]
fn only_a_changed_list_is_news() {
    let mut accord = settled(&[("a", "1"), ("b", "1")]);

    assert_eq!(
        accord.published(shown(&[("a", "1"), ("b", "1")]), NOW),
        None
    );
    let word = accord
        .published(shown(&[("a", "2"), ("b", "1")]), NOW)
        .unwrap();

    assert!(word.has_news());
    assert!(word.agrees(&shown(&[("a", "2"), ("b", "other")])));
    assert!(!word.agrees(&shown(&[("a", "1"), ("b", "1")])));
    assert!(word.agrees(&shown(&[("b", "1")])), "it shows no old list");
}

/// Backends come and go, and rules change, for all replicas: each sees that itself.
#[test]
fn what_is_no_list_of_a_backend_is_compared_and_no_news() {
    let mut accord = settled(&[("a", "1"), ("b", "1")]);

    let word = accord.published(shown(&[("a", "1")]), NOW).unwrap();

    assert!(!word.has_news());
    assert!(word.agrees(&shown(&[("a", "1")])));
    assert!(!word.agrees(&shown(&[("a", "1"), ("b", "1")])));
}

#[test]
fn news_is_looked_at_where_another_list_is_shown_and_is_not_told_on() {
    let word = settled(&[("a", "1"), ("b", "1")])
        .published(shown(&[("a", "2"), ("b", "2")]), NOW)
        .unwrap();
    let own = [("a", "2"), ("b", "1")];
    let mut accord = settled(&own);

    assert_eq!(hear(&mut accord, &word, &shown(&own)), [name("b")]);
    let echo = accord
        .published(shown(&[("a", "2"), ("b", "3")]), NOW)
        .unwrap();
    assert!(!echo.has_news());
    assert!(!echo.agrees(&shown(&[("b", "2")])), "compared all the same");

    // Once: what comes then is its own.
    let own = accord
        .published(shown(&[("a", "2"), ("b", "4")]), NOW)
        .unwrap();
    assert!(own.has_news());
}

#[test]
fn a_look_without_a_change_makes_no_later_change_silent() {
    let word = settled(&[("a", "1")])
        .published(shown(&[("a", "2")]), NOW)
        .unwrap();
    let mut accord = settled(&[("a", "1")]);
    assert_eq!(hear(&mut accord, &word, &shown(&[("a", "1")])).len(), 1);

    let later = accord.published(shown(&[("a", "2")]), NOW.after(AGREE_WITHIN));

    assert!(later.unwrap().has_news());
}

/// mcp.md: the last to agree ends it, and 5 s do.
#[test]
fn it_is_open_until_all_agree_or_the_time_is_up() {
    let begin = || {
        let mut accord = settled(&[("a", "1")]);
        accord.published(shown(&[("a", "2")]), NOW).unwrap();
        accord
    };
    let mut accord = begin();
    assert_eq!(accord.answered(&said(&[true, false]), NOW), Verdict::Open);
    assert!(accord.open().is_some());
    assert_eq!(accord.answered(&said(&[true, true]), NOW), Verdict::Agreed);
    assert!(accord.open().is_none());

    // Nobody is there, or nobody answers.
    assert_eq!(begin().answered(&said(&[]), NOW), Verdict::Agreed);

    let mut accord = begin();
    let last = Tick(NOW.after(AGREE_WITHIN).0 - 1);
    assert_eq!(accord.answered(&said(&[false]), last), Verdict::Open);
    let late = last.after(MOMENT);
    assert_eq!(accord.answered(&said(&[false]), late), Verdict::GivenUp);
    assert!(accord.open().is_none());
}

/// Not to answer once is no agreement of whoever showed the old list.
#[test]
fn who_has_said_no_has_to_say_yes() {
    let mut accord = settled(&[("a", "1")]);
    accord.published(shown(&[("a", "2")]), NOW).unwrap();

    assert_eq!(accord.answered(&said(&[true, false]), NOW), Verdict::Open);
    assert_eq!(accord.answered(&said(&[true]), NOW), Verdict::Open);
    assert_eq!(accord.answered(&said(&[]), NOW), Verdict::Open);
    assert_eq!(accord.answered(&said(&[true, true]), NOW), Verdict::Agreed);
}

/// News that finds no room for its look is no reason to take the next change for an echo.
#[test]
fn without_a_look_the_next_change_is_told() {
    let word = settled(&[("a", "1")])
        .published(shown(&[("a", "2")]), NOW)
        .unwrap();
    let mut accord = settled(&[("a", "1")]);
    assert_eq!(accord.heard(&word, &shown(&[("a", "1")])), [name("a")]);

    let own = accord.published(shown(&[("a", "3")]), NOW).unwrap();

    assert!(own.has_news());
}

/// However much is said, what was said first is given up in its time.
#[test]
fn what_is_old_is_not_taken_along_for_ever() {
    let mut accord = settled(&[("a", "1"), ("b", "1")]);
    accord.published(shown(&[("a", "2"), ("b", "1")]), NOW);
    let mut now = NOW;
    for list in ["2", "3", "4"] {
        now = now.after(AGREE_WITHIN / 2);
        accord.published(shown(&[("a", "2"), ("b", list)]), now);
    }

    let word = accord.open().unwrap();
    assert!(
        word.agrees(&shown(&[("a", "1"), ("b", "4")])),
        "no more of a"
    );
    assert!(!word.agrees(&shown(&[("a", "2"), ("b", "3")])));
}

#[test]
fn a_change_in_between_takes_along_what_was_not_agreed_on() {
    let mut accord = settled(&[("a", "1"), ("b", "1")]);
    accord.published(shown(&[("a", "2"), ("b", "1")]), NOW);
    let later = NOW.after(AGREE_WITHIN - MOMENT);

    let word = accord
        .published(shown(&[("a", "2"), ("b", "2")]), later)
        .unwrap();

    assert!(!word.agrees(&shown(&[("a", "1"), ("b", "2")])));
    assert!(!word.agrees(&shown(&[("a", "2"), ("b", "1")])));
    assert!(word.agrees(&shown(&[("a", "2"), ("b", "2")])));
    let mut other = settled(&[("a", "1"), ("b", "1")]);
    let own = shown(&[("a", "1"), ("b", "1")]);
    assert_eq!(hear(&mut other, &word, &own), [name("b")], "told once");
    let late = NOW.after(AGREE_WITHIN);
    assert_eq!(
        accord.answered(&said(&[false]), late),
        Verdict::Open,
        "its own time"
    );
}

/// Replicas of one gateway with one backend, and what they say to each other.
struct World {
    replicas: Vec<(Accord, u64)>,
    words: VecDeque<(usize, Word)>,
    told: usize,
}

impl World {
    fn new(replicas: usize) -> Self {
        let one = || (settled(&[("a", "0")]), 0);
        Self {
            replicas: std::iter::repeat_with(one).take(replicas).collect(),
            words: VecDeque::new(),
            told: 0,
        }
    }

    fn own(&self, at: usize) -> Shown {
        shown(&[("a", &self.replicas[at].1.to_string())])
    }

    /// A replica reads the list.
    fn read(&mut self, at: usize, list: u64) {
        self.replicas[at].1 = list;
        let own = self.own(at);
        let word = self.replicas[at].0.published(own, NOW);
        if let Some(word) = word.filter(Word::has_news) {
            self.told += 1;
            let others = (0..self.replicas.len()).filter(|other| *other != at);
            self.words.extend(others.map(|other| (other, word.clone())));
        }
    }

    /// Everything that is said arrives; `list` is what the backend says each time it is read.
    fn settle(&mut self, mut list: impl FnMut() -> u64) -> usize {
        let mut looks = 0;
        while let Some((at, word)) = self.words.pop_front() {
            let own = self.own(at);
            if !hear(&mut self.replicas[at].0, &word, &own).is_empty() {
                looks += 1;
                self.read(at, list());
            }
            assert!(looks < 1_000, "it goes round");
        }
        looks
    }
}

proptest! {
    /// Whoever sees a change first, all come to list it, and each of the others looks once.
    #[test]
    fn one_change_is_looked_at_once_by_each_other_replica(replicas in 1_usize..6, first: usize) {
        let mut world = World::new(replicas);
        world.read(first % replicas, 1);

        let looks = world.settle(|| 1);

        prop_assert_eq!(looks, replicas - 1);
        prop_assert_eq!(world.told, 1);
        prop_assert!(world.replicas.iter().all(|(_, list)| *list == 1));
    }

    /// A backend whose list is another at each look sets no replica going for ever.
    #[test]
    fn a_backend_that_never_lists_the_same_costs_one_look_for_each_piece_of_news(
        replicas in 1_usize..6,
        seen in proptest::collection::vec(0_usize..6, 1..6),
    ) {
        let mut world = World::new(replicas);
        let mut last = 0;
        let mut next = || { last += 1; last };
        for at in &seen {
            world.read(at % replicas, next());
        }

        let looks = world.settle(next);

        prop_assert!(looks <= seen.len() * replicas.saturating_sub(1));
        prop_assert!(world.told <= seen.len());
    }

    #[test]
    fn a_word_arrives_as_it_was_said(lists in proptest::collection::vec("[a-c]", 1..4)) {
        let pairs: Vec<_> = lists.iter().map(|list| (list.as_str(), "2")).collect();
        let mut accord = settled(&[]);
        let word = accord.published(shown(&pairs), NOW).unwrap();

        let written = serde_json::to_vec(&word).unwrap();

        prop_assert_eq!(serde_json::from_slice::<Word>(&written).unwrap(), word);
    }

    /// It comes from whoever proves the session key; that is no reason to trust its form.
    #[test]
    fn what_is_no_word_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = serde_json::from_slice::<Word>(&bytes);
    }
}
