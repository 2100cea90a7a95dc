//! The gateway's door to the counters.

use std::sync::Arc;

use crate::gateway::meter::{RequestMeter, RequestRecord};
use crate::snapshot::SnapshotReader;

use super::process::ProcessMeter;

/// Counts requests by the backends that exist now: a request for one that is gone leaves no series.
#[derive(Debug)]
pub struct Requests {
    snapshots: SnapshotReader,
    process: Arc<ProcessMeter>,
}

impl Requests {
    #[must_use]
    pub fn new(snapshots: SnapshotReader, process: Arc<ProcessMeter>) -> Self {
        Self { snapshots, process }
    }
}

impl RequestMeter for Requests {
    fn record(&self, record: &RequestRecord<'_>) {
        let (method, code, kind) = (record.method, record.code, record.kind.as_str());
        let Some(name) = record.backend else {
            return self.process.request(method, code, kind, record.took);
        };
        let snapshot = self.snapshots.current.load();
        if let Some(view) = snapshot.backend(name) {
            view.meter.request(method, code, kind, record.took);
        }
    }

    fn sessions(&self, live: usize) {
        self.process.set_sessions(live);
    }
}
