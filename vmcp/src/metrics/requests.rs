//! The gateway's door to the counters.

use std::sync::Arc;

use crate::gateway::meter::{RequestMeter, RequestRecord};

use super::process::ProcessMeter;

/// Counts requests by the meter of their backend, which only those that exist now show: a request
/// for one that is gone leaves no series.
#[derive(Debug)]
pub struct Requests {
    process: Arc<ProcessMeter>,
}

impl Requests {
    #[must_use]
    pub fn new(process: Arc<ProcessMeter>) -> Self {
        Self { process }
    }
}

impl RequestMeter for Requests {
    fn record(&self, record: &RequestRecord<'_>) {
        let (method, code, kind) = (record.method, record.code, record.kind);
        match record.backend {
            Some(view) => view.meter.request(method, code, kind, record.took),
            None => self.process.request(method, code, kind, record.took),
        }
    }

    fn sessions(&self, live: usize) {
        self.process.set_sessions(live);
    }

    fn sessions_elsewhere(&self, kept: usize) {
        self.process.set_sessions_elsewhere(kept);
    }

    fn session_taken_over(&self) {
        self.process.session_taken_over();
    }
}
