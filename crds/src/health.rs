//! `healthCheck`, as both kinds spell it, and its resolution.
//!
//! No field has a schema default: a server's own value stands over the gateway's,
//! that over the built-in one, and a default written by the API server would hide
//! the gateway's.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;

/// The kubelet's own default period.
pub const DEFAULT_PERIOD: Duration = Duration::from_secs(10);
/// Half the period: two hung checks never overlap.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The kubelet's own default; with the fast retries it trips after seconds, not 30 s.
pub const DEFAULT_FAILURE_THRESHOLD: u32 = 3;
/// One good check brings a backend back.
pub const DEFAULT_SUCCESS_THRESHOLD: u32 = 1;

/// How the health of a server is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::health_check()))]
pub struct HealthCheckSpec {
    /// Seconds between two checks of a healthy server; 10 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: Option<i32>,
    /// Seconds that one check may take; 5 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: Option<i32>,
    /// Failures in a row that make it Unhealthy; 3 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: Option<i32>,
    /// Successes in a row that make it Ready again; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: Option<i32>,
    /// A good check slower than this makes it Degraded; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300_000))]
    pub degraded_above_milliseconds: Option<i32>,
}

/// The settings that hold for one backend, all of them known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub period: Duration,
    pub timeout: Duration,
    pub failure_threshold: u32,
    pub success_threshold: u32,
    pub degraded_above: Option<Duration>,
}

impl HealthCheck {
    /// The server's own setting over the gateway's over the built-in one, field by field.
    #[must_use]
    pub fn resolve(own: Option<&HealthCheckSpec>, gateway: Option<&HealthCheckSpec>) -> Self {
        let pick = |field: fn(&HealthCheckSpec) -> Option<i32>| {
            own.and_then(field)
                .or_else(|| gateway.and_then(field))
                .and_then(|value| u32::try_from(value).ok())
                .filter(|value| *value > 0)
        };
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        let millis = |value: u32| Duration::from_millis(u64::from(value));
        Self {
            period: pick(|h| h.period_seconds).map_or(DEFAULT_PERIOD, seconds),
            timeout: pick(|h| h.timeout_seconds).map_or(DEFAULT_TIMEOUT, seconds),
            failure_threshold: pick(|h| h.failure_threshold).unwrap_or(DEFAULT_FAILURE_THRESHOLD),
            success_threshold: pick(|h| h.success_threshold).unwrap_or(DEFAULT_SUCCESS_THRESHOLD),
            degraded_above: pick(|h| h.degraded_above_milliseconds).map(millis),
        }
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self::resolve(None, None)
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_PERIOD, HealthCheck, HealthCheckSpec};
    use std::time::Duration;

    /// R2.6
    #[test]
    fn a_servers_own_setting_stands_over_the_gateways_and_that_over_the_built_in_one() {
        let own = HealthCheckSpec {
            period_seconds: Some(2),
            ..HealthCheckSpec::default()
        };
        let gateway = HealthCheckSpec {
            period_seconds: Some(30),
            failure_threshold: Some(7),
            ..HealthCheckSpec::default()
        };

        let resolved = HealthCheck::resolve(Some(&own), Some(&gateway));

        assert_eq!(resolved.period, Duration::from_secs(2));
        assert_eq!(resolved.failure_threshold, 7);
        assert_eq!(resolved.success_threshold, 1);
    }

    /// R2.6: the default interval is the kubelet's.
    #[test]
    fn a_setting_that_no_admission_checked_and_that_makes_no_sense_falls_back_to_the_default() {
        let own = HealthCheckSpec {
            period_seconds: Some(0),
            timeout_seconds: Some(-4),
            ..HealthCheckSpec::default()
        };

        let resolved = HealthCheck::resolve(Some(&own), None);

        assert_eq!(resolved, HealthCheck::default());
        assert_eq!(resolved.period, DEFAULT_PERIOD);
    }
}
