//! What a visit found out, in the terms of the truth table. Pure.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use vmcp_crds::labels::FIELD_MANAGER_OPERATOR;
use vmcp_crds::{MCPServer, VirtualMCPServer};

use super::validate::ValidatedGateway;
use crate::ensured::Hindrance;
use crate::lease::Freshness;
use crate::pods::{self, StartProblem};

/// What a visit reads.
#[derive(Debug)]
pub struct Seen {
    pub gateway: Arc<VirtualMCPServer>,
    pub servers: Vec<Arc<MCPServer>>,
    pub deployment: Option<Arc<Deployment>>,
    pub pods: Vec<Arc<Pod>>,
    pub freshness: Freshness,
    /// When a gateway last renewed the Lease, by the server's clock.
    pub renewed: Option<Timestamp>,
    pub now: Instant,
}

/// Who serves, and who will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// A gateway holds the Lease: it alone writes what is served.
    Gateway,
    /// None has held it since the object or its last roll began.
    RollingOut,
    /// One held it and does not any longer.
    Away,
}

/// Everything that the status follows from.
#[derive(Debug)]
pub struct Facts<'a> {
    pub gateway: &'a ValidatedGateway,
    pub serving: Serving,
    pub replicas: i32,
    pub start_problem: Option<StartProblem>,
    pub hindrance: Option<&'a Hindrance>,
    /// When the Lease will be stale unless it moves.
    pub stale_at: Option<Instant>,
}

impl Facts<'_> {
    /// A hindrance that somebody must remove.
    #[must_use]
    pub fn lasting_hindrance(&self) -> Option<&Hindrance> {
        self.hindrance.filter(|hindrance| hindrance.is_lasting())
    }
}

/// Joins what was read with what the writes came to.
#[must_use]
pub fn gather<'a>(
    gateway: &'a ValidatedGateway,
    seen: &Seen,
    hindrance: Option<&'a Hindrance>,
) -> Facts<'a> {
    let deployment = seen.deployment.as_deref();
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let stale_at = match seen.freshness {
        Freshness::Fresh { until } => Some(until),
        Freshness::Absent | Freshness::Stale => None,
    };
    Facts {
        gateway,
        serving: serving(seen, deployment),
        replicas: status.and_then(|s| s.replicas).unwrap_or_default(),
        start_problem: pods::start_problem(seen.pods.iter().map(AsRef::as_ref)),
        hindrance,
        stale_at,
    }
}

fn serving(seen: &Seen, deployment: Option<&Deployment>) -> Serving {
    if seen.freshness.is_fresh() {
        return Serving::Gateway;
    }
    let began = deployment.and_then(roll_began);
    match (seen.renewed, began) {
        // Whole seconds: a renewal in the very second of our write was the old gateway's.
        (Some(renewed), Some(began)) if renewed > began => Serving::Away,
        // The Deployment itself is gone: so is whoever it ran.
        (Some(_), None) => Serving::Away,
        _ => Serving::RollingOut,
    }
}

/// When we last changed the Deployment: the server notes the time beside what we own.
fn roll_began(deployment: &Deployment) -> Option<Timestamp> {
    let meta = &deployment.metadata;
    let own = meta.managed_fields.iter().flatten().filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER_OPERATOR) && entry.subresource.is_none()
    });
    let noted = own.filter_map(|entry| entry.time.as_ref());
    noted
        .chain(&meta.creation_timestamp)
        .map(|time| time.0)
        .max()
}
