//! The state, step by step: no clock, no task, no socket.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use vmcp_core::backoff::Jitter;
use vmcp_core::catalog::{Catalog, CatalogPolicy, ConflictPolicy, ConflictStrategy, Entry};
use vmcp_core::health::{
    CallOutcome, Dialect, Listed, Outcome, Policy, ProbeFailure, ProbeReason, SessionMode,
    State as Health, Step, Wire,
};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::mcp::{Era, ProtocolVersion};
use vmcp_core::report::Phase;
use vmcp_core::time::Tick;

use super::*;
use crate::discovery::desired::{Blocked, Desired, DesiredBackend};
use crate::gateway::port::Observation;
use crate::metrics::Durations;
use crate::snapshot::{Admission, Endpoint, ProtocolChoice, Transport};

/// A state with its time and everything that it asked for.
struct World {
    state: State,
    now: Tick,
    effects: Vec<Effect>,
}

impl World {
    fn new() -> Self {
        let state = State::new(Publication::default());
        Self {
            state,
            now: Tick(1_000_000),
            effects: Vec::new(),
        }
    }

    fn with(backends: &[DesiredBackend]) -> Self {
        let mut world = Self::new();
        world.discover(backends);
        world
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            jitter: Jitter::NONE,
        }
    }

    fn step(&mut self, event: Event) {
        self.state.step(event, self.moment(), &mut self.effects);
    }

    fn discover(&mut self, backends: &[DesiredBackend]) {
        self.step(Event::Discovered(Box::new(desired(backends))));
    }

    fn probe(&mut self, generation: u64, outcome: Outcome, tools: &[&str]) {
        self.probe_of("one", generation, outcome, tools);
    }

    fn probe_of(&mut self, name: &str, generation: u64, outcome: Outcome, tools: &[&str]) {
        let listed = matches!(
            outcome,
            Outcome::Healthy {
                listed: Listed::Yes,
                ..
            }
        );
        let probed = Probed {
            id: id(name),
            generation: Generation(generation),
            outcome,
            catalog: listed.then(|| catalog(tools)),
            durations: Durations::default(),
        };
        self.step(Event::Probed(Box::new(probed)));
    }

    fn call(&mut self, generation: u64, outcome: CallOutcome) {
        let seen = Observation {
            id: id("one"),
            generation: Generation(generation),
            outcome,
        };
        self.state.observe(&seen, self.moment(), &mut self.effects);
    }

    fn snapshot(&mut self) -> Snapshot {
        self.state.snapshot(self.now)
    }

    fn health(&mut self) -> Health {
        self.snapshot().backends[0].observed.state
    }

    fn advance(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn last_plan(&self) -> Plan {
        let plans = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Plan { plan, .. } | Effect::Attach { plan, .. } => Some(*plan),
            Effect::Detach { .. } => None,
        });
        plans.expect("a plan")
    }
}

fn id(name: &str) -> BackendId {
    BackendId::new(name, &format!("uid-{name}"))
}

fn endpoint(url: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        url: Url::parse(url).unwrap(),
        host_header: None,
        transport: Transport::StreamableHttp,
        protocol: ProtocolChoice::Auto,
        connect_timeout: Duration::from_secs(5),
        call_timeout: Duration::from_secs(300),
    })
}

fn backend(name: &str) -> DesiredBackend {
    let url = format!("http://{name}.test/mcp");
    DesiredBackend {
        id: id(name),
        key: url.clone(),
        prefix: None,
        target: Ok(endpoint(&url)),
        policy: Policy::default(),
        catalog_policy: CatalogPolicy::Keep,
        service: Some(format!("svc-{name}").into()),
    }
}

fn desired(backends: &[DesiredBackend]) -> Desired {
    Desired {
        name: "all".into(),
        uid: "uid-all".into(),
        observed_generation: 1,
        backends: backends.to_vec(),
        conflict_policy: ConflictPolicy::default(),
        admission: Admission::default(),
        min_ready: 1,
        problems: Vec::new(),
    }
}

fn catalog(tools: &[&str]) -> Catalog {
    let entry = |name: &&str| Entry {
        name: (*name).into(),
        raw: tool(name).into(),
    };
    Catalog::new(tools.iter().map(entry).collect())
}

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

fn healthy() -> Outcome {
    Outcome::Healthy {
        latency: Duration::from_millis(3),
        dialect: Dialect {
            era: Era::Legacy,
            version: ProtocolVersion::LATEST_LEGACY,
            wire: Wire::StreamableHttp,
            sessions: SessionMode::Stateful,
        },
        server: None,
        listed: Listed::Yes,
    }
}

fn refused() -> Outcome {
    Outcome::Failed(failure(ProbeReason::ConnectRefused, Step::Connect))
}

fn failure(reason: ProbeReason, step: Step) -> ProbeFailure {
    ProbeFailure {
        reason,
        step,
        http_status: None,
        message: "no".to_owned(),
    }
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot
        .backends
        .iter()
        .map(|view| view.id.name.to_string())
        .collect()
}

fn tools(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<String> = snapshot
        .routes
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort();
    names
}

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
    let first = world.snapshot().catalog_hash;

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
    assert_ne!(snapshot.catalog_hash, first);
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
