//! The operator's own numbers, behind one module so that the crate can be changed.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Seconds; a reconcile is a few requests of some milliseconds each.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Every metric of the operator. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: IntCounterVec,
    duration: HistogramVec,
    writes: IntCounterVec,
    depth: IntGaugeVec,
    leader: IntGauge,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Conflict,
    Error,
    Timeout,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

impl Metrics {
    /// # Errors
    /// A name or label that prometheus refuses: a fault of this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reconciles = IntCounterVec::new(
            Opts::new("vmcp_operator_reconcile_total", "Reconciles by outcome."),
            &["controller", "outcome"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "vmcp_operator_reconcile_duration_seconds",
                "How long a reconcile took.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
            &["controller"],
        )?;
        let writes = IntCounterVec::new(
            Opts::new(
                "vmcp_operator_api_writes_total",
                "Writes to the API server.",
            ),
            &["kind", "verb"],
        )?;
        let depth = IntGaugeVec::new(
            Opts::new(
                "vmcp_operator_queue_depth",
                "Objects that wait for a reconcile.",
            ),
            &["controller"],
        )?;
        let leader = IntGauge::new("vmcp_operator_leader", "Whether this process leads.")?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(depth.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        Ok(Self {
            registry: Arc::new(registry),
            reconciles,
            duration,
            writes,
            depth,
            leader,
        })
    }

    pub fn reconciled(&self, controller: &str, outcome: Outcome, took: Duration) {
        self.reconciles
            .with_label_values(&[controller, outcome.as_str()])
            .inc();
        self.duration
            .with_label_values(&[controller])
            .observe(took.as_secs_f64());
    }

    pub fn wrote(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    pub fn queued(&self, controller: &str, depth: usize) {
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        self.depth.with_label_values(&[controller]).set(depth);
    }

    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// A metric that cannot be encoded.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, Outcome};

    /// API, metrics: the operator's metrics have their documented names and labels.
    #[test]
    fn each_documented_metric_is_exposed_once_it_has_a_value() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled("mcpserver", Outcome::Ok, Duration::from_millis(3));
        metrics.wrote("Deployment", "create");
        metrics.queued("mcpserver", 2);

        let text = String::from_utf8(metrics.text().unwrap()).unwrap();

        for line in [
            "vmcp_operator_reconcile_total{controller=\"mcpserver\",outcome=\"ok\"} 1",
            "vmcp_operator_reconcile_duration_seconds_count{controller=\"mcpserver\"} 1",
            "vmcp_operator_api_writes_total{kind=\"Deployment\",verb=\"create\"} 1",
            "vmcp_operator_queue_depth{controller=\"mcpserver\"} 2",
            "vmcp_operator_leader 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
