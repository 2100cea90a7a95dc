//! What readers see of a backend's health.

use vmcp_core::health::Observed;
use vmcp_core::time::Tick;

use crate::discovery::desired::Blocked;

/// A backend that is not checked because there is nothing to check.
pub(super) fn blocked(blocked: &Blocked, since: Tick) -> Observed {
    let view = Observed::unchecked(blocked.reason, blocked.message.clone(), since);
    Observed {
        state: blocked.state,
        ..view
    }
}

/// What a reader of the snapshot would see; the times of good checks are read from the meter.
pub(super) fn visible(observed: &Observed) -> Observed {
    let last_checked = observed.last_checked.map(|_| Tick::default());
    Observed {
        last_success: None,
        last_checked,
        ..observed.clone()
    }
}
