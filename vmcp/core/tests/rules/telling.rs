//! Who still has to hear what about which session.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use vmcp_core::limits::MAX_SESSIONS;
use vmcp_core::session::{Attempt, News, Telling, Told};

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
    while let Some((attempt, _)) = telling.due() {
        telling.heard(&attempt, BOOT, none);
    }
    telling
}

fn wants(ids: &[&str]) -> Told {
    let ids = ids.iter().copied().map(Arc::from);
    ids.map(|id| (id, News::Wants)).collect()
}

/// What the only other replica is told now.
fn told(telling: &mut Telling) -> Option<(Attempt, Told)> {
    let due = telling.due();
    assert_eq!(telling.due(), None, "one message at a time");
    due
}

/// Whoever hears is waited for until it has heard.
#[test]
fn it_is_known_when_everybody_has_heard() {
    let mut telling = among(&["x", "y"]);
    assert!(telling.is_known("s"));

    telling.news(&"s".into(), News::Wants);

    let (first, told) = telling.due().expect("news");
    assert_eq!(told, wants(&["s"]));
    let (second, told) = telling.due().expect("for the other, too");
    assert_eq!(told, wants(&["s"]));
    assert_ne!(first.pod, second.pod);
    telling.heard(&first, BOOT, none);
    assert!(!telling.is_known("s"), "the other one has not heard");
    telling.heard(&second, BOOT, none);
    assert!(telling.is_known("s"));
}

/// One message at a time, so that none overtakes another; what became newer meanwhile is told next.
#[test]
fn what_changes_on_the_way_is_told_again() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let (attempt, _) = told(&mut telling).expect("news");

    telling.news(&"s".into(), News::Over(7));

    telling.heard(&attempt, BOOT, none);
    assert!(!telling.is_known("s"));
    let (_, again) = told(&mut telling).expect("more news");
    assert_eq!(again, Told::from([("s".into(), News::Over(7))]));
}

/// A hung replica holds up the first that waits, and nobody after it.
#[test]
fn one_that_does_not_hear_is_waited_for_once() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let (attempt, _) = told(&mut telling).expect("news");
    telling.deaf(&attempt);

    assert!(telling.is_known("s"), "nobody waits for it");
    telling.news(&"t".into(), News::Wants);
    assert!(telling.is_known("t"));
    assert_eq!(told(&mut telling), None, "not in this round");
    telling.round();
    let (attempt, all) = told(&mut telling).expect("in the next");
    assert_eq!(all, wants(&["s", "t"]));
    telling.heard(&attempt, BOOT, none);
    telling.news(&"s".into(), News::Wants);
    assert!(!telling.is_known("s"), "it is waited for again");
}

/// One that never hears is spoken to ever more seldom, within bounds.
#[test]
fn one_that_never_hears_is_left_alone_for_longer() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let mut rounds = Vec::new();
    for round in 0..40 {
        if let Some((attempt, _)) = told(&mut telling) {
            rounds.push(round);
            telling.deaf(&attempt);
        }
        telling.round();
    }
    assert_eq!(rounds, [0, 1, 3, 7, 15, 23, 31, 39]);
}

/// A process that has come in another's place is told all, though nothing has happened since.
#[test]
fn a_new_process_under_an_old_name_is_told_all() {
    let mut telling = among(&["x"]);
    let greeted = (0..100).find_map(|_| {
        telling.round();
        told(&mut telling)
    });
    let (attempt, greeting) = greeted.expect("it is greeted");
    assert!(greeting.is_empty());
    telling.heard(&attempt, "another process", || vec!["s".into()]);
    let (attempt, all) = told(&mut telling).expect("all");
    assert_eq!(all, wants(&["s"]));
    telling.heard(&attempt, "another process", none);

    // It is spoken to at once where the roster says that something has changed.
    assert_eq!(told(&mut telling), None);
    telling.replicas(&pods(&["x"]), none);
    assert!(told(&mut telling).is_some());
}

/// What is heard of an attempt that belongs to the past says nothing of the present.
#[test]
fn a_late_answer_is_not_taken_for_a_new_one() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let (late, _) = told(&mut telling).expect("news");
    telling.replicas(&[], none);
    telling.replicas(&pods(&["x"]), || vec!["s".into()]);
    let (attempt, _) = told(&mut telling).expect("it is new, and told all");

    telling.heard(&late, BOOT, none);
    assert!(!telling.is_known("s"));
    telling.deaf(&late);
    assert!(!telling.is_known("s"), "it is still waited for");

    telling.deaf(&attempt);
    telling.round();
    let (_, again) = told(&mut telling).expect("it did not hear");
    assert_eq!(again, wants(&["s"]));
}

/// What there was no room for is told with the next message.
#[test]
fn what_did_not_fit_is_told_next() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    telling.news(&"t".into(), News::Wants);
    let (attempt, _) = told(&mut telling).expect("news");

    telling.postpone(&attempt, wants(&["t"]));

    telling.heard(&attempt, BOOT, none);
    assert!(telling.is_known("s") && !telling.is_known("t"));
    let (_, rest) = told(&mut telling).expect("the rest");
    assert_eq!(rest, wants(&["t"]));
}

/// A gateway of one replica keeps nothing for anybody.
#[test]
fn alone_there_is_nothing_to_tell() {
    let mut telling = Telling::default();
    telling.news(&"s".into(), News::Wants);
    assert!(telling.is_known("s"));
    assert_eq!(told(&mut telling), None);

    telling.replicas(&pods(&["x"]), none);
    let (_, greeting) = told(&mut telling).expect("it is greeted");
    assert!(greeting.is_empty());
}

/// Sessions without end that begin, say something and are over: news without end for a replica
/// that never hears.
#[test]
fn news_for_one_that_never_hears_is_bounded() {
    let mut telling = among(&["x"]);
    for at in 0..MAX_SESSIONS * 3 {
        let id = at.to_string().into();
        telling.news(&id, News::Wants);
        telling.news(&id, News::Over(1));
    }

    let mut all = 0;
    while let Some((attempt, some)) = told(&mut telling) {
        all += some.len();
        telling.heard(&attempt, BOOT, none);
    }
    assert!(all <= MAX_SESSIONS, "{all}");
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
    /// What was on its way to this replica when it left arrives.
    Late(usize),
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
        1 => replica.clone().prop_map(Step::Leaves),
        1 => replica.prop_map(Step::Late),
    ];
    proptest::collection::vec(step, 1..80)
}

type Revisions = BTreeMap<Arc<str>, u64>;

/// One other replica, as it is.
#[derive(Debug, Default)]
struct Process {
    boot: u32,
    /// The newest that it has heard of each session.
    knows: Revisions,
    on_its_way: Option<(Attempt, Revisions)>,
    /// From before it left.
    late: Vec<(Attempt, Revisions)>,
    /// The process that its teller has met, if that heard the last time.
    met: Option<u32>,
}

impl Process {
    /// What is older than it knows changes nothing.
    fn hears(&mut self, told: Revisions) {
        for (id, revision) in told {
            let known = self.knows.entry(id).or_default();
            *known = (*known).max(revision);
        }
    }
}

#[derive(Default)]
struct World {
    telling: Telling,
    newest: Revisions,
    replicas: BTreeMap<Box<str>, Process>,
    /// Those that have left, and may come back.
    away: BTreeMap<Box<str>, Process>,
}

impl World {
    fn all(newest: &Revisions) -> Vec<Arc<str>> {
        newest.keys().cloned().collect()
    }

    fn roster(&mut self) {
        let pods: Vec<_> = self.replicas.keys().cloned().collect();
        let newest = &self.newest;
        self.telling.replicas(&pods, || Self::all(newest));
    }

    fn speak(&mut self) {
        while let Some((attempt, told)) = self.telling.due() {
            let now = told
                .into_keys()
                .map(|id| (Arc::clone(&id), self.newest[&id]));
            let now: BTreeMap<_, _> = now.collect();
            let process = self.replicas.get_mut(&attempt.pod);
            let process = process.expect("it is a replica");
            assert!(process.on_its_way.is_none(), "two messages at a time");
            process.on_its_way = Some((attempt, now));
        }
    }

    /// What is on its way to this replica is heard, and the answer too.
    fn arrives(&mut self, pod: &str) {
        let Some(process) = self.replicas.get_mut(pod) else {
            return;
        };
        if let Some((attempt, told)) = process.on_its_way.take() {
            process.hears(told);
            process.met = Some(process.boot);
            let (boot, newest) = (process.boot.to_string(), &self.newest);
            self.telling.heard(&attempt, &boot, || Self::all(newest));
        }
    }

    /// It is heard long after, by a replica that has left and come back.
    fn arrives_late(&mut self, pod: &str) {
        let Some(process) = self.replicas.get_mut(pod) else {
            return;
        };
        if let Some((attempt, told)) = process.late.pop() {
            process.hears(told);
            let (boot, newest) = (process.boot.to_string(), &self.newest);
            self.telling.heard(&attempt, &boot, || Self::all(newest));
        }
    }

    /// It is heard perhaps, and its teller does not know.
    fn breaks(&mut self, pod: &str, hear: impl FnOnce(&mut Process, Revisions)) {
        let Some(process) = self.replicas.get_mut(pod) else {
            return;
        };
        if let Some((attempt, told)) = process.on_its_way.take() {
            hear(process, told);
            process.met = None;
            self.telling.deaf(&attempt);
        }
    }

    fn joins(&mut self, pod: &str) {
        if !self.replicas.contains_key(pod) {
            let process = self.away.remove(pod).unwrap_or_default();
            self.replicas.insert(pod.into(), process);
            self.roster();
        }
    }

    fn leaves(&mut self, pod: &str) {
        if let Some(mut process) = self.replicas.remove(pod) {
            process.late.extend(process.on_its_way.take());
            process.met = None;
            self.away.insert(pod.into(), process);
            self.roster();
        }
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
            Step::Unanswered(at) => self.breaks(&pod(at), Process::hears),
            Step::Fails(at) => self.breaks(&pod(at), |_, _| {}),
            Step::Restarts(at) => {
                if let Some(process) = self.replicas.get_mut(&pod(at)) {
                    process.boot += 1;
                    process.knows.clear();
                }
            }
            Step::Joins(at) => self.joins(&pod(at)),
            Step::Leaves(at) => self.leaves(&pod(at)),
            Step::Late(at) => self.arrives_late(&pod(at)),
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
