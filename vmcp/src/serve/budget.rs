//! How long each step of a stop may take.
//!
//! Owns the times beside the drain, which is the user's. They add up to less than the operator adds
//! to `drainSeconds` for a pod's grace period: whoever kills at its end finds nobody.

use std::time::Duration;

use vmcp_core::limits::PEER_ASK;
use vmcp_crds::VirtualMCPServerSpec;

/// A load balancer needs this long to see that we are no longer ready. The Lease is released
/// meanwhile; else it expires by itself.
pub(super) const STILL_ACCEPT: Duration = Duration::from_secs(5);

/// After the drain, sessions that are in use still begin their way to another replica for so long.
pub(super) const HAND_REST: Duration = Duration::from_secs(2);

/// A batch that was begun before: it is offered twice where no answer comes.
const HAND_LAST: Duration = PEER_ASK.saturating_mul(2);

/// Ending sessions at backends is a courtesy: it gets this long.
pub(super) const CLOSE_BACKENDS: Duration = Duration::from_secs(3);

/// Calls that were stopped still write their answer.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Connections that are cut.
pub(super) const CUT: Duration = Duration::from_secs(1);

/// Other replicas are told that we go.
const FAREWELL: Duration = PEER_ASK;

/// They have asked and wait for an answer.
pub(super) const CLOSE_PEERS: Duration = Duration::from_secs(2);

/// The registry ends its checks.
pub(super) const CLOSE_REGISTRY: Duration = Duration::from_secs(1);

/// All of them: a batch may be under way at the end of the drain, and at the end of the rest.
const ALL: Duration = STILL_ACCEPT
    .saturating_add(HAND_LAST)
    .saturating_add(HAND_REST)
    .saturating_add(HAND_LAST)
    .saturating_add(CLOSE_BACKENDS)
    .saturating_add(LAST_ANSWERS)
    .saturating_add(CUT)
    .saturating_add(FAREWELL)
    .saturating_add(CLOSE_PEERS)
    .saturating_add(CLOSE_REGISTRY)
    .saturating_add(CLOSE_BACKENDS);

// T7: the pod's grace period outlasts the longest stop, so that what is behind the drain runs.
const _: () = assert!(ALL.as_secs() < VirtualMCPServerSpec::STOP_SECONDS.unsigned_abs() as u64);
