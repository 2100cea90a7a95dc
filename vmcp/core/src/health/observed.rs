//! What every output shows of a backend.

use super::{Dialect, Facts, ProbeReason, State};
use crate::mcp::ServerInfo;
use crate::time::Tick;

/// What is known about a backend at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub state: State,
    /// Of the newest trouble; none when all is well.
    pub reason: Option<ProbeReason>,
    pub message: String,
    pub facts: Facts,
    /// The larger of the counts of failed checks and failed calls in a row (R4.9).
    pub consecutive_failures: u32,
    /// Last one found, also while the backend is away.
    pub dialect: Option<Dialect>,
    pub server: Option<ServerInfo>,
    pub last_success: Option<Tick>,
    /// End of the newest check that was not cancelled. `None`: never checked in this generation.
    pub last_checked: Option<Tick>,
    /// Of the state.
    pub since: Tick,
    /// Since when it has served without a break; `None` while it does not.
    pub ready_since: Option<Tick>,
}

impl Observed {
    /// A backend that is not checked because there is nothing to check: a reference without a
    /// server, an address that is none.
    #[must_use]
    pub fn unchecked(reason: ProbeReason, message: impl Into<String>, since: Tick) -> Self {
        Self {
            reason: Some(reason),
            message: message.into(),
            since,
            ..Self::default()
        }
    }

    /// A first verdict is there, or at least a first check was made.
    #[must_use]
    pub const fn is_checked(&self) -> bool {
        self.last_checked.is_some()
    }
}
