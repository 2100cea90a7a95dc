//! Step 3: the objects of a gateway, one function each. Pure and deterministic.

mod budget;
mod deployment;
mod role_binding;
mod service;
mod service_account;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;

use super::validate::ValidatedGateway;

/// Everything that a VirtualMCPServer owns; `None` is what must not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    pub service_account: ServiceAccount,
    pub role_binding: RoleBinding,
    pub service: Service,
    pub deployment: Deployment,
    pub budget: Option<PodDisruptionBudget>,
}

/// The Deployment, with the session keys that the gateway has by now.
#[must_use]
pub fn deployment(gateway: &ValidatedGateway) -> Deployment {
    deployment::deployment(gateway)
}

#[must_use]
pub fn objects(gateway: &ValidatedGateway) -> Objects {
    Objects {
        service_account: service_account::service_account(gateway),
        role_binding: role_binding::role_binding(gateway),
        service: service::service(gateway),
        deployment: deployment::deployment(gateway),
        budget: budget::budget(gateway),
    }
}
