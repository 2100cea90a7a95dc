//! The body of `GET /health` (R3).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::health::{Observed, ProbeReason, State};
use crate::time::Tick;

/// `specVersion`: the MCP gateway specification whose health format this is.
pub const SPEC_VERSION: &str = "1.17.0";

/// `servers.<name>.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerStatus {
    /// Before the first start, and after the connection was closed.
    Stopped,
    Running,
    Error,
}

/// `servers.<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHealth {
    pub status: ServerStatus,
    /// Whole seconds since the successful start; 0 unless running.
    pub uptime: u64,
}

/// `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverallStatus {
    Healthy,
    Unhealthy,
}

/// The whole body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthReport {
    pub status: OverallStatus,
    pub spec_version: &'static str,
    pub gateway_version: String,
    pub servers: BTreeMap<String, ServerHealth>,
}

impl HealthReport {
    /// Unhealthy exactly where a server is in error (R3.3).
    #[must_use]
    pub fn new<'a>(
        gateway_version: &str,
        servers: impl IntoIterator<Item = (&'a str, &'a Observed)>,
        now: Tick,
    ) -> Self {
        let servers: BTreeMap<String, ServerHealth> = servers
            .into_iter()
            .map(|(name, observed)| (name.to_owned(), server_health(observed, now)))
            .collect();
        let error = servers
            .values()
            .any(|server| server.status == ServerStatus::Error);
        Self {
            status: if error {
                OverallStatus::Unhealthy
            } else {
                OverallStatus::Healthy
            },
            spec_version: SPEC_VERSION,
            gateway_version: gateway_version.to_owned(),
            servers,
        }
    }
}

/// One server's part, from the state that every other output shows too.
#[must_use]
pub fn server_health(observed: &Observed, now: Tick) -> ServerHealth {
    let status = match observed.state {
        State::Ready | State::Degraded => ServerStatus::Running,
        // Never started: stopped as long as there is no verdict, in error once one was bad.
        State::Pending
            if matches!(
                observed.reason,
                None | Some(ProbeReason::RateLimited | ProbeReason::Idle)
            ) =>
        {
            ServerStatus::Stopped
        }
        State::Pending | State::Unhealthy | State::AuthRequired => ServerStatus::Error,
    };
    let uptime = match (status, observed.ready_since) {
        (ServerStatus::Running, Some(since)) => now.since(since).as_secs(),
        _ => 0,
    };
    ServerHealth { status, uptime }
}
