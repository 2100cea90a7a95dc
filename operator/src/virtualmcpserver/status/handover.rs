//! The hand-back of the served facts to a gateway: when it is done, and what stays in our
//! group until then.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vmcp_crds::condition::VIRTUAL_SERVED_TYPES;
use vmcp_crds::labels::{FIELD_MANAGER_OPERATOR, FIELD_MANAGER_STATUS};
use vmcp_crds::virtualmcpserver::VirtualMCPServerStatus;

use crate::fields::{applied_by, owns};

const STATUS: &str = "status";

/// Whether nothing that is served depends on our apply any longer.
///
/// A condition counts as the gateway's by its `reason`: our take-over changes that field
/// in `Ready` and in `BackendsReady`, so a gateway owns it again only once it has written.
pub(super) fn is_done(meta: &ObjectMeta) -> bool {
    let Some(ours) = applied_by(meta, FIELD_MANAGER_OPERATOR, STATUS) else {
        return true;
    };
    if !owns(ours, &["f:status", "f:phase"]) && !owns_ready(ours) {
        return true;
    }
    let Some(gateways) = applied_by(meta, FIELD_MANAGER_STATUS, STATUS) else {
        return false;
    };
    let conditions = VIRTUAL_SERVED_TYPES.iter().all(|type_| {
        let key = format!("k:{{\"type\":\"{type_}\"}}");
        owns(gateways, &["f:status", "f:conditions", &key, "f:reason"])
    });
    conditions && owns(gateways, &["f:status", "f:phase"])
}

fn owns_ready(entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry) -> bool {
    let key = "k:{\"type\":\"Ready\"}";
    owns(entry, &["f:status", "f:conditions", key])
}

/// The served facts as they stand there.
pub(super) fn kept(live: &VirtualMCPServerStatus) -> VirtualMCPServerStatus {
    let mut kept = live.clone();
    kept.observed_generation = None;
    kept.url = None;
    kept.replicas = None;
    kept.selector = None;
    kept.conditions
        .retain(|condition| VIRTUAL_SERVED_TYPES.contains(&condition.type_.as_str()));
    kept
}
