//! Who still has to hear what about which session.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use vmcp_core::limits::MAX_SESSIONS;
use vmcp_core::session::{News, Telling, Told};

use crate::support::{SOME, cases};

const BOOT: &str = "one process";

fn none() -> Vec<Arc<str>> {
    Vec::new()
}

fn pods(pods: &[&str]) -> Vec<Box<str>> {
    pods.iter().copied().map(Into::into).collect()
}

/// With these as the others, and all of them have heard what there is.
fn among(others: &[&str]) -> Telling {
    let mut telling = Telling::default();
    telling.replicas(&pods(others), none);
    while let Some((pod, _)) = telling.due() {
        telling.heard(&pod, BOOT, none);
    }
    telling
}

fn wants(ids: &[&str]) -> Told {
    let ids = ids.iter().copied().map(Arc::from);
    ids.map(|id| (id, News::Wants)).collect()
}

/// Whoever hears is waited for until it has heard.
#[test]
fn it_is_known_when_everybody_has_heard() {
    let mut telling = among(&["x", "y"]);
    assert!(telling.is_known("s"));

    telling.news(&"s".into(), News::Wants);

    let asked: BTreeMap<_, _> = std::iter::from_fn(|| telling.due()).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked.values().all(|told| *told == wants(&["s"])));
    telling.heard("x", BOOT, none);
    assert!(!telling.is_known("s"), "y has not heard");
    telling.heard("y", BOOT, none);
    assert!(telling.is_known("s"));
}

/// One message at a time, so that none overtakes another; what became newer meanwhile is told next.
#[test]
fn what_changes_on_the_way_is_told_again() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    assert!(telling.due().is_some());

    telling.news(&"s".into(), News::Over);

    assert_eq!(telling.due(), None);
    telling.heard("x", BOOT, none);
    assert!(!telling.is_known("s"));
    let again = Told::from([("s".into(), News::Over)]);
    assert_eq!(telling.due(), Some(("x".into(), again)));
}

/// A hung replica holds up the first that waits, and nobody after it.
#[test]
fn one_that_does_not_hear_is_waited_for_once() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    assert!(telling.due().is_some());
    telling.deaf("x");

    assert!(telling.is_known("s"), "nobody waits for it");
    telling.news(&"t".into(), News::Wants);
    assert!(telling.is_known("t"));
    assert_eq!(telling.due(), None, "not in this round");
    telling.round();
    assert_eq!(telling.due(), Some(("x".into(), wants(&["s", "t"]))));
    telling.heard("x", BOOT, none);
    telling.news(&"s".into(), News::Wants);
    assert!(!telling.is_known("s"), "it is waited for again");
}

/// A process that has come in another's place is told all, though nothing has happened since.
#[test]
fn a_new_process_under_an_old_name_is_told_all() {
    let mut telling = among(&["x"]);
    let greeted = (0..100).find_map(|_| {
        telling.round();
        telling.due()
    });
    assert_eq!(greeted, Some(("x".into(), Told::new())));

    telling.heard("x", "another process", || vec!["s".into()]);

    assert_eq!(telling.due(), Some(("x".into(), wants(&["s"]))));
}

/// A gateway of one replica keeps nothing for anybody.
#[test]
fn alone_there_is_nothing_to_tell() {
    let mut telling = Telling::default();
    telling.news(&"s".into(), News::Wants);
    assert!(telling.is_known("s"));
    assert_eq!(telling.due(), None);

    telling.replicas(&pods(&["x"]), none);
    assert_eq!(telling.due(), Some(("x".into(), Told::new())));
}

/// Sessions that are over are news without end for a replica that never hears.
#[test]
fn news_of_what_is_over_is_bounded() {
    let mut telling = among(&["x"]);
    for at in 0..=MAX_SESSIONS {
        telling.news(&at.to_string().into(), News::Over);
    }

    let mut told = 0;
    while let Some((pod, some)) = telling.due() {
        told += some.len();
        telling.heard(&pod, BOOT, none);
    }
    assert_eq!(told, MAX_SESSIONS);
}

#[derive(Clone, Debug)]
enum Step {
    News(usize),
    Round,
    Speak,
    /// What is on its way to this replica arrives, or does not.
    Arrives(usize),
    Fails(usize),
    /// It arrives, and the answer to it is lost.
    Unanswered(usize),
    Restarts(usize),
    Joins(usize),
    Leaves(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let replica = 0_usize..3;
    let step = prop_oneof![
        4 => (0_usize..4).prop_map(Step::News),
        2 => Just(Step::Round),
        4 => Just(Step::Speak),
        4 => replica.clone().prop_map(Step::Arrives),
        1 => replica.clone().prop_map(Step::Fails),
        1 => replica.clone().prop_map(Step::Unanswered),
        1 => replica.clone().prop_map(Step::Restarts),
        1 => replica.clone().prop_map(Step::Joins),
        1 => replica.prop_map(Step::Leaves),
    ];
    proptest::collection::vec(step, 1..80)
}

/// One other replica, as it is.
#[derive(Debug, Default)]
struct Process {
    boot: u32,
    /// The newest that it has heard of each session.
    knows: BTreeMap<Arc<str>, u64>,
    on_its_way: Option<BTreeMap<Arc<str>, u64>>,
    /// The process that its teller has met, if that heard the last time.
    met: Option<u32>,
}

#[derive(Default)]
struct World {
    telling: Telling,
    newest: BTreeMap<Arc<str>, u64>,
    replicas: BTreeMap<Box<str>, Process>,
}

impl World {
    fn all(newest: &BTreeMap<Arc<str>, u64>) -> Vec<Arc<str>> {
        newest.keys().cloned().collect()
    }

    fn roster(&mut self) {
        let pods: Vec<_> = self.replicas.keys().cloned().collect();
        let newest = &self.newest;
        self.telling.replicas(&pods, || Self::all(newest));
    }

    fn speak(&mut self) {
        while let Some((pod, told)) = self.telling.due() {
            let now = told
                .into_keys()
                .map(|id| (Arc::clone(&id), self.newest[&id]));
            let now: BTreeMap<_, _> = now.collect();
            let process = self.replicas.get_mut(&pod).expect("it is a replica");
            assert!(process.on_its_way.is_none(), "two messages at a time");
            process.on_its_way = Some(now);
        }
    }

    /// What is on its way to this replica is heard, and the answer too.
    fn arrives(&mut self, pod: &str) {
        if self.is_heard(pod) {
            let (newest, process) = (&self.newest, &mut self.replicas);
            let process = process.get_mut(pod).expect("it is a replica");
            process.met = Some(process.boot);
            let boot = process.boot.to_string();
            self.telling.heard(pod, &boot, || Self::all(newest));
        }
    }

    /// The same, and the answer is lost.
    fn unanswered(&mut self, pod: &str) {
        if self.is_heard(pod) {
            self.is_deaf(pod);
        }
    }

    /// `false`: nothing is on its way.
    fn is_heard(&mut self, pod: &str) -> bool {
        let Some(process) = self.replicas.get_mut(pod) else {
            return false;
        };
        let told = process.on_its_way.take();
        let heard = told.is_some();
        process.knows.extend(told.unwrap_or_default());
        heard
    }

    fn is_deaf(&mut self, pod: &str) {
        if let Some(process) = self.replicas.get_mut(pod) {
            process.met = None;
        }
        self.telling.deaf(pod);
    }

    fn step(&mut self, step: &Step) {
        let pod = |at: &usize| Box::<str>::from(at.to_string());
        match step {
            Step::News(at) => {
                let id: Arc<str> = at.to_string().into();
                *self.newest.entry(Arc::clone(&id)).or_default() += 1;
                self.telling.news(&id, News::Wants);
            }
            Step::Round => {
                self.telling.round();
                self.roster();
            }
            Step::Speak => self.speak(),
            Step::Arrives(at) => self.arrives(&pod(at)),
            Step::Unanswered(at) => self.unanswered(&pod(at)),
            Step::Fails(at) => {
                let process = self.replicas.get_mut(&pod(at));
                if process.is_some_and(|process| process.on_its_way.take().is_some()) {
                    self.is_deaf(&pod(at));
                }
            }
            Step::Restarts(at) => {
                if let Some(process) = self.replicas.get_mut(&pod(at)) {
                    process.boot += 1;
                    process.knows.clear();
                }
            }
            Step::Joins(at) => {
                self.replicas.entry(pod(at)).or_default();
                self.roster();
            }
            Step::Leaves(at) => {
                self.replicas.remove(&pod(at));
                self.roster();
            }
        }
    }

    /// What is said to be known is known to every replica that heard the last time, but to a process
    /// that nobody has met yet.
    fn check(&self) {
        let known = self.newest.iter();
        for (id, newest) in known.filter(|(id, _)| self.telling.is_known(id)) {
            for process in self.replicas.values() {
                if process.met == Some(process.boot) {
                    assert_eq!(process.knows.get(id), Some(newest), "{id}: {process:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// Decision 8: whatever becomes of messages and replicas, what is said to be known is known, and
    /// in the end all know the newest of all.
    #[test]
    fn all_hear_of_all_in_the_end(steps in steps()) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            world.check();
        }

        // Two greetings: one to meet a process, one for what it is told then.
        for _ in 0..30 {
            world.step(&Step::Round);
            world.speak();
            for at in 0..3 {
                world.step(&Step::Arrives(at));
            }
            world.check();
        }
        for (pod, process) in &world.replicas {
            prop_assert_eq!(&process.knows, &world.newest, "{}", pod);
        }
        prop_assert!(world.newest.keys().all(|id| world.telling.is_known(id)));
    }
}
