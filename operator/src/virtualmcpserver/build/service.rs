//! The Service in front of the gateway's pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pod_spec::{MCP_PORT, TCP, some_map};
use crate::virtualmcpserver::validate::ValidatedGateway;

/// No affinity: whichever replica gets a request passes it on to the one that keeps its
/// session (architecture, decision 8).
#[must_use]
pub fn service(gateway: &ValidatedGateway) -> Service {
    let wanted = &gateway.spec.service;
    let mut metadata = gateway.owner.child_meta();
    metadata.annotations = some_map(wanted.annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(wanted.type_.as_str().to_owned()),
            selector: Some(gateway.owner.selector()),
            session_affinity: Some("None".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(MCP_PORT.to_owned()),
                port: wanted.port,
                protocol: Some(TCP.to_owned()),
                target_port: Some(IntOrString::String(MCP_PORT.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
