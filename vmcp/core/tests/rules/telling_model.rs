//! What other replicas know, whatever becomes of messages and of the replicas themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use vmcp_core::session::{Attempt, News, Telling};

use crate::support::{SOME, cases};

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
            Step::Round => self.telling.round(),
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
