//! The rights of a gateway in its namespace: the one role that we may bind.

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use crate::virtualmcpserver::validate::ValidatedGateway;

/// Name of the role that the chart installs.
pub const GATEWAY_ROLE: &str = "vmcp-gateway";

#[must_use]
pub fn role_binding(gateway: &ValidatedGateway) -> RoleBinding {
    RoleBinding {
        metadata: gateway.owner.child_meta(),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: gateway.settings.gateway_role.as_str().to_owned(),
            name: GATEWAY_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: gateway.owner.child_name(),
            namespace: Some(gateway.owner.namespace.clone()),
            ..Subject::default()
        }]),
    }
}
