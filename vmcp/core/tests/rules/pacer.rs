//! When a report is written.

use std::time::Duration;

use proptest::prelude::*;
use vmcp_core::health::{Observed, ProbeReason, State};
use vmcp_core::id::BackendId;
use vmcp_core::report::{
    BackendFacts, Change, Configuration, FirstRound, Pacer, PublishDecision, Report, Situation,
    build, change,
};
use vmcp_core::time::Tick;

use crate::support::{SOME, cases};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct World {
    state: State,
    failures: u32,
    message: u8,
    backends: usize,
}

const WELL: World = World {
    state: State::Ready,
    failures: 0,
    message: 0,
    backends: 1,
};
const DOWN: World = World {
    state: State::Unhealthy,
    failures: 20,
    message: 1,
    backends: 1,
};

fn report(world: World) -> Report {
    let reason = (world.state != State::Ready).then_some(ProbeReason::ConnectRefused);
    let observed = Observed {
        state: world.state,
        reason,
        message: format!("message {}", world.message),
        consecutive_failures: world.failures,
        ..Observed::default()
    };
    let ids: Vec<_> = (0..world.backends)
        .map(|n| BackendId::new(&format!("b{n}"), "u"))
        .collect();
    let facts: Vec<_> = ids
        .iter()
        .map(|id| BackendFacts {
            id,
            url: None,
            transport: "sse",
            observed: &observed,
            tools: 0,
            catalog_hash: None,
            last_transition_unix_ms: 0,
        })
        .collect();
    let situation = Situation {
        observed_generation: 1,
        min_ready_backends: 0,
        first_round: FirstRound::Done,
        configuration: Configuration::Valid,
        conflicts: &[],
        tool_count: 0,
    };
    build(&facts, &situation)
}

fn worlds() -> impl Strategy<Value = World> {
    let states = prop_oneof![3 => Just(State::Unhealthy), 1 => Just(State::Ready)];
    (states, 8_u32..13, 0_u8..2, 1_usize..3).prop_map(|(state, failures, message, backends)| {
        World {
            state,
            failures,
            message,
            backends,
        }
    })
}

/// Drives a pacer through worlds that change at given times, writing whenever it says so, and
/// returns the times of writes.
fn drive(changes: &[(u64, World)], until: Tick) -> Vec<(Tick, Change)> {
    let mut pacer = Pacer::new(Tick(0));
    let mut published = None;
    let mut writes = Vec::new();
    let mut now = Tick(0);
    for (at, (wait, world)) in changes.iter().enumerate() {
        now = now.after(Duration::from_millis(*wait));
        let next = changes
            .get(at + 1)
            .map_or(until, |(wait, _)| now.after(Duration::from_millis(*wait)));
        let current = report(*world);
        let mut clock = now;
        loop {
            match pacer.due(published.as_ref(), &current, clock) {
                PublishDecision::Nothing => break,
                PublishDecision::Now => {
                    writes.push((clock, change(published.as_ref(), &current)));
                    pacer.wrote(clock);
                    published = Some(current.clone());
                }
                PublishDecision::At(due) if due < next => clock = due,
                PublishDecision::At(_) => break,
            }
        }
    }
    writes
}

fn histories() -> impl Strategy<Value = Vec<(u64, World)>> {
    proptest::collection::vec((0_u64..3_000, worlds()), 1..10)
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// Bucket: five writes at once, then one a second: in any window of n seconds n + 5 at most.
    #[test]
    fn writes_never_outrun_the_bucket(changes in histories()) {
        let writes = drive(&changes, Tick(120_000));

        for (at, (from, _)) in writes.iter().enumerate() {
            let seconds = |to: Tick| usize::try_from(to.since(*from).as_secs()).unwrap();
            for (count, (to, _)) in writes[at..].iter().enumerate() {
                prop_assert!(count < seconds(*to) + 6, "{writes:?}");
            }
        }
    }

    /// Counters and messages alone: never more often than every 5 s; of a settled failure, a minute.
    #[test]
    fn counters_and_messages_keep_their_distance(changes in histories()) {
        let writes = drive(&changes, Tick(200_000));

        for pair in writes.windows(2) {
            let gap = pair[1].0.since(pair[0].0);
            match pair[1].1 {
                Change::Minor => prop_assert!(gap >= Duration::from_secs(5), "{writes:?}"),
                Change::Settled => prop_assert!(gap >= Duration::from_secs(60), "{writes:?}"),
                Change::Major => {}
                Change::None => prop_assert!(false, "an unchanged report was written: {writes:?}"),
            }
        }
    }

    /// A change that lasts is written in the end, whatever came before.
    #[test]
    fn what_lasts_is_written(changes in histories()) {
        let (_, last) = *changes.last().unwrap();
        let before = changes.len();
        let mut longer = changes.clone();
        longer.push((0, last));

        let writes = drive(&longer, Tick(1_000_000));

        let again = [&longer[..], &[(100_000, last)]].concat();
        prop_assert_eq!(drive(&again, Tick(1_000_000)).len(), writes.len(), "{}", before);
    }

    /// Equal reports are no change, and the size of a change does not depend on its direction.
    #[test]
    fn a_change_has_a_size(one in worlds(), two in worlds()) {
        let (one_report, two_report) = (report(one), report(two));

        let size = change(Some(&one_report), &two_report);

        prop_assert_eq!(size == Change::None, one_report == two_report);
        prop_assert_eq!(size, change(Some(&two_report), &one_report));
        if one.state != two.state || one.backends != two.backends {
            prop_assert_eq!(size, Change::Major);
        }
    }
}

/// Steady state writes nothing.
#[test]
fn an_unchanged_world_is_written_once() {
    let steady = [(0, WELL), (10_000, WELL), (10_000, WELL)];

    assert_eq!(drive(&steady, Tick(600_000)).len(), 1);
}

/// R2.8: changes of state and membership come out within the coalescing time.
#[test]
fn a_change_of_state_or_membership_is_written_within_250_milliseconds() {
    let changes = [
        (0, WELL),
        (10_000, DOWN),
        (
            10_000,
            World {
                backends: 2,
                ..DOWN
            },
        ),
        (10_000, DOWN),
        (100, WELL),
    ];

    let writes: Vec<_> = drive(&changes, Tick(60_000))
        .iter()
        .map(|(at, _)| at.0)
        .collect();

    assert_eq!(writes, [250, 10_250, 20_250, 30_250]);
}

/// A change that is taken back before it was written is not written.
#[test]
fn a_change_that_is_taken_back_is_not_written() {
    let changes = [(0, WELL), (10_000, DOWN), (100, WELL)];

    assert_eq!(drive(&changes, Tick(60_000)).len(), 1);
}

/// A backend that is down for good: its counter is exact up to 10, then refreshed each minute.
#[test]
fn a_backend_that_is_down_for_good_costs_one_write_a_minute() {
    let mut changes = vec![(
        0,
        World {
            failures: 3,
            ..DOWN
        },
    )];
    changes.extend((4..124).map(|failures| (10_000, World { failures, ..DOWN })));

    let writes: Vec<_> = drive(&changes, Tick(1_190_000))
        .iter()
        .map(|(at, _)| at.0)
        .collect();

    // 3 at once, 4 to 10 as they come, then once a minute.
    let exact: Vec<u64> = std::iter::once(250)
        .chain((1..=7).map(|n| n * 10_000))
        .collect();
    assert_eq!(writes[..8], exact);
    let gaps: Vec<u64> = writes[7..]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(
        gaps.iter().all(|gap| *gap >= 60_000) && gaps.len() >= 17,
        "{gaps:?}"
    );
}
