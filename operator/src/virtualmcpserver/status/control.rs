//! Control facts: whether somebody is at work, whether somebody must be, whether a
//! gateway serves. Never both Reconciling and Stalled.

use vmcp_crds::condition::{ConditionStatus, GATEWAY_AVAILABLE, READY, RECONCILING, STALLED, find};
use vmcp_crds::phase::VirtualPhase;
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::VirtualMCPServerStatus;

use super::Says;
use super::served::why_no_gateway;
use crate::virtualmcpserver::facts::{Facts, Serving};

pub(super) fn conditions(facts: &Facts<'_>, live: &VirtualMCPServerStatus) -> Vec<Says> {
    let stalled = stalled(facts);
    let reconciling = match stalled {
        Some(_) => None,
        None => reconciling(facts, live),
    };
    let or_not = |type_, said: Option<(Reason, String)>| match said {
        Some((reason, message)) => Says(type_, ConditionStatus::True, reason, message),
        None => Says(
            type_,
            ConditionStatus::False,
            Reason::Reconciled,
            String::new(),
        ),
    };
    vec![
        or_not(RECONCILING, reconciling),
        or_not(STALLED, stalled),
        gateway_available(facts),
    ]
}

fn stalled(facts: &Facts<'_>) -> Option<(Reason, String)> {
    if let Some(hindrance) = facts.lasting_hindrance() {
        return Some((hindrance.reason, hindrance.message.clone()));
    }
    let problem = facts.gateway.nonsense()?;
    Some((problem.reason, problem.message.clone()))
}

fn reconciling(facts: &Facts<'_>, live: &VirtualMCPServerStatus) -> Option<(Reason, String)> {
    if let Some(hindrance) = facts.hindrance {
        return Some((hindrance.reason, hindrance.message.clone()));
    }
    match facts.serving {
        Serving::RollingOut => Some((Reason::RollingOut, why_no_gateway(facts))),
        Serving::Away => None,
        Serving::Gateway => first_round(facts, live),
    }
}

/// A gateway is there, and has not yet said what this generation comes to.
fn first_round(facts: &Facts<'_>, live: &VirtualMCPServerStatus) -> Option<(Reason, String)> {
    let phase = live.phase.unwrap_or_default();
    let generation = facts.gateway.generation;
    let spoken_of = find(&live.conditions, READY)
        .and_then(|ready| ready.observed_generation)
        .unwrap_or(generation);
    if phase == VirtualPhase::Pending || spoken_of < generation {
        let message = "waiting for the gateway's first round of health checks".to_owned();
        return Some((Reason::Pending, message));
    }
    None
}

fn gateway_available(facts: &Facts<'_>) -> Says {
    let (status, reason, message) = match facts.serving {
        Serving::Gateway => (
            ConditionStatus::True,
            Reason::GatewayAvailable,
            String::new(),
        ),
        Serving::RollingOut => (
            ConditionStatus::False,
            Reason::RollingOut,
            why_no_gateway(facts),
        ),
        Serving::Away => (
            ConditionStatus::False,
            Reason::GatewayUnavailable,
            why_no_gateway(facts),
        ),
    };
    Says(GATEWAY_AVAILABLE, status, reason, message)
}
