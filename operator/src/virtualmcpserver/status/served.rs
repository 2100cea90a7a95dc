//! Served facts while no gateway serves: what the spec comes to, and that nobody checks
//! it. What a gateway last learnt of a server (tools, version) stays beside it, owned by
//! the gateway.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vmcp_crds::condition::{
    BACKENDS_DISCOVERED, BACKENDS_READY, CONFLICTS_RESOLVED, ConditionStatus, MAX_MESSAGE, READY,
    clip,
};
use vmcp_crds::discover::Backend;
use vmcp_crds::phase::{BackendState, VirtualPhase};
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::{DiscoveredBackend, VirtualMCPServerStatus};

use super::Says;
use crate::virtualmcpserver::facts::{Facts, Serving};

/// What the whole is in.
struct Situation {
    phase: VirtualPhase,
    ready: ConditionStatus,
    reason: Reason,
    message: String,
}

pub(super) fn served(
    facts: &Facts<'_>,
    live: &VirtualMCPServerStatus,
    now: &Time,
) -> VirtualMCPServerStatus {
    let situation = situation(facts);
    let backends = entries(facts, live, now);
    let count = i32::try_from(backends.len()).unwrap_or(i32::MAX);
    let unknown = |type_| {
        Says(
            type_,
            ConditionStatus::Unknown,
            situation.reason,
            String::new(),
        )
    };
    let said = vec![
        Says(
            READY,
            situation.ready,
            situation.reason,
            situation.message.clone(),
        ),
        unknown(BACKENDS_READY),
        discovered(facts, count),
        unknown(CONFLICTS_RESOLVED),
    ];
    VirtualMCPServerStatus {
        phase: Some(situation.phase),
        message: Some(clip(&situation.message, MAX_MESSAGE)),
        conditions: super::conditions(facts, live, said, now),
        backends: Some(format!("0/{count}")),
        backend_count: Some(count),
        ready_backend_count: Some(0),
        tool_count: Some(live.tool_count.filter(|_| count > 0).unwrap_or_default()),
        discovered_backends: backends,
        ..VirtualMCPServerStatus::default()
    }
}

fn situation(facts: &Facts<'_>) -> Situation {
    let failed = |reason, message| Situation {
        phase: VirtualPhase::Failed,
        ready: ConditionStatus::False,
        reason,
        message,
    };
    if let Some(hindrance) = facts.lasting_hindrance() {
        return failed(hindrance.reason, hindrance.message.clone());
    }
    if let Some(problem) = facts.gateway.nonsense() {
        return failed(problem.reason, problem.message.clone());
    }
    match facts.serving {
        Serving::Away => failed(Reason::GatewayUnavailable, why_no_gateway(facts)),
        Serving::RollingOut | Serving::Gateway => Situation {
            phase: VirtualPhase::Pending,
            ready: ConditionStatus::Unknown,
            reason: Reason::RollingOut,
            message: why_no_gateway(facts),
        },
    }
}

/// Why nobody serves, as far as we can tell.
pub(super) fn why_no_gateway(facts: &Facts<'_>) -> String {
    if facts.gateway.spec.replicas == 0 {
        return "no gateway runs, because spec.replicas is 0; set 1 or more".to_owned();
    }
    let what = match facts.serving {
        Serving::Away => "no gateway is running",
        Serving::RollingOut | Serving::Gateway => "waiting for the gateway to start",
    };
    match (facts.hindrance, &facts.start_problem) {
        (Some(hindrance), _) => format!("{what}: {}", hindrance.message),
        (None, Some(problem)) => format!("{what}: {}", problem.message),
        (None, None) => what.to_owned(),
    }
}

fn discovered(facts: &Facts<'_>, count: i32) -> Says {
    let problems = &facts.gateway.discovery.problems;
    let says = |status, reason, message| Says(BACKENDS_DISCOVERED, status, reason, message);
    if let Some(first) = problems.first() {
        let texts: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        return says(ConditionStatus::False, first.reason, texts.join("; "));
    }
    if count == 0 {
        let message = "spec.backends matches no MCPServer".to_owned();
        // Who asks for none may have none; anybody else mistyped a selector.
        let status = match facts.gateway.spec.min_ready_backends {
            0 => ConditionStatus::True,
            _ => ConditionStatus::False,
        };
        return says(status, Reason::NoBackends, message);
    }
    says(
        ConditionStatus::True,
        Reason::BackendsDiscovered,
        String::new(),
    )
}

fn entries(facts: &Facts<'_>, live: &VirtualMCPServerStatus, now: &Time) -> Vec<DiscoveredBackend> {
    let backends = &facts.gateway.discovery.backends;
    let mut entries: Vec<DiscoveredBackend> = backends
        .iter()
        .map(|backend| entry(facts, backend, live, now))
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn entry(
    facts: &Facts<'_>,
    backend: &Backend,
    live: &VirtualMCPServerStatus,
    now: &Time,
) -> DiscoveredBackend {
    let uid = Some(backend.uid.clone()).filter(|uid| !uid.is_empty());
    let before = live
        .discovered_backends
        .iter()
        .find(|entry| entry.name == backend.name && entry.uid == uid);
    let (state, reason, message) = unchecked(facts, backend);
    let since = before
        .filter(|entry| entry.state == state)
        .and_then(|entry| entry.last_transition_time.clone());
    DiscoveredBackend {
        name: backend.name.clone(),
        url: backend.url.as_ref().ok().map(ToString::to_string),
        transport: uid.as_ref().map(|_| backend.transport),
        uid,
        state,
        reason: Some(reason.as_str().to_owned()),
        message: Some(clip(&message, MAX_MESSAGE)),
        last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
        ..DiscoveredBackend::default()
    }
}

/// What is known of a backend that nobody checks.
fn unchecked(facts: &Facts<'_>, backend: &Backend) -> (BackendState, Reason, String) {
    if let Err(problem) = &backend.url {
        let state = match problem.reason {
            Reason::BackendNotFound => BackendState::Pending,
            _ => BackendState::Unhealthy,
        };
        return (state, problem.reason, problem.message.clone());
    }
    match (backend.blocked(), facts.serving) {
        (Some(reason), _) => (BackendState::Pending, reason, "is stopped".to_owned()),
        (None, Serving::Away) => (
            BackendState::Pending,
            Reason::GatewayUnavailable,
            "nobody checks it: no gateway is running".to_owned(),
        ),
        (None, _) => (
            BackendState::Pending,
            Reason::Pending,
            "waiting for the first health check".to_owned(),
        ),
    }
}
