//! The body of `GET /status`: the report of the CRD, plus what only a person wants to know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use vmcp_core::catalog::Conflict;
use vmcp_core::health::{Fact, Transition};
use vmcp_core::report::Report;
use vmcp_core::time::Tick;

use super::Admin;
use crate::clock::Clock;
use crate::metrics::Phase;
use crate::snapshot::{BackendView, Snapshot};

/// The whole page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    name: Arc<str>,
    uid: Arc<str>,
    revision: u64,
    leader: bool,
    config: Config,
    #[serde(flatten)]
    report: Arc<Report>,
    conflicts: Arc<[Conflict]>,
    warnings: Arc<[String]>,
    /// By name; more about each of `discoveredBackends`.
    details: BTreeMap<String, Details>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Arc<str>>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    generation: u64,
    facts: BTreeMap<&'static str, String>,
    probes_total: u64,
    next_probe_in_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_unix_ms: Option<i64>,
    /// Seconds by step.
    last_probe_seconds: BTreeMap<&'static str, f64>,
    /// Oldest first.
    transitions: Vec<Change>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    from: &'static str,
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    message: String,
    at_unix_ms: i64,
}

/// The page of now.
pub(super) fn page(admin: &Admin) -> Page {
    let snapshot: Arc<Snapshot> = admin.snapshots.load();
    let now = admin.clock.now();
    let details = snapshot.backends.iter().map(|view| {
        (
            view.id.name.to_string(),
            details(view, &admin.clock, now, snapshot.at),
        )
    });
    Page {
        name: Arc::clone(&snapshot.name),
        uid: Arc::clone(&snapshot.uid),
        revision: snapshot.revision,
        leader: admin.leader.load(Ordering::Relaxed),
        config: Config {
            valid: snapshot.configured && snapshot.config.error.is_none(),
            error: snapshot.config.error.clone(),
            problems: snapshot
                .problems
                .iter()
                .map(|problem| problem.message.clone())
                .collect(),
        },
        report: Arc::clone(&snapshot.report),
        conflicts: Arc::clone(&snapshot.conflicts),
        warnings: Arc::clone(&snapshot.warnings),
        details: details.collect(),
    }
}

fn details(view: &BackendView, clock: &Clock, now: Tick, made_at: Tick) -> Details {
    let facts = &view.observed.facts;
    let named = [
        ("reachable", facts.reachable),
        ("handshaken", facts.handshaken),
        ("catalogued", facts.catalogued),
        ("authenticated", facts.authenticated),
        ("callable", facts.callable),
    ];
    let durations = view.meter.last_probe();
    let steps = Phase::ALL.into_iter().filter_map(|phase| {
        durations
            .get(phase)
            .map(|took| (phase.as_str(), took.as_secs_f64()))
    });
    let waited = now.since(made_at);
    Details {
        generation: view.generation.0,
        facts: named
            .into_iter()
            .map(|(name, fact)| (name, words(fact)))
            .collect(),
        probes_total: view.meter.probes_total(),
        next_probe_in_seconds: view.next_probe_in.saturating_sub(waited).as_secs_f64(),
        last_success_unix_ms: view.meter.last_success().map(|at| clock.unix_ms(at)),
        last_probe_seconds: steps.collect(),
        transitions: view
            .history
            .iter()
            .map(|transition| change(transition, clock))
            .collect(),
    }
}

fn words(fact: Fact) -> String {
    match fact {
        Fact::Unknown => "Unknown".to_owned(),
        Fact::True => "True".to_owned(),
        Fact::False { reason } => format!("False {reason}"),
    }
}

fn change(transition: &Transition, clock: &Clock) -> Change {
    Change {
        from: transition.from.as_str(),
        to: transition.to.as_str(),
        reason: transition
            .reason
            .map(vmcp_core::health::ProbeReason::as_str),
        message: transition.message.clone(),
        at_unix_ms: clock.unix_ms(transition.at),
    }
}
