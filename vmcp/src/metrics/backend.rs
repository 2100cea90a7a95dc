//! The counters of one backend, over the life of its slot.
//!
//! Owns numbers only; what they are about is decided by those who add. Shared between the registry
//! (checks), the gateway (requests) and the exposition through the snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use vmcp_core::time::Tick;

use super::tally::{Counts, Kinds, REQUEST_BOUNDS, Times};
use crate::gateway::meter::RequestKind;

/// Upper bounds for the steps of a check: local servers answer in a millisecond, the deadline is
/// mostly 5 s.
const PROBE_BOUNDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds for outages: R2.6 promises 3 s at the median and one interval at worst.
const RECOVERY_BOUNDS: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 3600.0];

/// Steps of a check that are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Dns,
    Connect,
    Tls,
    Handshake,
    List,
    Call,
}

impl Phase {
    pub const ALL: [Self; 6] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Handshake,
        Self::List,
        Self::Call,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::List => "list",
            Self::Call => "call",
        }
    }
}

/// How long the steps of one check took; none where it did not get that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations([Option<Duration>; 6]);

impl Durations {
    #[must_use]
    pub fn with(mut self, phase: Phase, took: Option<Duration>) -> Self {
        self.0[phase as usize] = took;
        self
    }

    #[must_use]
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        self.0[phase as usize]
    }
}

/// Counters of one backend.
#[derive(Debug)]
pub struct BackendMeter {
    pub(super) probes: Counts,
    pub(super) transitions: Counts,
    pub(super) phases: [Times; 6],
    pub(super) recovery: Times,
    pub(super) requests: Counts,
    pub(super) request_times: Kinds,
    pub(super) upstream: Times,
    pub(super) catalog_changes: AtomicU64,
    /// Ticks, 0 for never.
    last_success: AtomicU64,
    catalog_checked: AtomicU64,
    last_probe: Mutex<Durations>,
}

impl Default for BackendMeter {
    fn default() -> Self {
        Self {
            probes: Counts::default(),
            transitions: Counts::default(),
            phases: Phase::ALL.map(|_| Times::new(PROBE_BOUNDS)),
            recovery: Times::new(RECOVERY_BOUNDS),
            requests: Counts::default(),
            request_times: Kinds::default(),
            upstream: Times::new(REQUEST_BOUNDS),
            catalog_changes: AtomicU64::new(0),
            last_success: AtomicU64::new(0),
            catalog_checked: AtomicU64::new(0),
            last_probe: Mutex::default(),
        }
    }
}

impl BackendMeter {
    /// One check ended (T9).
    pub fn probe(&self, outcome: &'static str, reason: &'static str, durations: Durations) {
        self.probes.add(outcome, reason);
        for phase in Phase::ALL {
            if let Some(took) = durations.get(phase) {
                self.phases[phase as usize].observe(took);
            }
        }
        *self
            .last_probe
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = durations;
    }

    pub fn transition(&self, from: &'static str, to: &'static str) {
        self.transitions.add(from, to);
    }

    /// The backend is ready again after this long.
    pub fn recovered(&self, outage: Duration) {
        self.recovery.observe(outage);
    }

    pub fn succeeded(&self, now: Tick) {
        self.last_success.store(now.0, Ordering::Relaxed);
    }

    /// The catalogue was seen whole, changed or not.
    pub fn catalog_seen(&self, now: Tick) {
        self.catalog_checked.store(now.0, Ordering::Relaxed);
    }

    pub fn catalog_changed(&self) {
        self.catalog_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// One request that concerned this backend.
    pub fn request(
        &self,
        method: &'static str,
        code: &'static str,
        kind: RequestKind,
        took: Duration,
    ) {
        self.requests.add(method, code);
        self.request_times.observe(kind, took);
    }

    /// The backend answered a request, or failed to, after this long.
    pub fn upstream(&self, took: Duration) {
        self.upstream.observe(took);
    }

    /// When a check or call went well last.
    #[must_use]
    pub fn last_success(&self) -> Option<Tick> {
        stored(&self.last_success)
    }

    /// When the catalogue was seen whole last.
    #[must_use]
    pub fn catalog_checked(&self) -> Option<Tick> {
        stored(&self.catalog_checked)
    }

    /// Steps of the last check.
    #[must_use]
    pub fn last_probe(&self) -> Durations {
        *self
            .last_probe
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that ended, of all outcomes (T9).
    #[must_use]
    pub fn probes_total(&self) -> u64 {
        self.probes.all().iter().map(|(_, count)| count).sum()
    }
}

fn stored(tick: &AtomicU64) -> Option<Tick> {
    match tick.load(Ordering::Relaxed) {
        0 => None,
        tick => Some(Tick(tick)),
    }
}
