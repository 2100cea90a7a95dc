//! Checks, calls, wakes and what they lead to.

use super::*;

/// R2.1, R2.5: however long it failed, the first good check makes it Ready, nothing is restarted.
#[test]
fn a_backend_that_failed_for_long_is_ready_with_its_first_good_check() {
    let mut world = World::with(&[backend("one")]);
    for _ in 0..50 {
        world.advance(10);
        world.probe(1, refused(), &[]);
    }
    assert_eq!(world.health(), Health::Unhealthy);
    assert_eq!(world.snapshot().report.phase, Phase::Failed);

    world.advance(10);
    world.probe(1, healthy(), &["echo"]);

    let snapshot = world.snapshot();
    assert_eq!(snapshot.report.phase, Phase::Ready);
    assert_eq!(snapshot.backends[0].observed.consecutive_failures, 0);
    assert_eq!(tools(&snapshot), ["one_echo"]);
    let detached = world
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Detach { .. }))
        .count();
    assert_eq!(detached, 0, "same runtime all the time");
}

/// R2.6: after failures 1, 2, 4, 8 s, then every 10 s; never an end (R4.4).
#[test]
fn failing_checks_follow_the_published_schedule_for_ever() {
    let mut world = World::with(&[backend("one")]);
    let mut waits = Vec::new();
    for _ in 0..7 {
        world.probe(1, refused(), &[]);
        let plan = world.last_plan();
        waits.push(plan.at.since(world.now).as_secs());
        world.now = plan.at;
    }

    assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
}

/// R1.13: the last 50 transitions are kept, and the states are told apart.
#[test]
fn the_last_transitions_are_kept_and_no_more() {
    let policy = Policy {
        failure_threshold: 1,
        ..Policy::default()
    };
    let mut world = World::with(&[DesiredBackend {
        policy,
        ..backend("one")
    }]);
    for _ in 0..40 {
        world.advance(1);
        world.probe(1, healthy(), &["echo"]);
        world.advance(1);
        world.probe(1, refused(), &[]);
    }

    let history = world.snapshot().backends[0].history.clone();
    assert_eq!(history.len(), 50);
    assert!(
        history
            .windows(2)
            .all(|pair| pair[0].at < pair[1].at && pair[0].to == pair[1].from)
    );
}

/// T9: every check that ended is counted by outcome and reason.
#[test]
fn every_check_is_counted() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);
    world.probe(1, refused(), &[]);
    world.probe(1, Outcome::Cancelled, &[]);

    assert_eq!(world.snapshot().backends[0].meter.probes_total(), 2);
}

/// R2.6: a failed call asks for a check at once; a client's cancellation does not (R4.10).
#[test]
fn a_failed_call_wakes_the_check_and_a_cancelled_one_does_not() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);
    let before = world.last_plan().wakes;

    world.call(1, CallOutcome::Cancelled);
    assert_eq!(world.last_plan().wakes, before);
    assert_eq!(world.health(), Health::Ready);

    world.call(
        1,
        CallOutcome::Failed(failure(ProbeReason::ConnectRefused, Step::Connect)),
    );
    assert_eq!(world.last_plan().wakes, before + 1);
}

/// R2.6: new addresses behind a Service wake the backends of that Service only.
#[test]
fn new_addresses_wake_the_backends_of_their_service() {
    let mut world = World::with(&[backend("one"), backend("two")]);
    world.effects.clear();

    world.step(Event::WakeService {
        service: "svc-two".into(),
    });

    assert!(matches!(&world.effects[..], [Effect::Plan { id, plan, .. }]
        if *id.name.0 == *"two" && plan.wakes == 1));
}

/// R2.6: 429 is no verdict, its Retry-After is obeyed, and no event overrides it.
#[test]
fn a_rate_limited_backend_is_left_alone_until_it_said() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);

    world.probe(
        1,
        Outcome::RateLimited {
            retry_after: Some(Duration::from_secs(90)),
        },
        &[],
    );
    let plan = world.last_plan();
    world.step(Event::WakeService {
        service: "svc-one".into(),
    });

    assert_eq!(plan.at.since(world.now).as_secs(), 90);
    assert_eq!(world.last_plan().wakes, plan.wakes);
    assert_eq!(world.health(), Health::Ready);
}

/// T6: health, status and report are made of one state.
#[test]
fn report_and_views_never_disagree() {
    let mut world = World::with(&[backend("one")]);
    for outcome in [healthy(), refused(), refused(), refused(), healthy()] {
        world.advance(1);
        world.probe(1, outcome, &["echo"]);
        let snapshot = world.snapshot();
        let (view, entry) = (
            &snapshot.backends[0].observed,
            &snapshot.report.discovered_backends[0],
        );
        assert_eq!(view.state, entry.state);
        assert_eq!(view.consecutive_failures, entry.consecutive_failures);
    }
}
