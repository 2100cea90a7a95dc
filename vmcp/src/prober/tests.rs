//! Registry, fleet and tasks together on paused time, against backends that are a closure.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use vmcp_core::catalog::{CatalogPolicy, ConflictPolicy, Entry};
use vmcp_core::health::{
    CallOutcome, Dialect, Listed, Policy, ProbeFailure, ProbeReason, SessionMode, State, Step, Wire,
};
use vmcp_core::mcp::{Era, ProtocolVersion};
use vmcp_core::report::Phase;

use super::*;
use crate::discovery::desired::{Desired, DesiredBackend};
use crate::gateway::port::Observation;
use crate::registry::{Doors, Event, Registry};
use crate::snapshot::{Admission, ProtocolChoice, Snapshot, Transport};

/// What a pretended backend does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Refusing,
    Hanging,
}

/// Pretended backends by host name, and what was done to them.
#[derive(Clone, Debug, Default)]
struct Pretended(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    moods: Mutex<HashMap<String, Mood>>,
    checks: Mutex<Vec<(String, Instant)>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// Health sessions that are open.
    open: Mutex<Vec<String>>,
}

impl Pretended {
    fn set(&self, host: &str, mood: Mood) {
        self.0.moods.lock().unwrap().insert(host.to_owned(), mood);
    }

    fn checks(&self, host: &str) -> Vec<Instant> {
        let checks = self.0.checks.lock().unwrap();
        checks
            .iter()
            .filter(|(name, _)| name == host)
            .map(|(_, at)| *at)
            .collect()
    }

    fn open(&self) -> Vec<String> {
        self.0.open.lock().unwrap().clone()
    }
}

impl Checker for Pretended {
    type Memory = Option<String>;

    fn check(
        &self,
        endpoint: Arc<Endpoint>,
        memory: Option<String>,
        _want: Want,
        _deadline: Duration,
    ) -> BoxFuture<'static, Checked<Option<String>>> {
        let inner = Arc::clone(&self.0);
        let host = endpoint.url.host_str().unwrap().to_owned();
        async move {
            inner
                .checks
                .lock()
                .unwrap()
                .push((host.clone(), Instant::now()));
            let running = inner.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            inner.most_in_flight.fetch_max(running, Ordering::SeqCst);
            let mood = inner
                .moods
                .lock()
                .unwrap()
                .get(&host)
                .copied()
                .unwrap_or(Mood::Well);
            tokio::time::sleep(Duration::from_millis(5)).await;
            if mood == Mood::Hanging {
                std::future::pending::<()>().await;
            }
            inner.in_flight.fetch_sub(1, Ordering::SeqCst);
            let session = memory.unwrap_or_else(|| {
                inner.open.lock().unwrap().push(host.clone());
                host.clone()
            });
            let well = mood == Mood::Well;
            Checked {
                outcome: if well { healthy() } else { refused() },
                catalog: well.then(|| catalog(&host)),
                durations: Durations::default(),
                memory: Some(session),
            }
        }
        .boxed()
    }

    fn end(&self, _endpoint: Arc<Endpoint>, memory: Option<String>) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.0);
        async move {
            let mut open = inner.open.lock().unwrap();
            if let Some(at) = memory.and_then(|host| open.iter().position(|known| *known == host)) {
                open.remove(at);
            }
        }
        .boxed()
    }
}

fn healthy() -> Outcome {
    Outcome::Healthy {
        latency: Duration::from_millis(5),
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
    Outcome::Failed(failure())
}

fn failure() -> ProbeFailure {
    ProbeFailure {
        reason: ProbeReason::ConnectRefused,
        step: Step::Connect,
        http_status: None,
        message: "connection refused".to_owned(),
    }
}

fn catalog(host: &str) -> Catalog {
    let raw = format!(r#"{{"name":"{host}","inputSchema":{{"type":"object"}}}}"#);
    Catalog::new(vec![Entry {
        name: host.into(),
        raw: raw.into(),
    }])
}

fn backend(name: &str) -> DesiredBackend {
    let url = format!("http://{name}/mcp");
    DesiredBackend {
        id: BackendId::new(name, name),
        key: url.clone(),
        prefix: None,
        target: Ok(Arc::new(Endpoint {
            url: Url::parse(&url).unwrap(),
            host_header: None,
            transport: Transport::StreamableHttp,
            protocol: ProtocolChoice::Auto,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(300),
        })),
        policy: Policy::default(),
        catalog_policy: CatalogPolicy::Keep,
        service: Some(name.into()),
    }
}

/// A running registry with a fleet over pretended backends.
struct Running {
    backends: Pretended,
    doors: Doors,
    detached: Arc<AtomicUsize>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    fn start() -> Self {
        let clock = Clock::start();
        let (registry, doors) = Registry::new(clock);
        let backends = Pretended::default();
        let detached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&detached);
        let on_detach: OnDetach =
            Box::new(move |_, _, _| _ = counter.fetch_add(1, Ordering::SeqCst));
        let fleet = Fleet::new(backends.clone(), clock, doors.events.clone(), on_detach);
        let tasks = fleet.tasks();
        let cancel = CancellationToken::new();
        tokio::spawn(registry.run(fleet, cancel.clone()));
        Self {
            backends,
            doors,
            detached,
            cancel,
            tasks,
        }
    }

    async fn discover(&self, names: &[&str]) {
        let desired = Desired {
            name: "all".into(),
            uid: "all".into(),
            observed_generation: 1,
            backends: names.iter().map(|name| backend(name)).collect(),
            conflict_policy: ConflictPolicy::default(),
            admission: Admission::default(),
            min_ready: 1,
            problems: Vec::new(),
        };
        self.doors
            .events
            .send(Event::Discovered(Box::new(desired)))
            .await
            .unwrap();
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.doors.snapshots.load()
    }

    fn state_of(&self, name: &str) -> Option<State> {
        let snapshot = self.snapshot();
        let view = snapshot
            .backends
            .iter()
            .find(|view| *view.id.name.0 == *name);
        view.map(|view| view.observed.state)
    }

    /// Lets paused time pass until `wanted` or `limit`; returns how long it took.
    async fn until(&self, limit: u64, wanted: impl Fn(&Snapshot) -> bool) -> Duration {
        let start = Instant::now();
        let mut changed = self.doors.snapshots.changed.clone();
        let reached = async {
            while !wanted(&self.snapshot()) {
                changed.changed().await.unwrap();
            }
        };
        let limit = Duration::from_secs(limit);
        tokio::time::timeout(limit, reached)
            .await
            .expect("reached in time");
        start.elapsed()
    }
}

fn all_ready(snapshot: &Snapshot) -> bool {
    snapshot.report.phase == Phase::Ready
}

fn state(snapshot: &Snapshot, at: usize) -> Option<State> {
    snapshot.backends.get(at).map(|view| view.observed.state)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// R2.1, R2.10: N backends refuse for the first cycles, then answer: each is Ready within one
/// interval, phase goes Failed -> Ready, nothing is restarted.
#[tokio::test(start_paused = true)]
async fn backends_that_come_up_late_are_ready_within_one_interval() {
    let names = ["a", "b", "c", "d", "e"];
    for outage in [1, 4, 9, 30, 300] {
        let running = Running::start();
        names
            .iter()
            .for_each(|name| running.backends.set(name, Mood::Refusing));
        running.discover(&names).await;
        pass(outage).await;
        assert_ne!(running.snapshot().report.phase, Phase::Ready);

        names
            .iter()
            .for_each(|name| running.backends.set(name, Mood::Well));
        let took = running.until(11, all_ready).await;

        assert!(
            took <= Duration::from_millis(10_100),
            "{took:?} after {outage} s"
        );
        assert_eq!(running.snapshot().tool_count, names.len());
    }
}

/// R0.4: three failures trip within 15 s where connections are refused, 30 s where checks hang.
#[tokio::test(start_paused = true)]
async fn an_outage_is_detected_within_the_promised_time() {
    for (mood, promised) in [(Mood::Refusing, 15), (Mood::Hanging, 30)] {
        let running = Running::start();
        running.discover(&["a"]).await;
        running.until(5, all_ready).await;

        running.backends.set("a", mood);
        let unhealthy = |s: &Snapshot| state(s, 0) == Some(State::Unhealthy);
        let took = running.until(60, unhealthy).await;

        assert!(took <= Duration::from_secs(promised), "{mood:?}: {took:?}");
    }
}

/// R1.14, R4.8: a backend that hangs is judged by the deadline and holds up no other.
#[tokio::test(start_paused = true)]
async fn a_hanging_backend_is_judged_and_holds_up_nobody() {
    let running = Running::start();
    running.backends.set("stuck", Mood::Hanging);
    running.discover(&["stuck", "b"]).await;
    running
        .until(1, |s| state(s, 1) == Some(State::Ready))
        .await;
    let failing = |s: &Snapshot| s.backends[0].observed.consecutive_failures == 2;
    running.until(15, failing).await;

    assert!(running.backends.checks("b").len() >= 2);
    let reason = running.snapshot().backends[0].observed.reason;
    assert_eq!(reason, Some(ProbeReason::HandshakeTimeout));
}

/// R2.6: healthy backends are checked each period, and backends that came together do not tick
/// together.
#[tokio::test(start_paused = true)]
async fn healthy_backends_are_checked_each_period_and_not_together() {
    let running = Running::start();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    running.discover(&names).await;
    pass(300).await;

    let mut last: Vec<Instant> = Vec::new();
    for name in names {
        let checks = running.backends.checks(name);
        for pair in checks[2..].windows(2) {
            let gap = (pair[1] - pair[0]).as_secs_f64();
            assert!((9.0..=11.1).contains(&gap), "{name}: {gap}");
        }
        last.push(*checks.last().unwrap());
    }
    last.sort();
    let spread = *last.last().unwrap() - last[0];
    assert!(spread > Duration::from_secs(2), "{spread:?}");
}

/// R2.6: however many events ask, one check at a time and one a second.
#[tokio::test(start_paused = true)]
async fn a_storm_of_events_makes_one_check_a_second() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    let before = running.backends.checks("a").len();

    for _ in 0..100 {
        let service = "a".into();
        running
            .doors
            .events
            .send(Event::WakeService { service })
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let made = running.backends.checks("a").len() - before;
    assert!((4..=6).contains(&made), "{made} checks in 5 s");
    assert_eq!(running.backends.0.most_in_flight.load(Ordering::SeqCst), 1);
}

/// R2.6: after a good while, an outage that ends with an event is over at once.
#[tokio::test(start_paused = true)]
async fn an_event_brings_a_backend_back_at_once() {
    let running = Running::start();
    running.backends.set("a", Mood::Refusing);
    running.discover(&["a"]).await;
    pass(120).await;

    running.backends.set("a", Mood::Well);
    running
        .doors
        .events
        .send(Event::WakeService {
            service: "a".into(),
        })
        .await
        .unwrap();
    let took = running.until(11, all_ready).await;

    assert!(took <= Duration::from_millis(1_100), "{took:?}");
}

/// R2.6, R4.13: a failed call makes a check at once, which finds the outage early.
#[tokio::test(start_paused = true)]
async fn a_failed_call_makes_a_check_at_once() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    pass(13).await;
    let before = running.backends.checks("a").len();

    let view = running.snapshot().backends[0].clone();
    let outcome = CallOutcome::Failed(failure());
    let seen = Observation {
        id: view.id,
        generation: view.generation,
        outcome,
    };
    running.doors.observations.try_send(seen).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    assert!(running.backends.checks("a").len() > before);
}

/// R2.8, T7: a removed backend is not checked again, is gone from the snapshot, and its health
/// session is ended.
#[tokio::test(start_paused = true)]
async fn a_removed_backend_is_never_checked_again_and_its_session_ends() {
    let running = Running::start();
    running.discover(&["a", "b"]).await;
    running.until(5, all_ready).await;
    assert_eq!(running.backends.open().len(), 2);

    running.discover(&["b"]).await;
    running.until(1, |s| s.backends.len() == 1).await;
    pass(3).await;
    let checks = running.backends.checks("a").len();
    pass(120).await;

    assert_eq!(running.backends.checks("a").len(), checks);
    assert_eq!(running.backends.open(), ["b"]);
    assert_eq!(running.detached.load(Ordering::SeqCst), 1);
    assert_eq!(running.state_of("a"), None);
}

/// R2.8, R1.14: a backend that is removed in the middle of a check that hangs is gone within 5 s.
#[tokio::test(start_paused = true)]
async fn a_backend_removed_in_mid_check_lets_go() {
    let running = Running::start();
    running.backends.set("a", Mood::Hanging);
    running.discover(&["a"]).await;
    pass(1).await;

    running.discover(&[]).await;
    running.tasks.close();
    let let_go = tokio::time::timeout(Duration::from_secs(5), running.tasks.wait()).await;

    assert!(let_go.is_ok());
}

/// R2.8: the same name with the same UID, removed and added again at once, is checked anew.
#[tokio::test(start_paused = true)]
async fn a_backend_that_is_removed_and_added_again_is_checked_anew() {
    let running = Running::start();
    running.discover(&["a"]).await;
    running.until(5, all_ready).await;
    let first = running.snapshot().backends[0].generation;

    running.discover(&[]).await;
    running.discover(&["a"]).await;
    running
        .until(5, |s| all_ready(s) && s.backends[0].generation > first)
        .await;

    assert_eq!(running.snapshot().tool_count, 1);
}

/// T7: a stop ends every health session.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_health_session() {
    let running = Running::start();
    running.discover(&["a", "b", "c"]).await;
    running.until(5, all_ready).await;

    running.cancel.cancel();
    running.tasks.close();
    tokio::time::timeout(Duration::from_secs(5), running.tasks.wait())
        .await
        .unwrap();

    assert!(running.backends.open().is_empty());
}

/// T9: checks are really made, and counted where they are shown.
#[tokio::test(start_paused = true)]
async fn checks_are_made_and_counted() {
    let running = Running::start();
    running.discover(&["a"]).await;
    pass(100).await;

    let counted = running.snapshot().backends[0].meter.probes_total();
    let made = running.backends.checks("a").len();
    assert!(made >= 10, "{made}");
    assert_eq!(counted, u64::try_from(made).unwrap());
}
