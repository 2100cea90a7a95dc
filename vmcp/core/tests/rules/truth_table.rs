//! Phase, conditions and messages of a VirtualMCPServer: the table of api.md is the test.

use proptest::prelude::*;
use vmcp_core::catalog::{Conflict, Kind, Resolution};
use vmcp_core::health::{Observed, ProbeReason, State};
use vmcp_core::id::BackendId;
use vmcp_core::report::{
    BackendFacts, Configuration, FirstRound, MESSAGE_DEGRADED, Phase, Report, Situation, Truth,
    build,
};
use vmcp_core::time::Tick;

use crate::support::{MANY, cases};

fn situation(min_ready_backends: u32) -> Situation<'static> {
    Situation {
        observed_generation: 3,
        min_ready_backends,
        first_round: FirstRound::Done,
        configuration: Configuration::Valid,
        conflicts: &[],
        tool_count: 7,
    }
}

fn observed(state: State) -> Observed {
    let reason = (state != Ready).then_some(ProbeReason::ConnectRefused);
    Observed {
        state,
        reason,
        last_checked: Some(Tick(1)),
        ..Observed::default()
    }
}

fn report(states: &[State], situation: &Situation<'_>) -> Report {
    let all: Vec<_> = states
        .iter()
        .enumerate()
        .map(|(n, state)| {
            (
                BackendId::new(&format!("b{n:02}"), &format!("u{n}")),
                observed(*state),
            )
        })
        .collect();
    let facts: Vec<_> = all
        .iter()
        .map(|(id, observed)| BackendFacts {
            id,
            url: Some("http://x/mcp"),
            transport: "streamable-http",
            observed,
            tools: 2,
            catalog_hash: None,
            last_transition_unix_ms: 5,
        })
        .collect();
    build(&facts, situation)
}

/// Status and reason of a condition.
fn truth(report: &Report, kind: &str) -> (Truth, &'static str) {
    let condition = report.condition(kind).unwrap();
    (condition.status, condition.reason)
}

/// The rows of the table that a gateway decides: BackendsReady, Ready, phase.
fn assert_row(report: &Report, backends_ready: (Truth, &str), ready: (Truth, &str), phase: Phase) {
    assert_eq!(truth(report, "BackendsReady"), backends_ready);
    assert_eq!(truth(report, "Ready"), ready);
    assert_eq!(report.phase, phase);
}

use State::{AuthRequired, Degraded, Pending, Ready, Unhealthy};
use Truth::{False, True, Unknown};

/// R2.5: Pending before the first full round.
#[test]
fn before_the_first_round_nothing_is_known() {
    let waiting = Situation {
        first_round: FirstRound::Pending,
        ..situation(1)
    };

    for states in [
        &[Pending][..],
        &[Ready, Pending],
        &[Unhealthy, Pending],
        &[Ready, Ready],
    ] {
        let report = report(states, &waiting);
        let truth = (Unknown, "Pending");
        assert_row(&report, truth, truth, Phase::Pending);
    }
}

/// R2.5: Ready when all backends are.
#[test]
fn all_backends_ready_is_ready() {
    for min in [0, 1, 2, 9] {
        let report = report(&[Ready, Ready], &situation(min));
        let truth = (True, "AllBackendsReady");
        assert_row(&report, truth, truth, Phase::Ready);
        assert_eq!(report.backends, "2/2");
    }
}

/// R2.5, R2.1: Degraded, with this very message, when enough are ready and some are not.
#[test]
fn some_backends_down_is_degraded_with_the_known_message() {
    for states in [
        &[Ready, Unhealthy][..],
        &[Ready, Pending],
        &[Ready, AuthRequired],
    ] {
        let report = report(states, &situation(1));
        assert_row(
            &report,
            (False, "SomeBackendsUnhealthy"),
            (True, "Degraded"),
            Phase::Degraded,
        );
        assert_eq!(report.message, "Some backends are unhealthy");
        assert_eq!(report.backends, "1/2");
    }
}

/// R2.5: Failed when fewer than `minReadyBackends` are ready.
#[test]
fn too_few_backends_ready_is_failed() {
    let truth = (False, "TooFewBackendsReady");

    let none = report(&[Unhealthy, Pending, AuthRequired], &situation(1));
    assert_row(&none, truth, truth, Phase::Failed);
    assert_eq!(
        none.message,
        "0 of 3 backends are ready, at least 1 must be"
    );

    let some = report(&[Ready, Ready, Unhealthy], &situation(3));
    assert_row(&some, truth, truth, Phase::Failed);
}

/// With `minReadyBackends: 0` nothing being ready is only Degraded.
#[test]
fn where_none_needs_to_be_ready_none_being_ready_is_degraded() {
    let report = report(&[Unhealthy], &situation(0));

    assert_row(
        &report,
        (False, "SomeBackendsUnhealthy"),
        (True, "Degraded"),
        Phase::Degraded,
    );
}

/// A typo in a selector must not be green, unless nothing needs to be there.
#[test]
fn no_backend_is_ready_only_where_none_is_needed() {
    let truth = (True, "NoBackends");
    assert_row(&report(&[], &situation(0)), truth, truth, Phase::Ready);

    let truth = (False, "NoBackends");
    let report = report(&[], &situation(1));
    assert_row(&report, truth, truth, Phase::Failed);
    assert_eq!(
        self::truth(&report, "BackendsDiscovered"),
        (False, "NoBackends")
    );
}

/// The spec cannot work and nothing is served.
#[test]
fn a_spec_that_cannot_work_is_failed_and_says_why() {
    let broken = Situation {
        configuration: Configuration::Broken("two equal prefixes"),
        ..situation(1)
    };

    let report = report(&[Ready], &broken);

    assert_row(
        &report,
        (Unknown, "InvalidSpec"),
        (False, "InvalidSpec"),
        Phase::Failed,
    );
    assert_eq!(report.message, "two equal prefixes");
}

/// A backend that serves, though not as it should, counts as ready; the whole is Degraded.
#[test]
fn a_degraded_backend_serves_and_is_told() {
    let report = report(&[Ready, Degraded], &situation(2));

    assert_row(
        &report,
        (False, "SomeBackendsUnhealthy"),
        (True, "Degraded"),
        Phase::Degraded,
    );
    assert_eq!(report.backends, "2/2");
}

/// A ref that names no MCPServer counts as a backend that is not ready, and is named.
#[test]
fn a_reference_without_a_server_is_told_and_is_not_ready() {
    let (here, gone) = (BackendId::new("here", "u"), BackendId::new("gone", ""));
    let well = observed(Ready);
    let missing = Observed::unchecked(ProbeReason::BackendNotFound, "no MCPServer gone", Tick(0));
    let facts = |id, observed| BackendFacts {
        id,
        url: None,
        transport: "streamable-http",
        observed,
        tools: 0,
        catalog_hash: None,
        last_transition_unix_ms: 0,
    };

    let report = build(
        &[facts(&here, &well), facts(&gone, &missing)],
        &situation(1),
    );

    assert_eq!(report.phase, Phase::Degraded);
    assert_eq!(
        truth(&report, "BackendsDiscovered"),
        (False, "BackendNotFound")
    );
    assert!(
        report
            .condition("BackendsDiscovered")
            .unwrap()
            .message
            .contains("gone")
    );
    let entry = &report.discovered_backends[0];
    assert_eq!(
        (&*entry.name, &entry.uid, entry.state),
        ("gone", &None, Pending)
    );
    assert_eq!(entry.reason, Some(ProbeReason::BackendNotFound));
}

/// R4.8: an unresolved conflict leaves Ready as it is; one that a rule settled is none.
#[test]
fn a_conflict_is_told_and_changes_nothing_else() {
    let a = BackendId::new("a", "u").name;
    let b = BackendId::new("b", "u").name;
    let mut conflicts = [Conflict {
        kind: Kind::Tools,
        name: "x".to_owned(),
        backends: vec![a.clone(), b],
        resolution: Resolution::Hidden,
    }];
    let with = |conflicts: &[Conflict]| {
        let report = report(
            &[Ready],
            &Situation {
                conflicts,
                ..situation(1)
            },
        );
        (truth(&report, "ConflictsResolved"), report)
    };

    let (told, report) = with(&conflicts);
    assert_eq!(told, (False, "ConflictsFound"));
    assert_eq!(report.phase, Phase::Ready);
    assert!(
        report
            .condition("ConflictsResolved")
            .unwrap()
            .message
            .contains("\"x\" of a and b")
    );

    conflicts[0].resolution = Resolution::Won(a);
    assert_eq!(with(&conflicts).0, (True, "NoConflicts"));
}

/// Long lists are cut in messages, never in the list itself.
#[test]
fn many_backends_in_trouble_make_no_endless_message() {
    let report = report(&[Unhealthy; 500], &situation(1));

    let message = &report.condition("Ready").unwrap().message;
    assert!(message.ends_with("and 495 more"), "{message}");
    assert_eq!(report.discovered_backends.len(), 500);
}

fn states() -> impl Strategy<Value = Vec<State>> {
    proptest::collection::vec(prop::sample::select(&State::ALL[..]), 0..6)
}

proptest! {
    #![proptest_config(cases(MANY))]

    /// R2.5: the phase, written down a second time as the requirement says it.
    #[test]
    fn the_phase_follows_from_counts_alone(states in states(), min in 0_u32..5, round in any::<bool>()) {
        let first_round = if round { FirstRound::Done } else { FirstRound::Pending };
        let report = report(&states, &Situation { first_round, ..situation(min) });
        let serving = states.iter().filter(|state| state.serves()).count();
        let enough = serving >= min as usize;

        let expected = if states.is_empty() {
            if min == 0 { Phase::Ready } else { Phase::Failed }
        } else if !round {
            Phase::Pending
        } else if states.iter().all(|state| *state == Ready) {
            Phase::Ready
        } else if enough {
            Phase::Degraded
        } else {
            Phase::Failed
        };
        prop_assert_eq!(report.phase, expected);
        prop_assert_eq!(report.message == MESSAGE_DEGRADED, expected == Phase::Degraded);
        let ready = match expected {
            Phase::Ready | Phase::Degraded => True,
            Phase::Failed => False,
            Phase::Pending => Unknown,
        };
        prop_assert_eq!(truth(&report, "Ready").0, ready);
        prop_assert_eq!(report.ready_backend_count, serving);
        prop_assert_eq!(report.backends, format!("{serving}/{}", states.len()));
    }

    /// Each type of condition stands once, each reason is one word, and messages are bounded.
    #[test]
    fn conditions_are_complete_and_well_formed(states in states(), min in 0_u32..5, round in any::<bool>()) {
        let first_round = if round { FirstRound::Done } else { FirstRound::Pending };
        let report = report(&states, &Situation { first_round, ..situation(min) });

        let kinds: Vec<_> = report.conditions.iter().map(|condition| condition.kind).collect();
        prop_assert_eq!(kinds, ["Ready", "BackendsReady", "BackendsDiscovered", "ConflictsResolved"]);
        for condition in &report.conditions {
            prop_assert!(!condition.reason.is_empty());
            prop_assert!(condition.reason.chars().all(|c| c.is_ascii_alphabetic()));
            prop_assert!(condition.message.len() < 1_024);
        }
    }

    /// R4.6: the list is sorted by name and does not depend on the order of backends; equal input
    /// gives an equal report.
    #[test]
    fn the_report_is_sorted_and_deterministic(states in states(), turn in 0_usize..5) {
        let all: Vec<_> = states
            .iter()
            .enumerate()
            .map(|(n, state)| (BackendId::new(&format!("b{n}"), "u"), observed(*state)))
            .collect();
        let make = |turn: usize| {
            let mut facts: Vec<_> = all
                .iter()
                .map(|(id, observed)| BackendFacts {
                    id,
                    url: None,
                    transport: "sse",
                    observed,
                    tools: 0,
                    catalog_hash: None,
                    last_transition_unix_ms: 0,
                })
                .collect();
            let by = turn % facts.len().max(1);
            facts.rotate_left(by);
            build(&facts, &situation(1))
        };

        let report = make(0);

        prop_assert!(report.discovered_backends.is_sorted_by_key(|backend| backend.name.clone()));
        prop_assert_eq!(report, make(turn));
    }
}
