//! Counters of the process as a whole.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::tally::{Counts, Kinds};
use crate::gateway::meter::RequestKind;

/// What no single backend owns.
#[derive(Debug, Default)]
pub struct ProcessMeter {
    pub(super) requests: Counts,
    pub(super) request_times: Kinds,
    sessions: AtomicUsize,
    sessions_elsewhere: AtomicUsize,
    status_writes: AtomicU64,
    taken_over: AtomicU64,
}

impl ProcessMeter {
    /// One request that concerned no backend.
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

    pub fn set_sessions(&self, live: usize) {
        self.sessions.store(live, Ordering::Relaxed);
    }

    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub fn set_sessions_elsewhere(&self, kept: usize) {
        self.sessions_elsewhere.store(kept, Ordering::Relaxed);
    }

    #[must_use]
    pub fn sessions_elsewhere(&self) -> usize {
        self.sessions_elsewhere.load(Ordering::Relaxed)
    }

    /// One session of a replica that is gone.
    pub fn session_taken_over(&self) {
        self.taken_over.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn taken_over(&self) -> u64 {
        self.taken_over.load(Ordering::Relaxed)
    }

    /// One write of the status that the API server took.
    pub fn status_written(&self) {
        self.status_writes.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn status_writes(&self) -> u64 {
        self.status_writes.load(Ordering::Relaxed)
    }
}
