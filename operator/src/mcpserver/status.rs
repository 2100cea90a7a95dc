//! Step 5: facts to status. Pure; the truth table is `verdict`, the conditions beside
//! Ready follow from the same facts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vmcp_crds::condition::{
    AUTHENTICATED, ConditionDraft, ConditionStatus, MAX_MESSAGE, MCP_SERVER_TYPES, REACHABLE,
    READY, RECONCILING, REFERENCES_RESOLVED, STALLED, WORKLOAD_AVAILABLE, clip, set_all,
};
use vmcp_crds::mcpserver::MCPServerStatus;
use vmcp_crds::phase::BackendState;
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;

use super::facts::{Availability, Facts};
use super::verdict::{Progress, Verdict, fails, is_judged, reason_of, verdict};

/// What one condition says.
struct Says(ConditionStatus, Reason, String);

/// The whole status; `old` gives the times of conditions that stay as they are.
#[must_use]
pub fn status(facts: &Facts<'_>, old: Option<&MCPServerStatus>, now: Time) -> MCPServerStatus {
    let verdict = verdict(facts);
    let newest = facts.reports.iter().rev();
    let known = |report: &&DiscoveredBackend| report.protocol_version.is_some();
    let informed = newest.clone().find(known).or_else(|| newest.clone().next());
    let workload = facts.workload.as_ref();
    MCPServerStatus {
        observed_generation: Some(facts.server.generation),
        phase: Some(verdict.phase),
        conditions: conditions(facts, &verdict, old, now),
        url: facts.server.url.as_ref().ok().cloned(),
        replicas: workload.map(|workload| workload.replicas),
        ready_replicas: workload.map(|workload| workload.ready_replicas),
        selector: workload.map(|_| facts.server.owner.selector_text()),
        restarts: workload.map(|workload| workload.restarts),
        message: Some(clip(&verdict.message, MAX_MESSAGE)).filter(|text| !text.is_empty()),
        consecutive_failures: largest(facts.reports, |report| report.consecutive_failures),
        tools: informed.and_then(|report| report.tools),
        protocol_version: informed.and_then(|report| report.protocol_version.clone()),
        server_info: informed.and_then(|report| report.server_info.clone()),
        observers: Some(i32::try_from(facts.reports.len()).unwrap_or(i32::MAX)),
        // Attempts to start come with the images that make them.
        ..MCPServerStatus::default()
    }
}

fn largest(
    reports: &[DiscoveredBackend],
    field: fn(&DiscoveredBackend) -> Option<i32>,
) -> Option<i32> {
    let known = reports.iter().map(|report| field(report).unwrap_or(0));
    known.max()
}

fn conditions(
    facts: &Facts<'_>,
    verdict: &Verdict,
    old: Option<&MCPServerStatus>,
    now: Time,
) -> Vec<Condition> {
    let (reconciling, stalled) = progress(verdict);
    let mut said = vec![
        (RECONCILING, reconciling),
        (STALLED, stalled),
        (WORKLOAD_AVAILABLE, workload_available(facts)),
        (REFERENCES_RESOLVED, references_resolved(facts)),
        (REACHABLE, reachable(facts)),
        (AUTHENTICATED, authenticated(facts)),
    ];
    if let Some((status, reason)) = verdict.ready {
        said.push((READY, Says(status, reason, verdict.message.clone())));
    }
    let spoken: Vec<&str> = said.iter().map(|(type_, _)| *type_).collect();
    let before: Vec<Condition> = old
        .map(|old| old.conditions.clone())
        .unwrap_or_default()
        .into_iter()
        .filter(|condition| MCP_SERVER_TYPES.contains(&condition.type_.as_str()))
        .filter(|condition| spoken.contains(&condition.type_.as_str()))
        .collect();
    let drafts = said
        .into_iter()
        .map(|(type_, Says(status, reason, message))| ConditionDraft {
            type_,
            status,
            reason,
            message,
            observed_generation: facts.server.generation,
        });
    set_all(&before, drafts, &now)
}

fn progress(verdict: &Verdict) -> (Says, Says) {
    let no = || Says(ConditionStatus::False, Reason::Reconciled, String::new());
    let yes = |reason| Says(ConditionStatus::True, reason, verdict.message.clone());
    match verdict.progress {
        Progress::Done => (no(), no()),
        Progress::Reconciling(reason) => (yes(reason), no()),
        Progress::Stalled(reason) => (no(), yes(reason)),
    }
}

fn workload_available(facts: &Facts<'_>) -> Says {
    let Some(workload) = &facts.workload else {
        return not_applicable("runs outside of our hands");
    };
    if facts.server.is_stopped() {
        let message = "spec.workload.replicas is 0".to_owned();
        return Says(ConditionStatus::False, Reason::Stopped, message);
    }
    if let Some(problem) = &workload.start_problem
        && workload.ready_replicas == 0
    {
        return Says(
            ConditionStatus::False,
            problem.reason,
            problem.message.clone(),
        );
    }
    let ready = format!("{} pods are ready", workload.ready_replicas);
    match &workload.availability {
        Availability::Available => Says(ConditionStatus::True, Reason::WorkloadAvailable, ready),
        Availability::Starting => Says(ConditionStatus::False, Reason::WorkloadUnavailable, ready),
        Availability::NoPods(why) => {
            Says(ConditionStatus::False, Reason::AdmissionDenied, why.clone())
        }
    }
}

/// The kubelet resolves them: what it cannot, keeps the container from being created.
fn references_resolved(facts: &Facts<'_>) -> Says {
    let Some(workload) = &facts.workload else {
        return not_applicable("refers to no Secret and no ConfigMap");
    };
    match &workload.start_problem {
        Some(problem) if problem.reason == Reason::ContainerCannotStart => Says(
            ConditionStatus::False,
            problem.reason,
            problem.message.clone(),
        ),
        _ => Says(
            ConditionStatus::True,
            Reason::ReferencesResolved,
            String::new(),
        ),
    }
}

fn reachable(facts: &Facts<'_>) -> Says {
    let unreachable = |r: &&DiscoveredBackend| r.state == BackendState::Unhealthy;
    match newest(facts, unreachable) {
        Newest::Unobserved => not_observed(),
        Newest::Unjudged => unjudged(),
        Newest::Found(report) => failed(report),
        Newest::NoneSuch => Says(ConditionStatus::True, Reason::Reachable, String::new()),
    }
}

fn authenticated(facts: &Facts<'_>) -> Says {
    let refused = |r: &&DiscoveredBackend| r.state == BackendState::AuthRequired;
    match newest(facts, refused) {
        Newest::Unobserved => not_observed(),
        Newest::Unjudged => unjudged(),
        Newest::Found(report) => failed(report),
        Newest::NoneSuch if facts.reports.iter().any(fails) => unjudged(),
        Newest::NoneSuch => Says(ConditionStatus::True, Reason::Authenticated, String::new()),
    }
}

enum Newest<'a> {
    Unobserved,
    Unjudged,
    NoneSuch,
    Found(&'a DiscoveredBackend),
}

fn newest<'a>(facts: &Facts<'a>, which: fn(&&DiscoveredBackend) -> bool) -> Newest<'a> {
    if facts.reports.is_empty() {
        return Newest::Unobserved;
    }
    if !facts.reports.iter().any(is_judged) {
        return Newest::Unjudged;
    }
    let found = facts.reports.iter().rev().find(which);
    found.map_or(Newest::NoneSuch, Newest::Found)
}

fn failed(report: &DiscoveredBackend) -> Says {
    let message = report.message.clone().unwrap_or_default();
    Says(ConditionStatus::False, reason_of(report), message)
}

fn unjudged() -> Says {
    Says(ConditionStatus::Unknown, Reason::Pending, String::new())
}

fn not_observed() -> Says {
    let message = "no running VirtualMCPServer selects it".to_owned();
    Says(ConditionStatus::Unknown, Reason::NotObserved, message)
}

fn not_applicable(why: &str) -> Says {
    Says(
        ConditionStatus::Unknown,
        Reason::NotApplicable,
        why.to_owned(),
    )
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
