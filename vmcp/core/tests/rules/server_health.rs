//! The body of `GET /health`.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use vmcp_core::health::{Machine, Observed, Outcome, Policy, State};
use vmcp_core::id::Generation;
use vmcp_core::report::{HealthReport, OverallStatus, ServerStatus, server_health};
use vmcp_core::time::Tick;

use crate::support::{MANY, cases, healthy, http_500, unauthorized};

const GEN: Generation = Generation(1);

fn new() -> Machine {
    Machine::new(GEN, Tick(0))
}

fn probe(machine: &mut Machine, outcome: &Outcome, at: u64) {
    let policy = Policy {
        failure_threshold: 1,
        ..Policy::default()
    };
    machine.observe_probe(GEN, outcome, Tick(at), &policy);
}

fn seen(machine: &Machine, at: u64) -> (ServerStatus, u64) {
    let health = server_health(machine.observed(), Tick(at));
    (health.status, health.uptime)
}

/// R3.1: stopped before the first start, running after success, error after failure.
#[test]
fn the_status_is_stopped_then_running_then_error() {
    let mut machine = new();
    assert_eq!(seen(&machine, 9_000), (ServerStatus::Stopped, 0));

    probe(&mut machine, &healthy(), 10_000);
    assert_eq!(seen(&machine, 10_000), (ServerStatus::Running, 0));

    probe(&mut machine, &Outcome::Failed(http_500()), 20_000);
    assert_eq!(seen(&machine, 25_000), (ServerStatus::Error, 0));
}

/// R3.1: a first start that fails is in error, not stopped; so is one that wants a credential.
#[test]
fn a_first_start_that_fails_is_an_error() {
    let policy = Policy::default();
    for outcome in [
        Outcome::Failed(http_500()),
        Outcome::AuthRequired(unauthorized()),
    ] {
        let mut machine = new();
        machine.observe_probe(GEN, &outcome, Tick(1), &policy);
        assert_eq!(seen(&machine, 2).0, ServerStatus::Error, "{outcome:?}");
    }
}

/// R3.1, R2.6: 429 is no verdict, so a server that only ever said that is not in error.
#[test]
fn a_first_check_without_a_verdict_is_no_error() {
    let mut machine = new();

    probe(&mut machine, &Outcome::RateLimited { retry_after: None }, 1);

    assert_eq!(seen(&machine, 2), (ServerStatus::Stopped, 0));
}

/// R3.2: uptime is whole seconds since the successful start.
#[test]
fn uptime_counts_whole_seconds_since_the_start() {
    let mut machine = new();
    probe(&mut machine, &healthy(), 1_500);
    probe(&mut machine, &healthy(), 11_500);

    assert_eq!(seen(&machine, 2_499), (ServerStatus::Running, 0));
    assert_eq!(seen(&machine, 2_500), (ServerStatus::Running, 1));
    assert_eq!(seen(&machine, 61_499), (ServerStatus::Running, 59));
}

/// R3.5: closing resets to stopped, and uptime never grows afterwards.
#[test]
fn closing_resets_to_stopped() {
    let mut machine = new();
    probe(&mut machine, &healthy(), 1_000);

    machine.close(Tick(5_000));
    machine.close(Tick(6_000));

    for at in [5_000, 50_000, 5_000_000] {
        assert_eq!(seen(&machine, at), (ServerStatus::Stopped, 0));
    }
}

/// R3.6: error -> success clears the error, and uptime starts anew.
#[test]
fn success_clears_the_error() {
    let mut machine = new();
    probe(&mut machine, &healthy(), 1_000);
    probe(&mut machine, &Outcome::Failed(http_500()), 2_000);
    probe(&mut machine, &healthy(), 60_000);

    assert_eq!(seen(&machine, 63_000), (ServerStatus::Running, 3));
    assert_eq!(machine.observed().message, "");
}

/// R3.3: the whole is unhealthy when any server is in error, and only then; the body is the
/// contract's.
#[test]
fn the_body_is_that_of_the_contract() {
    let (mut well, mut ill) = (new(), new());
    probe(&mut well, &healthy(), 1_000);
    probe(&mut ill, &Outcome::Failed(http_500()), 1_000);
    let idle = new();
    let now = Tick(8_000);
    let all = [("git", well.observed()), ("time", idle.observed())];

    let good = HealthReport::new("0.1.0", all, now);
    assert_eq!(
        serde_json::to_value(&good).unwrap(),
        json!({
            "status": "healthy",
            "specVersion": "1.17.0",
            "gatewayVersion": "0.1.0",
            "servers": {
                "git": {"status": "running", "uptime": 7},
                "time": {"status": "stopped", "uptime": 0},
            },
        })
    );

    let bad = HealthReport::new(
        "0.1.0",
        all.into_iter().chain([("ill", ill.observed())]),
        now,
    );
    assert_eq!(bad.status, OverallStatus::Unhealthy);
    assert_eq!(
        HealthReport::new("0.1.0", [], now).status,
        OverallStatus::Healthy
    );
}

/// What happens to a connection, as R3 tells it.
#[derive(Clone, Copy, Debug)]
enum Event {
    Success,
    Failure,
    Close,
}

proptest! {
    #![proptest_config(cases(MANY))]

    /// R3.1, R3.2, R3.5, R3.6: the state against the requirement written down as three lines.
    #[test]
    fn the_status_follows_the_events(
        events in proptest::collection::vec(
            (0_u64..5_000, prop_oneof![Just(Event::Success), Just(Event::Failure), Just(Event::Close)]),
            0..12,
        ),
        rest in 0_u64..100_000,
    ) {
        let mut machine = new();
        let (mut status, mut started, mut now) = (ServerStatus::Stopped, 0, 0);
        for (wait, event) in events {
            now += wait;
            match event {
                Event::Success => {
                    probe(&mut machine, &healthy(), now);
                    if status != ServerStatus::Running {
                        started = now;
                    }
                    status = ServerStatus::Running;
                }
                Event::Failure => {
                    probe(&mut machine, &Outcome::Failed(http_500()), now);
                    status = ServerStatus::Error;
                }
                Event::Close => {
                    machine.close(Tick(now));
                    status = ServerStatus::Stopped;
                }
            }
            let later = now + rest;
            let uptime = if status == ServerStatus::Running { (later - started) / 1_000 } else { 0 };
            prop_assert_eq!(seen(&machine, later), (status, uptime));
        }
    }

    /// R3.3, T6: the whole follows from the parts, and each part from the one state.
    #[test]
    fn the_whole_follows_from_the_parts(
        states in proptest::collection::vec(prop::sample::select(&State::ALL[..]), 0..6),
    ) {
        let all: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(n, state)| (format!("s{n}"), Observed { state: *state, ..Observed::default() }))
            .collect();
        let report = HealthReport::new("v", all.iter().map(|(name, seen)| (&**name, seen)), Tick(0));

        let error = states.iter().any(|s| matches!(s, State::Unhealthy | State::AuthRequired));
        prop_assert_eq!(report.status == OverallStatus::Unhealthy, error);
        prop_assert_eq!(report.servers.len(), states.len());
    }
}

/// Seconds are counted in a clock that only goes forward: a reader with an older time sees zero.
#[test]
fn a_reader_behind_the_clock_sees_no_negative_uptime() {
    let mut machine = new();
    probe(&mut machine, &healthy(), 10_000);

    assert_eq!(seen(&machine, 5_000), (ServerStatus::Running, 0));
    assert_eq!(Tick(5_000).since(Tick(10_000)), Duration::ZERO);
}
