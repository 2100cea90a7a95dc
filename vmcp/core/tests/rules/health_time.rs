//! Health over time: a machine that checks a backend by its own schedule.

use std::time::Duration;

use proptest::prelude::*;
use vmcp_core::backoff::Jitter;
use vmcp_core::health::{Machine, Outcome, Policy, ProbeReason, State, Step};
use vmcp_core::id::Generation;
use vmcp_core::time::Tick;

use crate::support::{SOME, cases, failure, healthy, refused};

const GEN: Generation = Generation(1);

/// How a backend fails while it is down.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Refused,
    /// Each check takes its whole deadline.
    Hung,
}

impl Outage {
    fn check(self, policy: &Policy) -> (Duration, Outcome) {
        match self {
            Self::Refused => (Duration::ZERO, Outcome::Failed(refused())),
            Self::Hung => {
                let hung = failure(ProbeReason::HandshakeTimeout, Step::Ping, "no answer");
                (policy.timeout, Outcome::Failed(hung))
            }
        }
    }
}

/// States by the time from which they hold, of a machine whose backend is down from `down` to `up`.
struct Watch {
    states: Vec<(Tick, State)>,
}

impl Watch {
    fn run(start: Tick, jitters: &[f64], (down, up): (Tick, Tick), outage: Outage) -> Self {
        let policy = Policy::default();
        let mut machine = Machine::new(GEN, start);
        let mut states = vec![(start, State::Pending)];
        let mut now = start;
        let end = up.after(Duration::from_secs(60));
        for jitter in jitters.iter().cycle() {
            let begin = machine
                .next_probe(now, &policy, Jitter::new(*jitter))
                .max(now);
            let dead = begin >= down && begin < up;
            let (took, outcome) = if dead {
                outage.check(&policy)
            } else {
                (Duration::ZERO, healthy())
            };
            now = begin.after(took);
            if now > end {
                break;
            }
            machine.observe_probe(GEN, &outcome, now, &policy);
            states.push((now, machine.observed().state));
        }
        Self { states }
    }

    fn at(&self, now: Tick) -> State {
        let known = self.states.iter().rev().find(|(since, _)| *since <= now);
        known.map_or(State::Pending, |(_, state)| *state)
    }

    /// When it is in this state for the first time, from `from` on.
    fn first(&self, state: State, from: Tick) -> Option<Tick> {
        self.states
            .iter()
            .find(|(at, now)| *at >= from && *now == state)
            .map(|(at, _)| *at)
    }
}

fn jitters() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(0.0..=1.0_f64, 1..6)
}

fn outages() -> impl Strategy<Value = Outage> {
    prop_oneof![Just(Outage::Refused), Just(Outage::Hung)]
}

const DOWN: Tick = Tick(60_000);

proptest! {
    #![proptest_config(cases(SOME))]

    /// R0.4: whatever the phase and the jitter, refused is detected within 15 s, hung within 30 s.
    #[test]
    fn an_outage_is_detected_in_time(
        start in 0_u64..20_000,
        jitters in jitters(),
        outage in outages(),
    ) {
        let watch = Watch::run(Tick(start), &jitters, (DOWN, Tick(160_000)), outage);
        let detected = watch.first(State::Unhealthy, DOWN).unwrap();

        let bound = match outage { Outage::Refused => 15, Outage::Hung => 30 };
        prop_assert!(detected.since(DOWN) <= Duration::from_secs(bound), "{:?}", detected);
    }

    /// R2.1, R2.6, R0.9: however long the outage, the backend is Ready one interval after its end
    /// at the latest, and one deadline more where a check was hanging when it ended.
    #[test]
    fn a_recovery_is_seen_within_one_interval(
        start in 0_u64..20_000,
        jitters in jitters(),
        outage in outages(),
        length in prop_oneof![30_000_u64..100_000, 3_600_000_u64..7_200_000],
    ) {
        let up = Tick(DOWN.0 + length);
        let watch = Watch::run(Tick(start), &jitters, (DOWN, up), outage);
        let ready = watch.first(State::Ready, up).unwrap();

        let (hanging, _) = outage.check(&Policy::default());
        prop_assert!(ready.since(up) <= Policy::default().period + hanging, "{:?}", ready.since(up));
    }

    /// R2.6: an outage shorter than the threshold takes is over at the next quick retry, 2 s later,
    /// and is never called Unhealthy.
    #[test]
    fn a_hiccup_is_no_outage(start in 0_u64..20_000, jitters in jitters(), length in 0_u64..1_000) {
        let up = Tick(DOWN.0 + length);
        let watch = Watch::run(Tick(start), &jitters, (DOWN, up), Outage::Refused);

        prop_assert_eq!(watch.first(State::Unhealthy, DOWN), None);
    }

    /// R2.7: two gateways that check the same backend agree again one interval and the time to the
    /// threshold after it changed.
    #[test]
    fn two_gateways_never_disagree_for_long(
        starts in (0_u64..20_000, 0_u64..20_000),
        one in jitters(),
        two in jitters(),
        outage in outages(),
    ) {
        let up = Tick(DOWN.0 + 120_000);
        let a = Watch::run(Tick(starts.0), &one, (DOWN, up), outage);
        let b = Watch::run(Tick(starts.1), &two, (DOWN, up), outage);

        for changed in [DOWN, up] {
            for later in 30..50 {
                let now = changed.after(Duration::from_secs(later));
                prop_assert_eq!(a.at(now), b.at(now));
            }
        }
    }
}
