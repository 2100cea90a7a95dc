//! What clients see of the tools, and when they are read.

use super::*;

/// R4.5: the list stays last-good while a backend is down and while it gets a new runtime.
#[test]
fn tools_stay_listed_through_an_outage_and_a_new_generation() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);
    for _ in 0..3 {
        world.probe(1, refused(), &[]);
    }
    assert_eq!(world.health(), Health::Unhealthy);
    assert_eq!(tools(&world.snapshot()), ["one_echo"]);

    world.discover(&[DesiredBackend {
        key: "moved".to_owned(),
        ..backend("one")
    }]);

    assert_eq!(world.health(), Health::Pending);
    assert_eq!(tools(&world.snapshot()), ["one_echo"]);
}

/// R4.5: by policy the list is hidden, at once or after a time, and comes back.
#[test]
fn the_catalogue_policy_hides_tools_of_a_backend_that_is_down() {
    let keep = CatalogPolicy::KeepFor(Duration::from_secs(60));
    for (policy, hidden_after) in [(CatalogPolicy::Hide, 0), (keep, 60)] {
        let mut world = World::with(&[DesiredBackend {
            catalog_policy: policy,
            ..backend("one")
        }]);
        world.probe(1, healthy(), &["echo"]);
        for _ in 0..3 {
            world.probe(1, refused(), &[]);
        }
        if hidden_after > 0 {
            assert_eq!(tools(&world.snapshot()), ["one_echo"]);
            let deadline = world.state.deadline(world.now).unwrap();
            assert_eq!(deadline.since(world.now).as_secs(), hidden_after);
            world.now = deadline;
            world.state.touch();
        }
        assert!(tools(&world.snapshot()).is_empty(), "{policy:?}");

        world.probe(1, healthy(), &["echo"]);
        assert_eq!(tools(&world.snapshot()), ["one_echo"]);
    }
}

/// R4.8, T14: a conflict hides the clashing entries and stops nobody else.
#[test]
fn a_name_conflict_does_not_stop_others_from_publishing() {
    let mut world = World::new();
    let mut spec = desired(&[backend("one"), backend("two"), backend("three")]);
    spec.conflict_policy.strategy = ConflictStrategy::Manual;
    world.step(Event::Discovered(Box::new(spec)));
    world.probe_of("one", 1, healthy(), &["same", "a"]);
    world.probe_of("two", 2, healthy(), &["same", "b"]);
    world.probe_of("three", 3, healthy(), &["c"]);

    let snapshot = world.snapshot();
    assert_eq!(tools(&snapshot), ["a", "b", "c"]);
    assert_eq!(snapshot.report.phase, Phase::Ready);
}

/// R4.11, T15, T13: the hash that clients are told about moves with the content only.
#[test]
fn an_unchanged_list_publishes_nothing_and_a_new_schema_under_an_old_name_does() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);
    let first = world.snapshot().lists.hashes.tools;

    world.advance(60);
    world.probe(1, healthy(), &["echo"]);
    assert!(world.state.publish(world.now).is_none(), "nothing changed");

    let raw = tool("echo").replace("\"object\"", "\"object\",\"required\":[\"x\"]");
    let changed = Catalog::new(vec![Entry {
        name: "echo".into(),
        raw: raw.into(),
    }]);
    let (id, generation, durations) = (id("one"), Generation(1), Durations::default());
    let probed = Probed {
        id,
        generation,
        outcome: healthy(),
        catalog: Some(changed),
        durations,
    };
    world.step(Event::Probed(Box::new(probed)));

    let snapshot = world.state.publish(world.now).expect("a new schema");
    assert_ne!(snapshot.lists.hashes.tools, first);
}

/// R4.11: a burst of announcements asks for the list once, with the next check.
#[test]
fn a_burst_of_list_changes_wants_one_catalogue() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["echo"]);
    assert_eq!(world.last_plan().want, Want::Liveness);

    for _ in 0..100 {
        world.step(Event::ListChanged {
            id: id("one"),
            generation: Generation(1),
        });
    }
    assert_eq!(world.last_plan().want, Want::Catalogue);

    world.probe(1, healthy(), &["echo", "more"]);
    assert_eq!(world.last_plan().want, Want::Liveness);
    assert_eq!(tools(&world.snapshot()), ["one_echo", "one_more"]);
}

/// R1.12, T5: the check that finds a backend well again reads its tools; no memory of the outage
/// outlives it.
#[test]
fn the_check_that_brings_a_backend_back_also_reads_its_tools() {
    let mut world = World::with(&[backend("one")]);
    world.probe(1, healthy(), &["old"]);
    for _ in 0..3 {
        world.advance(1);
        world.probe(1, refused(), &[]);
    }

    assert_eq!(world.last_plan().want, Want::Catalogue);
}

/// R1.12: a well backend's tools are read each minute, not with each check.
#[test]
fn the_tools_of_a_well_backend_are_read_once_a_minute() {
    let mut world = World::with(&[backend("one")]);
    let mut reads = 0;
    for _ in 0..60 {
        let plan = world.last_plan();
        world.now = plan.at;
        reads += u32::from(plan.want == Want::Catalogue);
        let tools: &[&str] = if plan.want == Want::Catalogue {
            &["echo"]
        } else {
            &[]
        };
        let outcome = match (healthy(), plan.want) {
            (
                Outcome::Healthy {
                    latency,
                    dialect,
                    server,
                    ..
                },
                Want::Liveness,
            ) => Outcome::Healthy {
                latency,
                dialect,
                server,
                listed: Listed::No,
            },
            (outcome, _) => outcome,
        };
        world.probe(1, outcome, tools);
    }

    assert!(
        (10..=11).contains(&reads),
        "{reads} reads in 60 checks of 10 s"
    );
}
