//! The budget of a gateway with several replicas: one pod at a time may be evicted, and a
//! broken one always. With one replica it would only block the drain of its node.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::virtualmcpserver::validate::ValidatedGateway;

#[must_use]
pub fn budget(gateway: &ValidatedGateway) -> Option<PodDisruptionBudget> {
    if gateway.spec.replicas < 2 {
        return None;
    }
    Some(PodDisruptionBudget {
        metadata: gateway.owner.child_meta(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(gateway.owner.selector()),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
