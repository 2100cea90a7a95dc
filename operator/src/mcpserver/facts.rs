//! What a visit found out, in the terms of the truth table. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use vmcp_crds::MCPServer;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;

use super::validate::ValidatedServer;
use crate::ensured::Hindrance;
use crate::pods::{self, StartProblem};

/// What a visit reads.
#[derive(Debug)]
pub struct Seen {
    pub server: Arc<MCPServer>,
    pub deployment: Option<Arc<Deployment>>,
    pub pods: Vec<Arc<Pod>>,
    /// What each gateway with a fresh Lease says of this very server.
    pub reports: Vec<DiscoveredBackend>,
}

/// Everything that the status follows from.
#[derive(Debug)]
pub struct Facts<'a> {
    pub server: &'a ValidatedServer,
    /// `None` for a Service or a remote.
    pub workload: Option<WorkloadFacts>,
    /// Of gateways with a fresh Lease, oldest transition first.
    pub reports: &'a [DiscoveredBackend],
    pub hindrance: Option<&'a Hindrance>,
}

/// What the Deployment and its pods say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadFacts {
    pub replicas: i32,
    pub ready_replicas: i32,
    pub availability: Availability,
    pub start_problem: Option<StartProblem>,
    pub restarts: i32,
}

/// Whether enough pods serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    Available,
    /// Not yet.
    #[default]
    Starting,
    /// The API server does not let pods be created; with its words.
    NoPods(String),
}

/// Joins what was read with what the writes came to.
#[must_use]
pub fn gather<'a>(
    server: &'a ValidatedServer,
    seen: &'a Seen,
    hindrance: Option<&'a Hindrance>,
) -> Facts<'a> {
    let workload = server.workload.as_ref().map(|_| {
        let pods = || seen.pods.iter().map(AsRef::as_ref);
        let deployment = seen.deployment.as_deref();
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        WorkloadFacts {
            replicas: status.and_then(|s| s.replicas).unwrap_or_default(),
            ready_replicas: status.and_then(|s| s.ready_replicas).unwrap_or_default(),
            availability: deployment.map_or(Availability::Starting, availability),
            start_problem: pods::start_problem(pods()),
            restarts: pods::restarts(pods()),
        }
    });
    Facts {
        server,
        workload,
        reports: &seen.reports,
        hindrance,
    }
}

fn availability(deployment: &Deployment) -> Availability {
    let status = deployment.status.clone().unwrap_or_default();
    let condition = |type_: &str| {
        let conditions = status.conditions.iter().flatten();
        let mut found = conditions.filter(|c| c.type_ == type_ && c.status == "True");
        found.next()
    };
    if status.observed_generation < deployment.metadata.generation {
        return Availability::Starting;
    }
    if condition("Available").is_some() {
        return Availability::Available;
    }
    match condition("ReplicaFailure") {
        // Some of the pods are refused, the others run.
        _ if status.ready_replicas > Some(0) => Availability::Starting,
        Some(failure) => Availability::NoPods(failure.message.clone().unwrap_or_default()),
        None => Availability::Starting,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::{Availability, availability};

    fn with(ready: i32, conditions: &[&str]) -> Deployment {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|type_| json!({"type": type_, "status": "True", "message": "quota"}))
            .collect();
        serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"generation": 2},
            "status": {"observedGeneration": 2, "readyReplicas": ready,
                "conditions": conditions}}))
        .unwrap()
    }

    /// API, truth table: no pod may be created only where no pod is.
    #[test]
    fn a_refused_pod_beside_others_that_serve_is_no_lack_of_pods() {
        let refused = Availability::NoPods("quota".to_owned());

        let of = |ready, conditions: &[&str]| availability(&with(ready, conditions));
        assert_eq!(
            of(2, &["ReplicaFailure", "Available"]),
            Availability::Available
        );
        assert_eq!(of(1, &["ReplicaFailure"]), Availability::Starting);
        assert_eq!(of(0, &["ReplicaFailure"]), refused);
        assert_eq!(of(0, &[]), Availability::Starting);
    }
}
