//! All series, made from the snapshot at the moment of a scrape.
//!
//! Owns the names of the metrics. Holds nothing between scrapes, so that what a series says is what
//! `/status` says (T6) and what is gone from the snapshot is gone from here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use vmcp_core::health::State;
use vmcp_core::id::BackendId;
use vmcp_core::report::Phase as ReportPhase;
use vmcp_core::time::Tick;

use super::backend::{BackendMeter, Phase};
use super::family::{Families, Named};
use super::process::ProcessMeter;
use super::tally::{Counts, Kinds};
use crate::clock::Clock;
use crate::lanes::Lanes;
use crate::peer::PeerMeter;
use crate::snapshot::{BackendView, Snapshot, SnapshotReader};

/// `backend` label of requests that concern none.
const NO_BACKEND: &str = "none";

/// Live connections for traffic, by backend; a backend with several runtimes may come twice.
pub type Connections = Arc<dyn Fn() -> Vec<(BackendId, u64)> + Send + Sync>;

/// Collects from the newest snapshot.
#[derive(Clone)]
pub struct SnapshotCollector {
    pub snapshots: SnapshotReader,
    pub process: Arc<ProcessMeter>,
    pub peers: Arc<PeerMeter>,
    pub clock: Clock,
    pub connections: Connections,
    pub lanes: Lanes,
}

impl fmt::Debug for SnapshotCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotCollector")
    }
}

/// The text that Prometheus reads.
pub struct Exposition(Registry);

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Exposition {
    /// # Errors
    /// When the collector is refused, which a test rules out.
    pub fn new(collector: SnapshotCollector) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(collector))?;
        Ok(Self(registry))
    }

    /// # Errors
    /// When a family is malformed.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut out = Families::default();
        let snapshot = self.snapshots.load();
        self.whole(&snapshot, &mut out);
        let connections = (self.connections)();
        for view in snapshot.backends.iter() {
            self.health(view, &mut out);
            counters(view, &mut out);
            let own = connections.iter().filter(|(id, _)| *id == view.id);
            let count = own.map(|(_, count)| *count).sum();
            out.gauge(
                CONNECTIONS,
                &[("backend", &view.id.name.0)],
                count_of(count),
            );
        }
        out.into_vec()
    }
}

impl SnapshotCollector {
    fn whole(&self, snapshot: &Snapshot, out: &mut Families) {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        out.gauge(("vmcp_build_info", "Version of the program."), &build, 1.0);
        let valid = f64::from(snapshot.configured && snapshot.config.error.is_none());
        out.gauge(
            (
                "vmcp_config_valid",
                "The newest configuration is the one served.",
            ),
            &[],
            valid,
        );
        for phase in ReportPhase::ALL {
            let value = f64::from(snapshot.report.phase == phase);
            let labels = [("phase", phase.as_str())];
            out.gauge(
                ("vmcp_phase", "Phase of the whole; 1 for the current one."),
                &labels,
                value,
            );
        }
        out.gauge(
            ("vmcp_sessions", "Client sessions with state here."),
            &[],
            count_of(as_u64(self.process.sessions())),
        );
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            out.gauge(
                ("vmcp_tasks", "Tasks that run or wait in this process."),
                &[],
                count_of(as_u64(
                    runtime.metrics().num_alive_tasks() + self.lanes.tasks(),
                )),
            );
        }
        out.gauge(
            ("vmcp_tools", "Tools in the merged list."),
            &[],
            count_of(as_u64(snapshot.lists.tool_count)),
        );
        let writes = self.process.status_writes();
        out.counter(
            ("vmcp_status_writes_total", "Status writes that were taken."),
            &[],
            writes,
        );
        self.replicas(out);
        requests(NO_BACKEND, &self.process.requests, out);
        request_times(NO_BACKEND, &self.process.request_times, out);
    }

    /// What happened between this replica and the others.
    fn replicas(&self, out: &mut Families) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let relayed = (
            "vmcp_relayed_requests_total",
            "Requests of clients that belong to another replica.",
        );
        for (outcome, count) in [("ok", &self.peers.relayed), ("lost", &self.peers.lost)] {
            out.counter(relayed, &[("outcome", outcome)], read(count));
        }
        let handed = (
            "vmcp_sessions_handed_over_total",
            "Client sessions that went to another replica, or came from one.",
        );
        for (direction, count) in [("to", &self.peers.given), ("from", &self.peers.taken)] {
            out.counter(handed, &[("direction", direction)], read(count));
        }
        out.gauge(
            (
                "vmcp_foreign_sessions",
                "Client sessions of other replicas whose wishes are kept here.",
            ),
            &[],
            count_of(as_u64(self.process.sessions_elsewhere())),
        );
        let agreed = (
            "vmcp_list_agreements_total",
            "Changed lists that all replicas were to show.",
        );
        let agreements = [("ok", &self.peers.agreed), ("late", &self.peers.given_up)];
        for (outcome, count) in agreements {
            out.counter(agreed, &[("outcome", outcome)], read(count));
        }
        out.counter(
            (
                "vmcp_peer_refused_total",
                "Connections at a peer port that proved no common session key.",
            ),
            &[],
            read(&self.peers.refused),
        );
        out.counter(
            (
                "vmcp_sessions_taken_over_total",
                "Client sessions of a replica that ended without handing them over.",
            ),
            &[],
            self.process.taken_over(),
        );
    }

    fn health(&self, view: &BackendView, out: &mut Families) {
        let backend = [("backend", &*view.id.name.0)];
        let observed = &view.observed;
        let now = self.clock.now();
        let seconds = |since: Option<Tick>| since.map_or(0.0, |at| now.since(at).as_secs_f64());
        let date = |at: Option<Tick>| at.map_or(0.0, |at| self.clock.unix_seconds(at));
        out.gauge(
            ("vmcp_backend_up", "The backend serves."),
            &backend,
            f64::from(observed.state.serves()),
        );
        for state in State::ALL {
            let labels = [backend[0], ("state", state.as_str())];
            let value = f64::from(observed.state == state);
            out.gauge(
                ("vmcp_backend_state", "1 for the current state."),
                &labels,
                value,
            );
        }
        out.gauge(
            (
                "vmcp_backend_consecutive_failures",
                "Failed checks or calls in a row.",
            ),
            &backend,
            f64::from(observed.consecutive_failures),
        );
        out.gauge(
            (
                "vmcp_backend_last_success_timestamp_seconds",
                "Last good check or call; 0 for never.",
            ),
            &backend,
            date(view.meter.last_success()),
        );
        out.gauge(
            (
                "vmcp_backend_uptime_seconds",
                "Served without a break for this long.",
            ),
            &backend,
            seconds(observed.ready_since),
        );
        out.gauge(
            (
                "vmcp_backend_catalog_age_seconds",
                "Since the tools were read whole.",
            ),
            &backend,
            seconds(view.meter.catalog_checked()),
        );
    }
}

const PROBES: Named = ("vmcp_backend_probes_total", "Checks that ended.");
const STEPS: Named = (
    "vmcp_backend_probe_duration_seconds",
    "Steps of the checks.",
);
const TRANSITIONS: Named = ("vmcp_backend_transitions_total", "Changes of state.");
const CATALOG_CHANGES: Named = (
    "vmcp_backend_catalog_changes_total",
    "Catalogues that differed from the one before.",
);
const RECOVERY: Named = (
    "vmcp_backend_recovery_seconds",
    "Outages, until ready again.",
);
const UPSTREAM: Named = (
    "vmcp_upstream_duration_seconds",
    "From a request to the backend's first answer, or to its failure.",
);
const CONNECTIONS: Named = ("vmcp_upstream_connections", "Live connections for traffic.");

fn counters(view: &BackendView, out: &mut Families) {
    let name = &*view.id.name.0;
    let backend = [("backend", name)];
    let meter: &BackendMeter = &view.meter;
    for ((outcome, reason), total) in meter.probes.all() {
        let labels = [backend[0], ("outcome", outcome), ("reason", reason)];
        out.counter(PROBES, &labels, total);
    }
    for phase in Phase::ALL {
        let labels = [backend[0], ("phase", phase.as_str())];
        let times = meter.phases[phase as usize].view();
        if times.count > 0 {
            out.histogram(STEPS, &labels, &times);
        }
    }
    for ((from, to), total) in meter.transitions.all() {
        let labels = [backend[0], ("from", from), ("to", to)];
        out.counter(TRANSITIONS, &labels, total);
    }
    let changes = meter.catalog_changes.load(Ordering::Relaxed);
    out.counter(CATALOG_CHANGES, &backend, changes);
    out.histogram(RECOVERY, &backend, &meter.recovery.view());
    out.histogram(UPSTREAM, &backend, &meter.upstream.view());
    requests(name, &meter.requests, out);
    request_times(name, &meter.request_times, out);
}

fn requests(backend: &str, counts: &Counts, out: &mut Families) {
    for ((method, code), total) in counts.all() {
        let labels = [("method", method), ("backend", backend), ("code", code)];
        out.counter(
            ("vmcp_requests_total", "Requests of clients."),
            &labels,
            total,
        );
    }
}

fn request_times(backend: &str, times: &Kinds, out: &mut Families) {
    for (kind, times) in times.all() {
        let labels = [("kind", kind.as_str()), ("backend", backend)];
        out.histogram(
            (
                "vmcp_request_duration_seconds",
                "Requests of clients, end to end.",
            ),
            &labels,
            &times.view(),
        );
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of things in memory are below 2^53"
)]
fn count_of(value: u64) -> f64 {
    value as f64
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
