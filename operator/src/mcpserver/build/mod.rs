//! Step 3: the objects of a workload, one function each. Pure and deterministic. A
//! Service or a remote has none.

mod deployment;
mod service;
mod service_account;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};

use super::validate::ValidatedServer;

/// Everything that an MCPServer owns; `None` is what must not exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    pub service_account: Option<ServiceAccount>,
    pub service: Option<Service>,
    pub deployment: Option<Deployment>,
}

#[must_use]
pub fn objects(server: &ValidatedServer) -> Objects {
    let Some(workload) = &server.workload else {
        return Objects::default();
    };
    Objects {
        service_account: Some(service_account::service_account(&server.owner)),
        service: Some(service::service(&server.owner, workload)),
        deployment: Some(deployment::deployment(&server.owner, workload)),
    }
}
