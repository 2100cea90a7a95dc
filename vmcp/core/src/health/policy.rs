//! The settings of one backend's health check, all of them known.

use std::time::Duration;

/// How often, how long, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    pub period: Duration,
    pub timeout: Duration,
    /// Failures in a row that make a backend Unhealthy. Zero counts as one.
    pub failure_threshold: u32,
    /// Successes in a row that bring it back. Zero counts as one.
    pub success_threshold: u32,
    /// A good check slower than this makes it Degraded.
    pub degraded_above: Option<Duration>,
}

impl Default for Policy {
    /// The defaults of api.md.
    fn default() -> Self {
        Self {
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
            success_threshold: 1,
            degraded_above: None,
        }
    }
}
