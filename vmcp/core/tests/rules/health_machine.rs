//! The health machine, case by case.

use std::time::Duration;

use vmcp_core::backoff::Jitter;
use vmcp_core::health::{
    Fact, Listed, Machine, Outcome, Policy, ProbeFailure, ProbeReason, State, Step,
};
use vmcp_core::id::Generation;
use vmcp_core::time::Tick;

use crate::support::{failure, healthy, healthy_after, http_500, refused, unauthorized};

const GEN: Generation = Generation(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn new() -> Machine {
    Machine::new(GEN, Tick(0))
}

fn probe(machine: &mut Machine, outcome: Outcome, at: u64) -> Option<State> {
    let transition = machine.observe_probe(GEN, &outcome, Tick(at * 1_000), &Policy::default());
    transition.map(|transition| transition.to)
}

/// R0.1: a server that always answers 500 becomes Unhealthy after the threshold, with the status
/// in the message; never stuck at the start.
#[test]
fn a_server_that_always_answers_500_becomes_unhealthy_and_says_so() {
    let mut machine = new();

    assert_eq!(probe(&mut machine, Outcome::Failed(http_500()), 1), None);
    assert_eq!(machine.observed().state, State::Pending);
    assert_eq!(machine.observed().message, "initialize answered HTTP 500");
    assert_eq!(probe(&mut machine, Outcome::Failed(http_500()), 2), None);
    assert_eq!(
        probe(&mut machine, Outcome::Failed(http_500()), 4),
        Some(State::Unhealthy)
    );

    assert_eq!(machine.observed().message, "initialize answered HTTP 500");
    assert_eq!(machine.observed().reason, Some(ProbeReason::HttpStatus));
    assert_eq!(machine.observed().consecutive_failures, 3);
}

/// R0.6, R2.4: the first good check sets it back and clears message and counter.
#[test]
fn the_first_good_check_sets_it_back_and_clears_the_message() {
    let mut machine = new();
    for at in 1..=5 {
        probe(&mut machine, Outcome::Failed(refused()), at);
    }

    assert_eq!(probe(&mut machine, healthy(), 6), Some(State::Ready));

    assert_eq!(machine.observed().message, "");
    assert_eq!(machine.observed().consecutive_failures, 0);
    assert_eq!(machine.observed().ready_since, Some(Tick(6_000)));
}

/// R0.10: Pending -> Ready | Unhealthy; Ready -> Unhealthy; Unhealthy -> Ready.
#[test]
fn the_states_follow_each_other_as_required() {
    let mut machine = new();
    assert_eq!(machine.observed().state, State::Pending);
    assert!(!machine.observed().is_checked());

    assert_eq!(probe(&mut machine, healthy(), 1), Some(State::Ready));
    assert!(machine.observed().is_checked());
    for at in 2..=3 {
        assert_eq!(probe(&mut machine, Outcome::Failed(refused()), at), None);
        assert_eq!(machine.observed().reason, Some(ProbeReason::ConnectRefused));
    }
    assert_eq!(
        probe(&mut machine, Outcome::Failed(refused()), 4),
        Some(State::Unhealthy)
    );
    assert_eq!(probe(&mut machine, healthy(), 5), Some(State::Ready));
}

/// T3, R0.10: 401 is a state of its own at once, reachable, no failure, and never fails fast.
#[test]
fn a_credential_problem_is_a_state_of_its_own_and_never_down() {
    let mut machine = new();
    probe(&mut machine, healthy(), 1);

    let to = probe(&mut machine, Outcome::AuthRequired(unauthorized()), 2);

    assert_eq!(to, Some(State::AuthRequired));
    let facts = machine.observed().facts;
    assert_eq!(facts.reachable, Fact::True);
    assert_eq!(facts.catalogued, Fact::True);
    assert_eq!(
        facts.authenticated,
        Fact::False {
            reason: ProbeReason::AuthRequired
        }
    );
    assert_eq!(machine.observed().consecutive_failures, 0);
    assert!(!machine.fails_fast());
    for at in 3..20 {
        probe(&mut machine, Outcome::AuthRequired(unauthorized()), at);
        assert_eq!(machine.observed().state, State::AuthRequired);
    }
    assert_eq!(probe(&mut machine, healthy(), 20), Some(State::Ready));
    assert_eq!(machine.observed().facts.authenticated, Fact::True);
}

/// R0.7: while a credential is refused, a check that fails otherwise must reach the threshold
/// before it says Unhealthy, and does say so then.
#[test]
fn auth_required_gives_way_to_unhealthy_only_at_the_threshold() {
    let mut machine = new();
    probe(&mut machine, Outcome::AuthRequired(unauthorized()), 1);

    assert_eq!(probe(&mut machine, Outcome::Failed(refused()), 2), None);
    assert_eq!(probe(&mut machine, Outcome::Failed(refused()), 3), None);
    assert_eq!(
        probe(&mut machine, Outcome::Failed(refused()), 4),
        Some(State::Unhealthy)
    );
}

/// A missing credential file says nothing about whether the backend is there.
#[test]
fn a_missing_credential_is_told_without_a_word_on_reachability() {
    let mut machine = new();
    let missing = failure(
        ProbeReason::CredentialMissing,
        Step::Connect,
        "no file for Secret a",
    );

    probe(&mut machine, Outcome::AuthFailed(missing), 1);

    assert_eq!(machine.observed().state, State::AuthRequired);
    assert_eq!(machine.observed().facts.reachable, Fact::Unknown);
    assert_eq!(
        machine.observed().reason,
        Some(ProbeReason::CredentialMissing)
    );
}

/// R2.6: 429 is no verdict: state and counter stay, Retry-After is obeyed, 5 minutes at most.
#[test]
fn a_rate_limit_is_no_verdict_and_is_obeyed_up_to_five_minutes() {
    let policy = Policy::default();
    for (asked, obeyed) in [
        (None, 10),
        (Some(0), 10),
        (Some(30), 30),
        (Some(3_600), 300),
    ] {
        let mut machine = new();
        probe(&mut machine, healthy(), 1);

        let outcome = Outcome::RateLimited {
            retry_after: asked.map(seconds),
        };
        assert_eq!(probe(&mut machine, outcome, 2), None);

        assert_eq!(machine.observed().state, State::Ready);
        assert_eq!(machine.observed().reason, Some(ProbeReason::RateLimited));
        assert_eq!(machine.observed().consecutive_failures, 0);
        let due = machine.next_probe(Tick(2_000), &policy, Jitter::NONE);
        assert_eq!(
            due,
            Tick(2_000).after(seconds(obeyed)),
            "asked for {asked:?}"
        );

        probe(&mut machine, healthy(), 40);
        assert_eq!(machine.observed().reason, None);
    }
}

/// R1.11, R4.13: alive with a failed list is Degraded, with both facts to be seen.
#[test]
fn a_failed_list_of_a_live_backend_is_degraded_at_once() {
    let mut machine = new();
    let outcome = Outcome::ListFailed {
        failure: failure(
            ProbeReason::ResponseTooLarge,
            Step::List,
            "tools/list: over 16 MiB",
        ),
        dialect: crate::support::dialect(),
        server: None,
    };

    assert_eq!(probe(&mut machine, outcome, 1), Some(State::Degraded));

    let observed = machine.observed();
    assert_eq!(observed.reason, Some(ProbeReason::ListFailed));
    assert_eq!(observed.message, "tools/list: over 16 MiB");
    assert_eq!(observed.facts.handshaken, Fact::True);
    assert_eq!(
        observed.facts.catalogued,
        Fact::False {
            reason: ProbeReason::ResponseTooLarge
        }
    );
}

/// A good check above `degradedAboveMilliseconds` is Degraded/Slow, at the bound it is not.
#[test]
fn a_slow_good_check_is_degraded() {
    let policy = Policy {
        degraded_above: Some(seconds(1)),
        ..Policy::default()
    };
    let mut machine = new();
    let check = |latency| healthy_after(Duration::from_millis(latency), Listed::Yes);

    machine.observe_probe(GEN, &check(1_000), Tick(1), &policy);
    assert_eq!(machine.observed().state, State::Ready);
    machine.observe_probe(GEN, &check(1_001), Tick(2), &policy);
    assert_eq!(machine.observed().state, State::Degraded);
    assert_eq!(machine.observed().reason, Some(ProbeReason::Slow));
    assert_eq!(
        machine.observed().message,
        "check took 1001 ms, more than 1000 ms"
    );
    machine.observe_probe(GEN, &check(3), Tick(3), &policy);
    assert_eq!(machine.observed().state, State::Ready);
}

/// `successThreshold` good checks in a row are needed, and they follow each other quickly.
#[test]
fn the_success_threshold_is_counted_in_a_row() {
    let policy = Policy {
        success_threshold: 2,
        failure_threshold: 1,
        ..Policy::default()
    };
    let mut machine = new();
    let mut check = |outcome: &Outcome, at| {
        machine.observe_probe(GEN, outcome, Tick(at), &policy);
        let due = machine.next_probe(Tick(at), &policy, Jitter::NONE);
        (machine.observed().state, due.since(Tick(at)))
    };
    let down = Outcome::Failed(refused());

    assert_eq!(check(&down, 1), (State::Unhealthy, seconds(1)));
    assert_eq!(check(&healthy(), 2), (State::Unhealthy, seconds(1)));
    assert_eq!(check(&down, 3), (State::Unhealthy, seconds(1)));
    assert_eq!(check(&healthy(), 4), (State::Unhealthy, seconds(1)));
    assert_eq!(check(&healthy(), 5), (State::Ready, seconds(10)));
}

/// Each step of a check denies its own fact and affirms those that it rests on.
#[test]
fn a_failure_denies_the_fact_of_its_step() {
    for step in Step::ALL {
        let mut machine = new();
        let denied = Fact::False {
            reason: ProbeReason::ProtocolError,
        };

        probe(
            &mut machine,
            Outcome::Failed(failure(ProbeReason::ProtocolError, step, "x")),
            1,
        );

        let facts = machine.observed().facts;
        let all = [
            facts.reachable,
            facts.handshaken,
            facts.catalogued,
            facts.callable,
        ];
        let expected = match step {
            Step::Dns | Step::Connect | Step::Tls => {
                [denied, Fact::Unknown, Fact::Unknown, Fact::Unknown]
            }
            Step::Discover | Step::Initialize | Step::Ping => {
                [Fact::True, denied, Fact::Unknown, Fact::Unknown]
            }
            Step::List => [Fact::True, Fact::True, denied, Fact::Unknown],
            Step::Call => [Fact::True, Fact::True, Fact::Unknown, denied],
        };
        assert_eq!(all, expected, "{step}");
    }
}

/// R4.1, R2.8: a new life starts from nothing, only forwards, and keeps the history.
#[test]
fn a_new_generation_starts_from_nothing() {
    let mut machine = new();
    probe(&mut machine, healthy(), 1);

    assert_eq!(machine.renew(Generation(1), Tick(2_000)), None);
    assert_eq!(machine.observed().state, State::Ready);
    let transition = machine.renew(Generation(2), Tick(3_000)).unwrap();

    assert_eq!(
        (transition.from, transition.to),
        (State::Ready, State::Pending)
    );
    assert_eq!(machine.generation(), Generation(2));
    assert!(!machine.observed().is_checked());
    assert_eq!(machine.observed().dialect, None);
    assert_eq!(machine.renew(Generation(1), Tick(4_000)), None);
    assert_eq!(machine.generation(), Generation(2));
    assert_eq!(machine.history().len(), 2);
}

/// What a check takes until it fails, and the longest time from the last good check to Unhealthy.
fn worst_detection(check: Duration) -> Duration {
    let policy = Policy::default();
    let mut machine = new();
    let mut now = Tick(100_000);
    machine.observe_probe(GEN, &healthy(), now, &policy);
    // It dies just after its good check.
    let died = now;
    while machine.observed().state != State::Unhealthy {
        now = machine
            .next_probe(now, &policy, Jitter::new(1.0))
            .after(check);
        let outcome = Outcome::Failed(ProbeFailure {
            reason: ProbeReason::HandshakeTimeout,
            ..refused()
        });
        machine.observe_probe(GEN, &outcome, now, &policy);
        assert!(now.since(died) < Duration::from_secs(60), "never detected");
    }
    now.since(died)
}

/// R0.4: at default settings a refused backend is detected within 15 s and a hung one within 30 s,
/// at worst.
#[test]
fn detection_takes_15_seconds_refused_and_30_seconds_hung_at_worst() {
    assert!(
        worst_detection(Duration::ZERO) <= seconds(15),
        "{:?}",
        worst_detection(Duration::ZERO)
    );
    let hung = worst_detection(Policy::default().timeout);
    assert!(hung <= seconds(30), "{hung:?}");
}
