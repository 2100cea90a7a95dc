//! The health machine against any history.

use proptest::prelude::*;
use std::time::Duration;
use vmcp_core::backoff::Jitter;
use vmcp_core::health::{
    CallOutcome, Fact, Listed, Machine, Outcome, Policy, ProbeReason, State, Transition,
};
use vmcp_core::id::Generation;
use vmcp_core::limits;
use vmcp_core::time::Tick;

use crate::support::{
    Event, MANY, call_outcomes, cases, healthy, healthy_after, histories, outcomes, policies,
    refused,
};

const NOW: Generation = Generation(5);
const START: Tick = Tick(1_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Feeds a history and returns the time after it, and all transitions.
fn feed(
    machine: &mut Machine,
    history: &[(u64, Event)],
    start: Tick,
    policy: &Policy,
) -> (Tick, Vec<Transition>) {
    let mut now = start;
    let mut all = Vec::new();
    for (wait, event) in history {
        now = now.after(ms(*wait));
        all.extend(step(machine, event, now, policy));
    }
    (now, all)
}

fn step(machine: &mut Machine, event: &Event, now: Tick, policy: &Policy) -> Option<Transition> {
    match event {
        Event::Probe(outcome) => machine.observe_probe(NOW, outcome, now, policy),
        Event::Call(outcome) => machine.observe_call(NOW, outcome, now, policy),
    }
}

fn after(history: &[(u64, Event)], policy: &Policy) -> (Machine, Tick) {
    let mut machine = Machine::new(NOW, START);
    let (now, _) = feed(&mut machine, history, START, policy);
    (machine, now)
}

/// What R2.4 and R4.9 say of the counter, written down a second time and more simply.
#[derive(Default)]
struct CountModel {
    probes: u32,
    calls: u32,
    last_failed_call: Option<Tick>,
    last_good_call: Option<Tick>,
}

impl CountModel {
    fn step(&mut self, event: &Event, now: Tick, policy: &Policy) {
        let served = self
            .last_good_call
            .is_some_and(|at| now.since(at) <= policy.period);
        match event {
            Event::Probe(Outcome::Failed(failure)) => {
                let timeout = matches!(
                    failure.reason,
                    ProbeReason::ConnectTimeout | ProbeReason::HandshakeTimeout
                );
                self.probes = if timeout && served {
                    0
                } else {
                    self.probes + 1
                };
            }
            Event::Probe(Outcome::RateLimited { .. } | Outcome::Cancelled)
            | Event::Call(CallOutcome::Cancelled) => {}
            Event::Probe(_) => self.probes = 0,
            Event::Call(CallOutcome::Failed(_)) => {
                self.calls += 1;
                self.last_failed_call = Some(now);
            }
            Event::Call(CallOutcome::Ok | CallOutcome::ToolError) => {
                self.calls = 0;
                self.last_failed_call = None;
                self.last_good_call = Some(now);
            }
        }
    }

    fn published(&self, now: Tick, policy: &Policy) -> u32 {
        let fresh = self
            .last_failed_call
            .is_some_and(|at| now.since(at) < policy.period);
        self.probes.max(if fresh { self.calls } else { 0 })
    }
}

proptest! {
    #![proptest_config(cases(MANY))]

    /// R2.1, R4.4, R0.6, R0.9: no history is so bad that good checks do not end it, with the
    /// message gone and the counter at zero. No state is terminal.
    #[test]
    fn good_checks_bring_a_backend_back_from_any_history(
        history in histories(16),
        policy in policies(),
    ) {
        let (mut machine, now) = after(&history, &policy);

        let mut now = now.after(policy.period);
        for _ in 0..policy.success_threshold {
            now = now.after(ms(1_000));
            machine.observe_probe(NOW, &healthy(), now, &policy);
        }

        let observed = machine.observed();
        prop_assert_eq!(observed.state, State::Ready);
        prop_assert_eq!(observed.consecutive_failures, 0);
        prop_assert_eq!(observed.reason, None);
        prop_assert_eq!(&*observed.message, "");
        prop_assert!(!machine.fails_fast());
    }

    /// R2.1, R0.4, R0.10: exactly `failureThreshold` failures in a row make Unhealthy, one less
    /// does not, whatever came before the last good check.
    #[test]
    fn exactly_the_threshold_of_failures_trips(history in histories(12), policy in policies()) {
        let (mut machine, now) = after(&history, &policy);
        // Old calls are out of the way after a period and a bit.
        let mut now = now.after(policy.period + ms(1));
        for _ in 0..policy.success_threshold {
            machine.observe_probe(NOW, &healthy(), now, &policy);
        }
        prop_assert_eq!(machine.observed().state, State::Ready);

        for failed in 1..=policy.failure_threshold {
            now = now.after(ms(1_000));
            machine.observe_probe(NOW, &Outcome::Failed(refused()), now, &policy);

            let expected =
                if failed < policy.failure_threshold { State::Ready } else { State::Unhealthy };
            prop_assert_eq!(machine.observed().state, expected);
            prop_assert_eq!(machine.observed().consecutive_failures, failed);
            prop_assert_eq!(machine.observed().reason, Some(ProbeReason::ConnectRefused));
        }
    }

    /// R4.1, R4.2: results of an earlier or a later life change nothing at all.
    #[test]
    fn results_of_another_generation_change_nothing(
        history in histories(12),
        policy in policies(),
        late in outcomes(),
        call in call_outcomes(),
        other in (0_u64..10).prop_filter("another", |other| *other != NOW.0),
    ) {
        let (mut machine, now) = after(&history, &policy);
        let before = machine.observed().clone();
        let due = machine.next_probe(now, &policy, Jitter::NONE);

        let probe = machine.observe_probe(Generation(other), &late, now.after(ms(7)), &policy);
        let call = machine.observe_call(Generation(other), &call, now.after(ms(7)), &policy);

        prop_assert_eq!((probe, call), (None, None));
        prop_assert_eq!(machine.observed(), &before);
        prop_assert_eq!(machine.next_probe(now, &policy, Jitter::NONE), due);
    }

    /// R4.2, R4.10: a cancelled check is no failure, and a client's cancellation is no news.
    #[test]
    fn cancellations_change_nothing(history in histories(12), policy in policies()) {
        let (mut machine, now) = after(&history, &policy);
        let before = machine.observed().clone();

        machine.observe_probe(NOW, &Outcome::Cancelled, now.after(ms(7)), &policy);
        machine.observe_call(NOW, &CallOutcome::Cancelled, now.after(ms(7)), &policy);

        prop_assert_eq!(machine.observed(), &before);
    }

    /// Time is an argument: the same history a while later leads to the same states.
    #[test]
    fn the_verdict_does_not_depend_on_the_hour(
        history in histories(12),
        policy in policies(),
        later in 0_u64..1_000_000_000,
    ) {
        let mut early = Machine::new(NOW, START);
        let mut late = Machine::new(NOW, START.after(ms(later)));
        let (_, one) = feed(&mut early, &history, START, &policy);
        let (_, two) = feed(&mut late, &history, START.after(ms(later)), &policy);

        prop_assert_eq!(one.len(), two.len());
        for (one, two) in one.into_iter().zip(two) {
            prop_assert_eq!(Transition { at: one.at.after(ms(later)), ..one }, two);
        }
        prop_assert_eq!(early.observed().facts, late.observed().facts);
        prop_assert_eq!(&early.observed().message, &late.observed().message);
    }

    /// R2.4, R4.9: +1 for each failed check, 0 at the first success; calls are counted apart and
    /// the larger count is shown.
    #[test]
    fn the_counter_is_the_larger_of_failed_checks_and_failed_calls(
        history in histories(16),
        policy in policies(),
    ) {
        let mut machine = Machine::new(NOW, START);
        let mut model = CountModel::default();
        let mut now = START;
        for (wait, event) in &history {
            now = now.after(ms(*wait));
            step(&mut machine, event, now, &policy);
            model.step(event, now, &policy);
            let cancelled = matches!(
                event,
                Event::Probe(Outcome::Cancelled) | Event::Call(CallOutcome::Cancelled)
            );
            if !cancelled {
                let shown = machine.observed().consecutive_failures;
                prop_assert_eq!(shown, model.published(now, &policy));
            }
        }
    }

    /// R2.3: the verdict of a failed check is formed anew, whatever the one before said.
    #[test]
    fn the_newest_failure_is_the_one_that_is_told(
        history in histories(12),
        policy in policies(),
        outcome in outcomes(),
    ) {
        let (mut machine, now) = after(&history, &policy);
        let Outcome::Failed(failure) = &outcome else { return Ok(()) };
        let now = now.after(policy.period + ms(1));

        machine.observe_probe(NOW, &outcome, now, &policy);

        prop_assert_eq!(machine.observed().reason, Some(failure.reason));
        prop_assert_eq!(&machine.observed().message, &failure.message);
    }

    /// R1.13, R4.1: transitions form one chain from Pending to the state of now, and all of them
    /// are kept as long as there are few.
    #[test]
    fn transitions_form_a_chain(history in histories(16), policy in policies()) {
        let mut machine = Machine::new(NOW, START);
        let (_, all) = feed(&mut machine, &history, START, &policy);

        let mut state = State::Pending;
        for transition in &all {
            prop_assert_eq!(transition.from, state);
            prop_assert_ne!(transition.from, transition.to);
            state = transition.to;
        }
        prop_assert_eq!(machine.observed().state, state);
        prop_assert_eq!(
            machine.observed().since,
            all.last().map_or(START, |transition| transition.at)
        );
        let kept: Vec<_> = machine.history().iter().cloned().collect();
        prop_assert_eq!(kept, all);
    }

    /// R4.13: nothing but a connection that cannot be made lets calls fail fast, and a call that
    /// got through ends it.
    #[test]
    fn only_an_unreachable_backend_fails_calls_fast(
        history in histories(16),
        policy in policies(),
    ) {
        let (mut machine, now) = after(&history, &policy);
        if machine.fails_fast() {
            prop_assert!(machine.observed().facts.reachable.is_false());
        }

        machine.observe_call(NOW, &CallOutcome::Ok, now, &policy);

        prop_assert!(!machine.fails_fast());
    }

    /// R4.9, R4.13: calls alone make a backend that its checks find well Degraded at worst.
    #[test]
    fn failed_calls_never_make_a_backend_unhealthy(
        calls in proptest::collection::vec((0_u64..3_000, call_outcomes()), 0..24),
        policy in policies(),
    ) {
        let mut machine = Machine::new(NOW, START);
        machine.observe_probe(NOW, &healthy(), START, &policy);
        let mut now = START;
        for (wait, outcome) in &calls {
            now = now.after(ms(*wait));
            machine.observe_call(NOW, outcome, now, &policy);
            prop_assert!(machine.observed().state.serves());
            prop_assert!(!machine.fails_fast());
        }
    }

    /// R0.2, R2.6, R4.4: there is always a next check, and it is never further away than the
    /// period, or than five minutes where the backend asked for it.
    #[test]
    fn there_is_always_a_next_check(
        history in histories(16),
        policy in policies(),
        jitter in 0.0..=1.0_f64,
    ) {
        let (machine, now) = after(&history, &policy);
        let due = machine.next_probe(now, &policy, Jitter::new(jitter));

        let limited =
            |(_, event): &(u64, Event)| matches!(event, Event::Probe(Outcome::RateLimited { .. }));
        let held = history.iter().any(limited);
        let longest = if held { limits::RETRY_AFTER } else { Duration::ZERO };
        prop_assert!(due.since(now) <= longest.max(policy.period.mul_f64(1.1)), "{due:?}");
        if !machine.observed().is_checked() {
            prop_assert_eq!(due, now);
        }
    }

    /// T1, T3: a liveness check says nothing of the tools: only a list that worked ends ListFailed.
    #[test]
    fn only_a_list_that_worked_ends_a_failed_list(
        history in histories(12),
        policy in policies(),
    ) {
        let policy = Policy { success_threshold: 1, degraded_above: None, ..policy };
        let (mut machine, now) = after(&history, &policy);
        let now = now.after(policy.period + ms(1));
        machine.observe_probe(NOW, &healthy(), now, &policy);
        let failed = Outcome::ListFailed {
            failure: crate::support::http_500(),
            dialect: crate::support::dialect(),
            server: None,
        };

        machine.observe_probe(NOW, &failed, now, &policy);
        machine.observe_probe(NOW, &healthy_after(ms(1), Listed::No), now, &policy);

        prop_assert_eq!(machine.observed().state, State::Degraded);
        prop_assert_eq!(machine.observed().reason, Some(ProbeReason::ListFailed));
        prop_assert_eq!(machine.observed().consecutive_failures, 0);
        let denied = Fact::False { reason: ProbeReason::HttpStatus };
        prop_assert_eq!(machine.observed().facts.catalogued, denied);
        prop_assert!(!machine.fails_fast());

        machine.observe_probe(NOW, &healthy(), now, &policy);

        prop_assert_eq!(machine.observed().state, State::Ready);
    }
}

/// R1.13: the last 50 transitions are kept, whatever their number.
#[test]
fn the_last_fifty_transitions_are_kept() {
    let policy = Policy {
        failure_threshold: 1,
        ..Policy::default()
    };
    let mut machine = Machine::new(NOW, START);
    let mut all = Vec::new();
    for at in 0..137 {
        let outcome = if at % 2 == 0 {
            healthy()
        } else {
            Outcome::Failed(refused())
        };
        all.extend(machine.observe_probe(NOW, &outcome, Tick(2_000 + at), &policy));
        let kept: Vec<_> = machine.history().iter().cloned().collect();
        assert_eq!(
            kept[..],
            all[all.len().saturating_sub(limits::TRANSITIONS)..]
        );
    }

    assert_eq!((all.len(), machine.history().len()), (137, 50));
}
