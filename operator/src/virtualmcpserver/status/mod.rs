//! Step 5: facts to the group of status fields that is ours to write now. Pure.
//!
//! Control facts always. Served facts while no gateway holds the Lease; after a hand-back
//! they stay in the group until the gateway is seen to own them, because leaving an owned
//! field out of an apply deletes it (architecture, decision 7).

mod control;
mod handover;
mod served;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::Value;
use vmcp_crds::VirtualMCPServer;
use vmcp_crds::condition::{ConditionDraft, ConditionStatus, set_all};
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::VirtualMCPServerStatus;

use super::facts::{Facts, Serving};

/// What one condition says.
struct Says(&'static str, ConditionStatus, Reason, String);

/// The whole group, as it is applied.
///
/// # Errors
/// A fault of this program: the status cannot be written as JSON.
pub fn group(
    facts: &Facts<'_>,
    gateway: &VirtualMCPServer,
    now: Time,
) -> Result<Value, serde_json::Error> {
    serde_json::to_value(fields(facts, gateway, &now))
}

fn fields(facts: &Facts<'_>, gateway: &VirtualMCPServer, now: &Time) -> VirtualMCPServerStatus {
    let live = gateway.status.clone().unwrap_or_default();
    let mut status = match facts.serving {
        Serving::Gateway if handover::is_done(&gateway.metadata) => {
            VirtualMCPServerStatus::default()
        }
        Serving::Gateway => handover::kept(&live),
        Serving::RollingOut | Serving::Away => served::served(facts, &live, now),
    };
    let control = control::conditions(facts, &live);
    status
        .conditions
        .extend(conditions(facts, &live, control, now));
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status.observed_generation = Some(facts.gateway.generation);
    status.url = Some(facts.gateway.url.clone());
    status.replicas = Some(facts.replicas);
    status.selector = Some(facts.gateway.owner.selector_text());
    status
}

/// The conditions that are said, with the times of those that stay as they are.
fn conditions(
    facts: &Facts<'_>,
    live: &VirtualMCPServerStatus,
    said: Vec<Says>,
    now: &Time,
) -> Vec<Condition> {
    let spoken: Vec<&str> = said.iter().map(|says| says.0).collect();
    let before: Vec<Condition> = live
        .conditions
        .iter()
        .filter(|condition| spoken.contains(&condition.type_.as_str()))
        .cloned()
        .collect();
    let drafts = said
        .into_iter()
        .map(|Says(type_, status, reason, message)| ConditionDraft {
            type_,
            status,
            reason,
            message,
            observed_generation: facts.gateway.generation,
        });
    set_all(&before, drafts, now)
}

#[cfg(test)]
#[path = "../status_tests.rs"]
mod tests;
