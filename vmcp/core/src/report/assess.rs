//! The truth table of api.md, "Conditions and the truth table".

use std::fmt;

use serde::Serialize;

use super::{
    BackendFacts, Configuration, FirstRound, Report, ReportCondition, ReportedBackend, Situation,
};
use crate::health::{ProbeReason, State};
use crate::limits;
use crate::text::sanitise;

/// R2.5, word for word.
pub const MESSAGE_DEGRADED: &str = "Some backends are unhealthy";

/// Backends or names that a message lists; the rest is counted.
const NAMED: usize = 5;

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Phase {
    #[default]
    Pending,
    Ready,
    Degraded,
    Failed,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Ready, Self::Degraded, Self::Failed];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A row of the table.
struct Verdict {
    phase: Phase,
    message: String,
    backends_ready: (Truth, &'static str),
    ready: (Truth, &'static str),
}

/// Makes the report. Equal input gives an equal report.
#[must_use]
pub fn build(backends: &[BackendFacts<'_>], situation: &Situation<'_>) -> Report {
    let mut sorted: Vec<_> = backends.iter().collect();
    sorted.sort_by_key(|backend| backend.id);
    let ready = sorted
        .iter()
        .filter(|backend| backend.observed.state.serves())
        .count();
    let verdict = verdict(&sorted, ready, situation);
    let trouble = trouble(&sorted);
    let ready_message = match verdict.phase {
        Phase::Ready => String::new(),
        _ if trouble.is_empty() => verdict.message.clone(),
        _ => format!("{}: {trouble}", verdict.message),
    };
    let conditions = vec![
        condition("Ready", verdict.ready, ready_message.clone()),
        condition("BackendsReady", verdict.backends_ready, ready_message),
        discovered(&sorted, situation),
        conflicts(situation),
    ];
    Report {
        observed_generation: situation.observed_generation,
        phase: verdict.phase,
        message: verdict.message,
        backends: format!("{ready}/{}", sorted.len()),
        backend_count: sorted.len(),
        ready_backend_count: ready,
        tool_count: situation.tool_count,
        discovered_backends: sorted.into_iter().map(reported).collect(),
        conditions,
    }
}

fn verdict(sorted: &[&BackendFacts<'_>], ready: usize, situation: &Situation<'_>) -> Verdict {
    let row = |phase, message: String, backends_ready, ready| Verdict {
        phase,
        message,
        backends_ready,
        ready,
    };
    let least = usize::try_from(situation.min_ready_backends).unwrap_or(usize::MAX);
    let all_well = sorted
        .iter()
        .all(|backend| backend.observed.state == State::Ready);
    if let Configuration::Broken(why) = situation.configuration {
        let message = sanitise(why, limits::STATUS_TEXT);
        let truth = (Truth::Unknown, "InvalidSpec");
        return row(Phase::Failed, message, truth, (Truth::False, "InvalidSpec"));
    }
    if sorted.is_empty() {
        let message = "No backend matches".to_owned();
        return if least == 0 {
            row(
                Phase::Ready,
                message,
                (Truth::True, "NoBackends"),
                (Truth::True, "NoBackends"),
            )
        } else {
            row(
                Phase::Failed,
                message,
                (Truth::False, "NoBackends"),
                (Truth::False, "NoBackends"),
            )
        };
    }
    if situation.first_round == FirstRound::Pending {
        let message = "Waiting for the first health round".to_owned();
        let truth = (Truth::Unknown, "Pending");
        return row(Phase::Pending, message, truth, truth);
    }
    if all_well {
        let message = "All backends are ready".to_owned();
        let truth = (Truth::True, "AllBackendsReady");
        return row(Phase::Ready, message, truth, truth);
    }
    if ready >= least {
        let backends = (Truth::False, "SomeBackendsUnhealthy");
        return row(
            Phase::Degraded,
            MESSAGE_DEGRADED.to_owned(),
            backends,
            (Truth::True, "Degraded"),
        );
    }
    let message = format!(
        "{ready} of {} backends are ready, at least {least} must be",
        sorted.len()
    );
    let truth = (Truth::False, "TooFewBackendsReady");
    row(Phase::Failed, message, truth, truth)
}

fn condition(
    kind: &'static str,
    (status, reason): (Truth, &'static str),
    message: String,
) -> ReportCondition {
    ReportCondition {
        kind,
        status,
        reason,
        message,
    }
}

fn discovered(sorted: &[&BackendFacts<'_>], situation: &Situation<'_>) -> ReportCondition {
    const KIND: &str = "BackendsDiscovered";
    let missing = |backend: &&&BackendFacts<'_>| {
        backend.observed.reason == Some(ProbeReason::BackendNotFound)
    };
    let missing: Vec<_> = sorted
        .iter()
        .filter(missing)
        .map(|backend| backend.id.name.to_string())
        .collect();
    if let Configuration::Broken(why) = situation.configuration {
        let message = sanitise(why, limits::STATUS_TEXT);
        return condition(KIND, (Truth::Unknown, "InvalidSpec"), message);
    }
    if !missing.is_empty() {
        let message = format!("no MCPServer of this name: {}", listed(&missing));
        return condition(KIND, (Truth::False, "BackendNotFound"), message);
    }
    if sorted.is_empty() {
        let message = "neither selector nor refs match an MCPServer".to_owned();
        let status = if situation.min_ready_backends == 0 {
            Truth::True
        } else {
            Truth::False
        };
        return condition(KIND, (status, "NoBackends"), message);
    }
    condition(KIND, (Truth::True, "BackendsDiscovered"), String::new())
}

fn conflicts(situation: &Situation<'_>) -> ReportCondition {
    const KIND: &str = "ConflictsResolved";
    let open: Vec<_> = situation
        .conflicts
        .iter()
        .filter(|conflict| conflict.is_unresolved())
        .map(|conflict| {
            let backends: Vec<_> = conflict
                .backends
                .iter()
                .map(|backend| &*backend.0)
                .collect();
            format!("{:?} of {}", conflict.name, backends.join(" and "))
        })
        .collect();
    if open.is_empty() {
        return condition(KIND, (Truth::True, "NoConflicts"), String::new());
    }
    let message = format!(
        "hidden until a prefix or another strategy tells them apart: {}",
        listed(&open)
    );
    condition(KIND, (Truth::False, "ConflictsFound"), message)
}

/// Who is not well and why, for a condition's message.
fn trouble(sorted: &[&BackendFacts<'_>]) -> String {
    let names: Vec<_> = sorted
        .iter()
        .filter(|backend| backend.observed.state != State::Ready)
        .map(|backend| {
            let observed = backend.observed;
            match observed.reason {
                Some(reason) => format!("{} {} ({reason})", backend.id.name, observed.state),
                None => format!("{} {}", backend.id.name, observed.state),
            }
        })
        .collect();
    listed(&names)
}

fn listed(names: &[String]) -> String {
    let shown = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn reported(backend: &BackendFacts<'_>) -> ReportedBackend {
    let observed = backend.observed;
    ReportedBackend {
        name: backend.id.name.to_string(),
        uid: Some(backend.id.uid.0.to_string()).filter(|uid| !uid.is_empty()),
        url: backend.url.map(str::to_owned),
        transport: backend.transport.to_owned(),
        state: observed.state,
        reason: observed.reason,
        message: sanitise(&observed.message, limits::STATUS_TEXT),
        consecutive_failures: observed.consecutive_failures,
        protocol_version: observed.dialect.map(|dialect| dialect.version),
        server_info: observed.server.clone(),
        tools: backend.tools,
        catalog_hash: backend.catalog_hash.map(|hash| hash.to_string()),
        last_transition_unix_ms: backend.last_transition_unix_ms,
    }
}
