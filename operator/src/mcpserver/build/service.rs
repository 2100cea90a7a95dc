//! The Service in front of the pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::mcpserver::validate::ValidatedWorkload;
use crate::owner::Owner;
use crate::pod_spec::{MCP_PORT, TCP};

/// `ClientIP`: the sessions of a stateful server live in one pod. Gateways pin those of their clients
/// themselves (architecture, decision 8), but go by this Service for those of their checks.
#[must_use]
pub fn service(owner: &Owner, workload: &ValidatedWorkload) -> Service {
    Service {
        metadata: owner.child_meta(),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(owner.selector()),
            session_affinity: Some("ClientIP".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(MCP_PORT.to_owned()),
                port: workload.spec.port,
                protocol: Some(TCP.to_owned()),
                target_port: Some(IntOrString::String(MCP_PORT.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
