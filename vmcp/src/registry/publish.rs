//! From the state to a snapshot.
//!
//! Owns what readers see and how much of it is made anew: the merge and its pages only when a
//! catalogue or the rule changed, the rest with each change of health, nothing without a change.
//! The snapshot is always whole (R4.6); a slot that is in trouble is in it like all others (R4.8).

use std::sync::Arc;

use vmcp_core::report::{
    self, BackendFacts, Configuration, FirstRound, Phase, Report, Situation, Truth,
};
use vmcp_core::time::Tick;
use vmcp_crds::discover::Problem;
use vmcp_crds::reason::Reason;

use super::lists::Made;
use super::slot::Slot;
use super::state::State;
use super::step::Dirty;
use crate::clock::Clock;
use crate::gateway::port::Target;
use crate::near::Spread;
use crate::snapshot::{BackendView, Snapshot};

/// Makes snapshots and keeps the parts that can be used again.
#[derive(Debug, Default)]
pub struct Publication {
    clock: Option<Clock>,
    revision: u64,
    made: Option<Made>,
}

impl Publication {
    /// With the clock that gives reports their dates.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock: Some(clock),
            ..Self::default()
        }
    }

    /// The next snapshot.
    pub(super) fn build(&mut self, state: &State, dirty: Dirty, now: Tick) -> Snapshot {
        let made = match self.made.take() {
            Some(made) if !dirty.catalog => made,
            _ => Made::new(state, now),
        };
        self.made = Some(made.clone());
        self.revision += 1;
        let views = state.slots.iter().map(|slot| view(slot, now));
        let backends: Arc<[_]> = views.map(Spread::from).collect();
        let report = self.report(state, &backends, &made);
        let desired = state.desired.as_deref();
        let by_name = backends
            .iter()
            .enumerate()
            .map(|(at, view)| (view.id.name.clone(), at));
        Snapshot {
            revision: self.revision,
            name: desired.map_or_else(|| "".into(), |desired| Arc::clone(&desired.name)),
            uid: desired.map_or_else(|| "".into(), |desired| Arc::clone(&desired.uid)),
            observed_generation: desired.map_or(0, |desired| desired.observed_generation),
            by_name: Arc::new(by_name.collect()),
            backends,
            lists: made.lists,
            alone: made.alone,
            conflicts: made.conflicts,
            warnings: made.warnings,
            conflict_policy: Arc::new(
                desired
                    .map(|desired| desired.conflict_policy.clone())
                    .unwrap_or_default(),
            ),
            admission: Arc::new(
                desired
                    .map(|desired| desired.admission.clone())
                    .unwrap_or_default(),
            ),
            config: state.config.clone(),
            problems: problems(state).into(),
            report: Arc::new(report),
            at: now,
            min_ready: desired.map_or(0, |desired| desired.min_ready),
            first_round_done: state.first_round_done,
            configured: desired.is_some(),
        }
    }

    fn report(&self, state: &State, backends: &[Spread<BackendView>], made: &Made) -> Report {
        let unix_ms = |tick| self.clock.map_or(0, |clock| clock.unix_ms(tick));
        let facts: Vec<BackendFacts<'_>> = backends
            .iter()
            .map(|view| BackendFacts {
                id: &view.id,
                url: view.endpoint.as_ref().map(|endpoint| endpoint.url.as_str()),
                transport: view
                    .endpoint
                    .as_ref()
                    .map_or("streamable-http", |endpoint| endpoint.transport.as_str()),
                observed: &view.observed,
                tools: view.tools,
                catalog_hash: view.catalog_hash,
                last_transition_unix_ms: unix_ms(view.observed.since),
            })
            .collect();
        let desired = state.desired.as_deref();
        let broken = state.config.error.as_deref().filter(|_| desired.is_none());
        let situation = Situation {
            observed_generation: desired.map_or(0, |desired| desired.observed_generation),
            min_ready_backends: desired.map_or(0, |desired| desired.min_ready),
            first_round: match state.first_round_done {
                true => FirstRound::Done,
                false => FirstRound::Pending,
            },
            configuration: broken.map_or(Configuration::Valid, Configuration::Broken),
            conflicts: &made.conflicts,
            tool_count: made.lists.tool_count,
        };
        let mut report = report::build(&facts, &situation);
        if desired.is_none() && broken.is_none() {
            unknown(&mut report);
        }
        for problem in problems(state) {
            mention(&mut report, &problem);
        }
        report
    }
}

/// Before there is a configuration nothing is known, least of all that there are no backends.
fn unknown(report: &mut Report) {
    report.phase = Phase::Pending;
    report.message = "No configuration yet".to_owned();
    for condition in &mut report.conditions {
        condition.status = Truth::Unknown;
        condition.reason = "Pending";
        condition.message.clone_from(&report.message);
    }
}

/// A problem that the schema cannot see becomes a condition with reason and fix.
fn mention(report: &mut Report, problem: &Problem) {
    let kind = match problem.reason {
        Reason::DuplicatePrefix => "ConflictsResolved",
        Reason::InvalidSelector | Reason::TooManyBackends => "BackendsDiscovered",
        // Those of one backend stand in its own entry.
        _ => return,
    };
    let condition = report
        .conditions
        .iter_mut()
        .find(|condition| condition.kind == kind);
    if let Some(condition) = condition.filter(|condition| condition.status == Truth::True) {
        condition.status = Truth::False;
        condition.reason = problem.reason.as_str();
        condition.message = problem.message.clone();
    }
}

fn problems(state: &State) -> Vec<Problem> {
    state
        .desired
        .as_ref()
        .map(|desired| desired.problems.clone())
        .unwrap_or_default()
}

fn view(slot: &Slot, now: Tick) -> BackendView {
    let observed = slot.observed();
    let target = slot.endpoint().map(|endpoint| Target {
        id: slot.id().clone(),
        generation: slot.generation,
        endpoint: Arc::clone(endpoint),
        dialect: observed.dialect,
    });
    BackendView {
        target: target.map(Spread::from),
        id: slot.id().clone(),
        generation: slot.generation,
        endpoint: slot.endpoint().cloned(),
        policy: slot.desired.policy,
        dialect: observed.dialect,
        tools: slot
            .catalog
            .as_ref()
            .map_or(0, |catalog| catalog.tools.len()),
        catalog_hash: slot.catalog.as_ref().map(|catalog| catalog.hash),
        catalog: slot.catalog.clone(),
        fails_fast: slot.fails_fast(),
        next_probe_in: slot.next_probe_in(now),
        history: slot.machine.history().iter().cloned().collect(),
        meter: Arc::clone(&slot.meter),
        observed,
    }
}
