//! What traffic says about a backend.

use std::time::Duration;

use vmcp_core::health::{CallOutcome, Machine, Outcome, Policy, ProbeReason, State, Step};
use vmcp_core::id::Generation;
use vmcp_core::time::Tick;

use crate::support::{failure, healthy, refused};

const GEN: Generation = Generation(1);

fn policy() -> Policy {
    Policy::default()
}

fn ready() -> Machine {
    let mut machine = Machine::new(GEN, Tick(0));
    machine.observe_probe(GEN, &healthy(), Tick(1_000), &policy());
    machine
}

fn hung() -> Outcome {
    Outcome::Failed(failure(
        ProbeReason::HandshakeTimeout,
        Step::Ping,
        "ping had no answer",
    ))
}

/// T4: checks that time out while calls succeed make Degraded/Slow, never Unhealthy, however many.
#[test]
fn a_check_that_times_out_while_calls_succeed_is_slow_and_never_unhealthy() {
    let mut machine = ready();
    for at in (2_000..60_000).step_by(1_000) {
        machine.observe_call(GEN, &CallOutcome::Ok, Tick(at), &policy());

        machine.observe_probe(GEN, &hung(), Tick(at + 500), &policy());

        assert_eq!(machine.observed().state, State::Degraded);
        assert_eq!(machine.observed().reason, Some(ProbeReason::Slow));
        assert!(!machine.fails_fast());
    }
}

/// T4: the proof of a call is good for one period, in its own generation, and against time-outs
/// only.
#[test]
fn the_proof_of_a_call_lapses_after_a_period() {
    let mut machine = ready();
    machine.observe_call(GEN, &CallOutcome::Ok, Tick(2_000), &policy());

    machine.observe_probe(GEN, &hung(), Tick(12_000), &policy());
    assert_eq!(machine.observed().reason, Some(ProbeReason::Slow));
    for at in [12_001, 13_000, 15_000] {
        machine.observe_probe(GEN, &hung(), Tick(at), &policy());
    }
    assert_eq!(machine.observed().state, State::Unhealthy);

    let mut refusing = ready();
    refusing.observe_call(GEN, &CallOutcome::Ok, Tick(2_000), &policy());
    for at in [2_100, 2_200, 2_300] {
        refusing.observe_probe(GEN, &Outcome::Failed(refused()), Tick(at), &policy());
    }
    assert_eq!(refusing.observed().state, State::Unhealthy);

    let mut renewed = ready();
    renewed.observe_call(GEN, &CallOutcome::Ok, Tick(2_000), &policy());
    renewed.renew(Generation(2), Tick(2_050));
    renewed.observe_probe(Generation(2), &hung(), Tick(2_100), &policy());
    assert_eq!(
        renewed.observed().reason,
        Some(ProbeReason::HandshakeTimeout)
    );
}

/// R4.9: a good check does not clear failed calls, a good call does not clear failed checks; the
/// newer error is shown.
#[test]
fn the_success_of_one_does_not_clear_the_other() {
    let mut machine = ready();
    let lost = failure(
        ProbeReason::ConnectionLost,
        Step::Call,
        "stream ended in mid-call",
    );
    for at in [2_000, 2_100, 2_200] {
        machine.observe_call(GEN, &CallOutcome::Failed(lost.clone()), Tick(at), &policy());
    }
    assert_eq!(machine.observed().state, State::Degraded);

    machine.observe_probe(GEN, &healthy(), Tick(3_000), &policy());
    assert_eq!(machine.observed().consecutive_failures, 3);
    assert_eq!(machine.observed().state, State::Degraded);
    assert_eq!(machine.observed().message, "stream ended in mid-call");

    machine.observe_probe(GEN, &Outcome::Failed(refused()), Tick(4_000), &policy());
    assert_eq!(machine.observed().consecutive_failures, 3);
    assert_eq!(machine.observed().message, "connection refused");

    machine.observe_call(GEN, &CallOutcome::Ok, Tick(4_100), &policy());
    assert_eq!(machine.observed().consecutive_failures, 1);
    assert_eq!(machine.observed().reason, Some(ProbeReason::ConnectRefused));

    machine.observe_probe(GEN, &healthy(), Tick(5_000), &policy());
    assert_eq!(machine.observed().state, State::Ready);
    assert_eq!(machine.observed().consecutive_failures, 0);
}

/// R4.4, R2.1: calls that failed and were never tried again do not keep a backend Degraded.
#[test]
fn failed_calls_that_nobody_repeats_are_forgotten_after_a_period() {
    let mut machine = ready();
    for at in [2_000, 2_100, 2_200] {
        machine.observe_call(GEN, &CallOutcome::Failed(refused()), Tick(at), &policy());
    }

    machine.observe_probe(GEN, &healthy(), Tick(12_199), &policy());
    assert_eq!(machine.observed().state, State::Degraded);
    machine.observe_probe(GEN, &healthy(), Tick(12_200), &policy());

    assert_eq!(machine.observed().state, State::Ready);
    assert_eq!(machine.observed().message, "");
}

/// A tool that answers `isError` works: the call was wrong, not the backend.
#[test]
fn a_tool_error_is_a_sign_of_life() {
    let mut machine = ready();
    for at in 2_000..2_010 {
        machine.observe_call(GEN, &CallOutcome::ToolError, Tick(at), &policy());
    }

    assert_eq!(machine.observed().state, State::Ready);
    assert_eq!(machine.observed().last_success, Some(Tick(2_009)));
}

/// R4.13: a backend that was never reached fails fast; one that has served does so only once it is
/// Unhealthy, so that one lost packet makes no outage.
#[test]
fn calls_fail_fast_once_nothing_can_be_reached() {
    let down = Outcome::Failed(refused());
    let mut unborn = Machine::new(GEN, Tick(0));
    assert!(!unborn.fails_fast());
    unborn.observe_probe(GEN, &down, Tick(1_000), &policy());
    assert!(unborn.fails_fast());

    let mut machine = ready();
    machine.observe_probe(GEN, &down, Tick(2_000), &policy());
    assert!(!machine.fails_fast());
    for at in [3_000, 4_000] {
        machine.observe_probe(GEN, &down, Tick(at), &policy());
    }
    assert!(machine.fails_fast());
    machine.observe_probe(GEN, &healthy(), Tick(5_000), &policy());
    assert!(!machine.fails_fast());

    let mut html = ready();
    let page = failure(ProbeReason::ProtocolError, Step::Ping, "a page of HTML");
    for at in (2_000..9_000).step_by(1_000) {
        html.observe_probe(GEN, &Outcome::Failed(page.clone()), Tick(at), &policy());
    }
    assert_eq!(html.observed().state, State::Unhealthy);
    assert!(!html.fails_fast());
}

/// A period of nothing at all is long enough for every clock: no arithmetic overflows.
#[test]
fn the_end_of_time_is_no_special_case() {
    let mut machine = Machine::new(GEN, Tick(u64::MAX));
    let long = Policy {
        period: Duration::MAX,
        ..policy()
    };

    machine.observe_probe(GEN, &healthy(), Tick(u64::MAX), &long);
    machine.observe_call(GEN, &CallOutcome::Failed(refused()), Tick(0), &long);
    let due = machine.next_probe(Tick(0), &long, vmcp_core::backoff::Jitter::new(1.0));

    assert_eq!(due, Tick(u64::MAX));
    assert_eq!(machine.observed().state, State::Ready);
}
