//! Backends come, go, are replaced; configurations are refused.

use super::*;

/// R4.2: a late result of an old connection changes nothing.
#[test]
fn a_result_of_an_earlier_generation_changes_nothing() {
    let mut world = World::with(&[backend("one")]);
    let moved = DesiredBackend {
        key: "moved".to_owned(),
        ..backend("one")
    };
    world.discover(&[moved]);
    let generation = world.snapshot().backends[0].generation;
    world.probe(generation.0, healthy(), &["new"]);
    let before = world.snapshot();

    world.probe(1, refused(), &[]);
    world.probe(1, healthy(), &["old"]);
    world.call(
        1,
        CallOutcome::Failed(failure(ProbeReason::ProtocolError, Step::Call)),
    );

    let after = world.snapshot();
    assert_eq!(after.backends[0].observed, before.backends[0].observed);
    assert_eq!(tools(&after), ["one_new"]);
    assert_eq!(after.backends[0].meter.probes_total(), 1);
}

/// R4.1: generations only grow, also for a backend that is removed and comes back.
#[test]
fn generations_only_grow() {
    let mut world = World::with(&[backend("one")]);
    let mut last = world.snapshot().backends[0].generation;
    for round in 0..5 {
        if round % 2 == 0 {
            world.discover(&[]);
        }
        world.discover(&[DesiredBackend {
            key: format!("{round}"),
            ..backend("one")
        }]);
        let next = world.snapshot().backends[0].generation;
        assert!(next > last);
        last = next;
    }
}

/// R2.8, R4.3, R4.12: what is removed is unpublished by the very step that asks for its end, and a
/// second removal is nothing.
#[test]
fn a_removed_backend_is_unpublished_and_then_detached_once() {
    let mut world = World::with(&[backend("one"), backend("two")]);
    world.probe_of("one", 1, healthy(), &["echo"]);
    world.effects.clear();

    world.discover(&[backend("two")]);
    world.discover(&[backend("two")]);

    let snapshot = world.snapshot();
    assert_eq!(names(&snapshot), ["two"]);
    assert!(tools(&snapshot).is_empty());
    assert!(
        snapshot
            .report
            .discovered_backends
            .iter()
            .all(|entry| entry.name != "one")
    );
    let removed = Effect::Detach {
        id: id("one"),
        generation: Generation(1),
        cause: Cause::Removed,
    };
    assert_eq!(world.effects, [removed]);
}

/// R2.8: a new UID under an old name is a new backend with nothing of the old one.
#[test]
fn a_backend_of_the_same_name_and_a_new_uid_starts_from_nothing() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);
    let old_meter = Arc::clone(&world.snapshot().backends[0].meter);

    let reborn = DesiredBackend {
        id: BackendId::new("one", "uid-2"),
        ..backend("one")
    };
    world.discover(&[reborn]);

    let snapshot = world.snapshot();
    assert_eq!(snapshot.backends[0].observed.state, Health::Pending);
    assert!(tools(&snapshot).is_empty());
    assert!(!Arc::ptr_eq(&snapshot.backends[0].meter, &old_meter));
    let detached = world.effects.iter().any(|effect| {
        matches!(effect, Effect::Detach { id, cause: Cause::Removed, .. } if *id.uid.0 == *"uid-one")
    });
    assert!(detached);
}

/// Api.md: a ref without an MCPServer counts as not ready, is never checked, and stops nobody.
#[test]
fn a_reference_to_nothing_is_reported_and_never_checked() {
    let missing = DesiredBackend {
        target: Err(Blocked {
            state: Health::Pending,
            reason: ProbeReason::BackendNotFound,
            message: "no MCPServer \"two\"".to_owned(),
        }),
        id: BackendId::new("two", ""),
        ..backend("two")
    };
    let mut world = World::with(&[backend("one"), missing.clone()]);
    world.probe(1, healthy(), &["echo"]);

    let snapshot = world.snapshot();
    let entry = &snapshot.report.discovered_backends[1];
    assert_eq!(entry.reason, Some(ProbeReason::BackendNotFound));
    assert_eq!(snapshot.report.phase, Phase::Degraded);
    assert!(snapshot.backends[1].fails_fast);
    assert_eq!(tools(&snapshot), ["one_echo"]);
    let attached = world
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Attach { .. }))
        .count();
    assert_eq!(attached, 1);
}

/// R2.5: Pending before the first full round; the round ends with a verdict or its deadline.
#[test]
fn the_first_round_ends_with_verdicts_or_their_deadline() {
    let mut world = World::with(&[backend("one"), backend("two")]);
    world.probe_of("one", 1, healthy(), &["echo"]);
    let early = world.state.publish(world.now).expect("a snapshot");
    assert_eq!(
        (early.first_round_done, early.report.phase),
        (false, Phase::Pending)
    );

    let deadline = world.state.deadline(world.now).unwrap();
    assert_eq!(
        deadline.since(world.now).as_secs(),
        6,
        "timeout of 5 s and some slack"
    );
    world.now = deadline;
    world.state.touch();

    let late = world.state.publish(world.now).expect("a snapshot");
    assert_eq!(
        (late.first_round_done, late.report.phase),
        (true, Phase::Degraded)
    );
}

/// Build 8: a bad configuration leaves the last good one, and says so.
#[test]
fn a_rejected_configuration_leaves_the_last_good_one() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);

    world.step(Event::Rejected {
        message: "c.yaml:3: spec: bad".to_owned(),
    });
    let bad = world.snapshot();
    world.discover(&[backend("one")]);
    let good = world.snapshot();

    assert_eq!(bad.config.error.as_deref(), Some("c.yaml:3: spec: bad"));
    assert_eq!(tools(&bad), ["one_echo"]);
    assert_eq!(good.config.error, None);
    assert_eq!(
        good.backends[0].generation,
        Generation(1),
        "the runtime was not touched"
    );
}

/// R2.5: before a configuration was seen nothing is claimed.
#[test]
fn without_a_configuration_everything_is_pending() {
    let snapshot = World::new().snapshot();

    assert_eq!(snapshot.report.phase, Phase::Pending);
    assert!(!snapshot.configured && !snapshot.first_round_done);
}
