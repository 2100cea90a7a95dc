//! One honest check of one MCP server.
//!
//! Owns the entry points of the health check; the algorithm stands in `cycle`. Used by the prober
//! of the gateway and by `vmcp probe`, so that both always say the same (T6). Has no opinion about
//! health: that is the machine's, which sees many outcomes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::catalog::Catalog;
use vmcp_core::health::Outcome;

use super::cycle::Cycle;
use super::fresh::Fresh;
pub use super::memory::ProbeMemory;
use super::outgoing::{self, Last};
pub use super::timings::Timings;
use crate::snapshot::Endpoint;

/// Ending a session is a courtesy to the backend; it must not hold up a shutdown.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What is checked.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    pub endpoint: Arc<Endpoint>,
}

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Does it speak MCP?
    Liveness,
    /// That, and its tools.
    Catalogue,
}

/// The result of one cycle.
#[derive(Debug)]
pub struct CheckReport {
    pub outcome: Outcome,
    /// Only with `Want::Catalogue` and a good list.
    pub catalog: Option<Catalog>,
    pub timings: Timings,
    /// For the next cycle. Whoever drops it for good calls [`end`] first.
    pub memory: ProbeMemory,
}

/// Checks a backend once.
///
/// # Guarantees
/// * Ends before `deadline` is over, whatever the backend does (R1.14).
/// * Every connection is new and closed at the end; name, TCP and TLS are done anew (R2.2).
/// * A failing outcome comes from a fresh connection and a fresh session, except for connect, TLS
///   and 401 (R2.2).
/// * Every session that was opened is in the returned memory or ended (T7).
///
/// # Assumptions
/// The future is awaited to its end. Dropping it loses the memory and with it the session; it is
/// bounded by `deadline`, so waiting is cheap.
pub async fn check(
    target: &ProbeTarget,
    memory: ProbeMemory,
    want: Want,
    deadline: Duration,
) -> CheckReport {
    Box::pin(Cycle::new(&target.endpoint, memory, want, deadline).run()).await
}

/// Ends the sessions in `memory` at the backend: on shutdown, removal, or a new generation.
pub async fn end(target: &ProbeTarget, memory: ProbeMemory) {
    let left = end_sessions(
        &target.endpoint,
        memory.all_sessions(),
        Instant::now() + END_WITHIN,
    )
    .await;
    if left > 0 {
        tracing::debug!(left, "health sessions not ended");
    }
}

/// DELETEs sessions on one connection; returns how many are left. Any HTTP answer counts: 405 is a
/// server that keeps its own time, 404 and 400 one that forgot.
pub(super) async fn end_sessions<'a>(
    endpoint: &Endpoint,
    sessions: impl Iterator<Item = &'a super::memory::HealthSession>,
    deadline: Instant,
) -> usize {
    let mut fresh = Fresh::new(endpoint);
    let mut sessions = sessions.peekable();
    let mut left = 0;
    while let Some(session) = sessions.next() {
        let last = if sessions.peek().is_none() {
            Last::Yes
        } else {
            Last::No
        };
        let told = match outgoing::delete(endpoint, session.version, &session.id) {
            Ok(request) => fresh.tell(outgoing::ending(request, last), deadline).await,
            Err(error) => Err(error.into()),
        };
        match told {
            Ok(status) => tracing::trace!(status, "health session ended"),
            Err(error) => {
                tracing::debug!(%error, "health session could not be ended");
                left += 1;
            }
        }
    }
    left
}
