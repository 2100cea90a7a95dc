//! The truth table of an MCPServer: a list of named pure checks, the first that applies
//! decides. Each row of the table in the API document is one of them.

use vmcp_crds::condition::{ConditionStatus, clip};
use vmcp_crds::phase::{BackendState, McpServerPhase};
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;

use super::facts::{Availability, Facts};
use crate::ensured::Hindrance;

/// Longest text of the API server that is repeated, in characters.
const MAX_TEXT: usize = 512;

/// What one row of the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub phase: McpServerPhase,
    /// `None`: the condition is absent.
    pub ready: Option<(ConditionStatus, Reason)>,
    /// Empty when nothing is wrong.
    pub message: String,
    pub progress: Progress,
}

/// Whether somebody is at work, or must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    Reconciling(Reason),
    Stalled(Reason),
}

type Check = fn(&Facts<'_>) -> Option<Verdict>;

/// In order of precedence.
const CHECKS: &[Check] = &[
    hindered,
    without_url,
    stopped,
    cannot_start,
    observed,
    unobserved_workload,
];

pub(super) fn verdict(facts: &Facts<'_>) -> Verdict {
    let said = CHECKS
        .iter()
        .find_map(|check| check(facts))
        .unwrap_or_else(unobserved);
    match facts.hindrance {
        Some(hindrance) if serves_on(facts, hindrance) => held_up(said, hindrance),
        _ => said,
    }
}

/// Whether an earlier state serves although what we want now is held up. A stranger's
/// object with our name may answer in our place: that is no service of ours.
fn serves_on(facts: &Facts<'_>, hindrance: &Hindrance) -> bool {
    let ready = facts.workload.as_ref().map_or(0, |w| w.ready_replicas);
    let used = |report| is_judged(report) && !fails(report);
    hindrance.reason != Reason::NameConflict
        && !facts.server.is_stopped()
        && (ready > 0 || facts.reports.iter().any(used))
}

/// What serves is told as it is; that nothing moves is told beside it.
fn held_up(said: Verdict, hindrance: &Hindrance) -> Verdict {
    let reason = hindrance.reason;
    let message = match said.message.as_str() {
        "" => hindrance.message.clone(),
        message => format!("{}; {message}", hindrance.message),
    };
    Verdict {
        message,
        progress: if hindrance.is_lasting() {
            Progress::Stalled(reason)
        } else {
            Progress::Reconciling(reason)
        },
        ..said
    }
}

fn hindered(facts: &Facts<'_>) -> Option<Verdict> {
    let hindrance = facts.hindrance.filter(|h| !serves_on(facts, h))?;
    let message = hindrance.message.clone();
    let reason = hindrance.reason;
    Some(if hindrance.is_lasting() {
        stalled(reason, message)
    } else {
        Verdict {
            phase: McpServerPhase::Pending,
            ready: Some((ConditionStatus::Unknown, reason)),
            message,
            progress: Progress::Reconciling(reason),
        }
    })
}

fn without_url(facts: &Facts<'_>) -> Option<Verdict> {
    let problem = facts.server.url.as_ref().err()?;
    Some(stalled(problem.reason, problem.message.clone()))
}

fn stalled(reason: Reason, message: String) -> Verdict {
    Verdict {
        phase: McpServerPhase::Unhealthy,
        ready: Some((ConditionStatus::False, reason)),
        message,
        progress: Progress::Stalled(reason),
    }
}

fn stopped(facts: &Facts<'_>) -> Option<Verdict> {
    facts.server.is_stopped().then(|| Verdict {
        phase: McpServerPhase::Stopped,
        ready: Some((ConditionStatus::True, Reason::Stopped)),
        message: String::new(),
        progress: Progress::Done,
    })
}

/// As long as one pod serves, the observers judge.
fn cannot_start(facts: &Facts<'_>) -> Option<Verdict> {
    let workload = facts.workload.as_ref()?;
    if workload.ready_replicas > 0 {
        return None;
    }
    let (reason, message) = match (&workload.start_problem, &workload.availability) {
        (Some(problem), _) => (problem.reason, problem.message.clone()),
        (None, Availability::NoPods(why)) => (
            Reason::AdmissionDenied,
            format!("no pod may be created: {}", clip(why, MAX_TEXT)),
        ),
        _ => return None,
    };
    Some(Verdict {
        phase: McpServerPhase::Unhealthy,
        ready: Some((ConditionStatus::False, reason)),
        message,
        progress: Progress::Done,
    })
}

fn observed(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.reports.is_empty() {
        return None;
    }
    let judged: Vec<&DiscoveredBackend> = facts.reports.iter().filter(|r| is_judged(r)).collect();
    let failing: Vec<&DiscoveredBackend> = judged.iter().copied().filter(|r| fails(r)).collect();
    // Oldest first: the last one is the newest.
    let newest = failing.last().copied();
    Some(match newest {
        None if judged.is_empty() => pending(),
        None => all_ready(&judged),
        Some(newest) if failing.len() == judged.len() => all_fail(&failing, newest),
        Some(newest) => disagree(failing.len(), judged.len(), newest),
    })
}

pub(super) fn is_judged(report: &DiscoveredBackend) -> bool {
    report.state != BackendState::Pending
}

pub(super) fn fails(report: &DiscoveredBackend) -> bool {
    matches!(
        report.state,
        BackendState::Unhealthy | BackendState::AuthRequired
    )
}

pub(super) fn reason_of(report: &DiscoveredBackend) -> Reason {
    let written = report.reason.as_deref().and_then(|text| text.parse().ok());
    written.unwrap_or(match report.state {
        BackendState::AuthRequired => Reason::AuthRequired,
        _ => Reason::Unknown,
    })
}

fn message_of(report: &DiscoveredBackend) -> String {
    report.message.clone().unwrap_or_default()
}

fn pending() -> Verdict {
    Verdict {
        phase: McpServerPhase::Pending,
        ready: Some((ConditionStatus::Unknown, Reason::Pending)),
        message: "waiting for the first health check".to_owned(),
        progress: Progress::Reconciling(Reason::Pending),
    }
}

fn all_ready(judged: &[&DiscoveredBackend]) -> Verdict {
    let slow = judged.iter().find(|r| r.state == BackendState::Degraded);
    let (phase, reason) = match slow {
        Some(_) => (McpServerPhase::Degraded, Reason::Degraded),
        None => (McpServerPhase::Ready, Reason::AllObserversReady),
    };
    Verdict {
        phase,
        ready: Some((ConditionStatus::True, reason)),
        message: slow.map(|report| message_of(report)).unwrap_or_default(),
        progress: Progress::Done,
    }
}

fn all_fail(failing: &[&DiscoveredBackend], newest: &DiscoveredBackend) -> Verdict {
    let only_credentials = failing
        .iter()
        .all(|report| report.state == BackendState::AuthRequired);
    Verdict {
        phase: if only_credentials {
            McpServerPhase::AuthRequired
        } else {
            McpServerPhase::Unhealthy
        },
        ready: Some((ConditionStatus::False, reason_of(newest))),
        message: message_of(newest),
        progress: Progress::Done,
    }
}

fn disagree(failing: usize, judged: usize, newest: &DiscoveredBackend) -> Verdict {
    Verdict {
        phase: McpServerPhase::Degraded,
        ready: Some((ConditionStatus::True, Reason::ObserversDisagree)),
        message: format!(
            "{failing} of {judged} gateways cannot use it: {}",
            message_of(newest)
        ),
        progress: Progress::Done,
    }
}

fn unobserved_workload(facts: &Facts<'_>) -> Option<Verdict> {
    let workload = facts.workload.as_ref()?;
    let available = workload.availability == Availability::Available;
    Some(if available {
        Verdict {
            phase: McpServerPhase::Ready,
            ready: Some((ConditionStatus::True, Reason::WorkloadAvailable)),
            message: format!("runs; {NOT_SELECTED}"),
            progress: Progress::Done,
        }
    } else {
        Verdict {
            phase: McpServerPhase::Pending,
            ready: Some((ConditionStatus::False, Reason::WorkloadUnavailable)),
            message: "waiting for the first pod to be ready".to_owned(),
            progress: Progress::Reconciling(Reason::RollingOut),
        }
    })
}

/// No Ready: a gateway may well come after it, and whoever waits for the server first
/// would wait for ever.
fn unobserved() -> Verdict {
    Verdict {
        phase: McpServerPhase::Pending,
        ready: None,
        message: NOT_SELECTED.to_owned(),
        progress: Progress::Done,
    }
}

/// What a server that nobody looks at says.
const NOT_SELECTED: &str = "no running VirtualMCPServer selects it, so its health is not checked";
