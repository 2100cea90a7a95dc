//! Registry, fleet and tasks together on paused time, against backends that are a closure.

mod cadence;
mod removal;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use vmcp_core::catalog::{CatalogPolicy, ConflictPolicy, Entry, ToolRules};
use vmcp_core::health::{
    CallOutcome, Dialect, Listed, Policy, ProbeFailure, ProbeReason, SessionMode, State, Step, Wire,
};
use vmcp_core::mcp::{Era, ProtocolVersion};
use vmcp_core::report::Phase;

use super::*;
use crate::discovery::desired::{Desired, DesiredBackend};
use crate::gateway::port::Observation;
use crate::registry::{Doors, Event, Registry};
use crate::snapshot::{Admission, Snapshot};

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
    /// Who follows which host, and how to announce a change there.
    followed: Mutex<Vec<(String, OnChange)>>,
    /// Whose streams end, how, and after how long.
    streams: Mutex<HashMap<String, (Ended, Duration)>>,
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

    fn end_streams(&self, host: &str, ended: Ended, after: Duration) {
        let mut streams = self.0.streams.lock().unwrap();
        streams.insert(host.to_owned(), (ended, after));
    }

    fn followed(&self) -> usize {
        self.0.followed.lock().unwrap().len()
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

    fn follow(
        &self,
        endpoint: Arc<Endpoint>,
        _memory: &Option<String>,
        changed: OnChange,
        cancel: CancellationToken,
    ) -> Option<BoxFuture<'static, Ended>> {
        let inner = Arc::clone(&self.0);
        let host = endpoint.url.host_str().unwrap().to_owned();
        let follow = async move {
            let ends = inner.streams.lock().unwrap().get(&host).copied();
            inner.followed.lock().unwrap().push((host, changed));
            if let Some((ended, after)) = ends {
                tokio::time::sleep(after).await;
                return ended;
            }
            cancel.cancelled().await;
            Ended::Broken
        };
        Some(follow.boxed())
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
        target: Ok(Arc::new(Endpoint::plain(&url))),
        policy: Policy::default(),
        catalog_policy: CatalogPolicy::Keep,
        tools: ToolRules::default(),
        uri_prefixes: Vec::new(),
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
            tools: ToolRules::default(),
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
