//! The parts that the pods of both kinds share: restricted security, the settings of
//! `podTemplate`, metadata. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ContainerPort, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vmcp_crds::labels::RESTARTED_AT;
use vmcp_crds::pod::PodTemplate;

use crate::owner::Owner;

/// Name of the port that speaks MCP.
pub const MCP_PORT: &str = "mcp";
/// Protocol of every port; written out, because the server would fill it in.
pub const TCP: &str = "TCP";

/// `None` for nothing, so that an absent field stays absent.
#[must_use]
pub fn some_list<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// `None` for nothing, so that an absent field stays absent.
#[must_use]
pub fn some_map<V>(map: BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    Some(map).filter(|map| !map.is_empty())
}

/// A pod with our labels over the author's, and the author's other settings.
#[must_use]
pub fn pod_template(
    owner: &Owner,
    restarted_at: Option<&str>,
    settings: Option<&PodTemplate>,
    spec: PodSpec,
) -> PodTemplateSpec {
    let settings = settings.cloned().unwrap_or_default();
    let mut labels = settings.labels;
    labels.extend(owner.labels());
    let mut annotations = settings.annotations;
    if let Some(time) = restarted_at {
        annotations.insert(RESTARTED_AT.to_owned(), time.to_owned());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: some_map(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            node_selector: some_map(settings.node_selector),
            tolerations: some_list(settings.tolerations),
            affinity: settings.affinity,
            topology_spread_constraints: some_list(settings.topology_spread_constraints),
            priority_class_name: settings.priority_class_name,
            // No variables of every Service of the namespace in a stranger's process.
            enable_service_links: Some(false),
            service_account_name: Some(owner.child_name()),
            ..spec
        }),
    }
}

/// No way to more rights than the pod starts with.
#[must_use]
pub fn restricted(read_only: Option<bool>) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: read_only,
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

#[must_use]
pub fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        ..SeccompProfile::default()
    }
}

#[must_use]
pub fn tcp_port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some(TCP.to_owned()),
        ..ContainerPort::default()
    }
}
