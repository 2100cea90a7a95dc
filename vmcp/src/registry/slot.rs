//! The permanent place of one backend.
//!
//! Owns everything that is known about one backend between its appearance and its removal: the
//! health machine, the last-good catalogue, the counters. Its live runtime comes and goes by
//! generation (R4.1); what a runtime of an earlier generation reports changes nothing (R4.2).

use std::sync::Arc;
use std::time::Duration;

use vmcp_core::backoff;
use vmcp_core::catalog::{self, Catalog, CatalogAge, CatalogPolicy, Hint};
use vmcp_core::health::{CallOutcome, Machine, Observed, Outcome, ProbeReason, State, Transition};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::time::Tick;

use super::event::{Cause, Effect, Plan, Probed, Want};
use super::seen;
use super::step::{Dirty, Moment};
use crate::discovery::desired::DesiredBackend;
use crate::metrics::BackendMeter;
use crate::snapshot::Endpoint;

/// Room for the way between prober and registry when the first round is timed.
const FIRST_ROUND_SLACK: Duration = Duration::from_secs(1);

/// The second check of a backend is not right behind its first.
const SHORTEST_OFFSET: Duration = Duration::from_secs(1);

/// One backend.
#[derive(Debug)]
pub struct Slot {
    pub desired: DesiredBackend,
    pub generation: Generation,
    pub machine: Machine,
    pub catalog: Option<Catalog>,
    pub meter: Arc<BackendMeter>,
    /// Not checked, because there is nothing to check; since when.
    blocked_since: Option<Tick>,
    attached_at: Tick,
    /// When it stopped being ready; for the length of outages.
    outage_since: Option<Tick>,
    /// Of the reads in this generation.
    age: CatalogAge,
    /// Why the next check should read the list anyway.
    hint: Hint,
    /// The first good check puts the next one at a place of its own in the period.
    offset_due: bool,
    wakes: u64,
    taken: u64,
    next_at: Tick,
}

impl Slot {
    /// A slot with its first runtime, where it can have one.
    pub fn new(
        desired: DesiredBackend,
        generation: Generation,
        moment: Moment,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut slot = Self {
            generation,
            machine: Machine::new(generation, moment.now),
            catalog: None,
            meter: Arc::default(),
            blocked_since: None,
            attached_at: moment.now,
            outage_since: None,
            age: CatalogAge::default(),
            hint: Hint::Added,
            offset_due: true,
            wakes: 0,
            taken: 0,
            next_at: moment.now,
            desired,
        };
        slot.attach(moment, effects);
        slot
    }

    pub fn id(&self) -> &BackendId {
        &self.desired.id
    }

    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.desired.target.as_ref().ok()
    }

    /// Takes over new settings; a new runtime only where the old one would be wrong.
    pub fn configure(
        &mut self,
        desired: DesiredBackend,
        fresh: Generation,
        moment: Moment,
        effects: &mut Vec<Effect>,
    ) -> Dirty {
        if self.desired == desired {
            return Dirty::default();
        }
        let renewed = self.desired.key != desired.key
            || self.desired.target.is_ok() != desired.target.is_ok();
        let effective =
            self.desired.policy != desired.policy || self.desired.target != desired.target;
        if renewed && self.desired.target.is_ok() {
            let (id, generation) = (self.id().clone(), self.generation);
            effects.push(Effect::Detach {
                id,
                generation,
                cause: Cause::Renewed,
            });
        }
        self.desired = desired;
        if renewed {
            self.generation = fresh;
            let transition = self.machine.renew(fresh, moment.now);
            self.count(transition.as_ref());
            self.attach(moment, effects);
        } else if effective {
            self.wake(moment, effects);
        }
        Dirty {
            view: true,
            catalog: true,
        }
    }

    /// Takes the report of a check. Late ones change nothing.
    pub fn probed(&mut self, probed: Probed, moment: Moment, effects: &mut Vec<Effect>) -> Dirty {
        if probed.generation != self.generation || probed.outcome == Outcome::Cancelled {
            return Dirty::default();
        }
        let now = moment.now;
        let reason = probed.outcome.reason().map_or("none", ProbeReason::as_str);
        self.meter
            .probe(probed.outcome.label(), reason, probed.durations);
        if matches!(
            probed.outcome,
            Outcome::Healthy { .. } | Outcome::ListFailed { .. }
        ) {
            self.meter.succeeded(now);
        }
        self.taken += 1;
        let before = self.machine.observed().clone();
        let policy = self.desired.policy;
        let transition =
            self.machine
                .observe_probe(probed.generation, &probed.outcome, now, &policy);
        self.count(transition.as_ref());
        let mut dirty = self.settle(&before, now);
        if matches!(probed.outcome, Outcome::ListFailed { .. }) {
            self.age.read_failed(now);
        }
        if let Some(catalog) = probed.catalog {
            dirty.merge(self.list(catalog, now));
        }
        self.next_at = self.machine.next_probe(now, &policy, moment.jitter);
        self.spread(now);
        effects.push(self.plan());
        dirty
    }

    /// Takes the outcome of a call; a failed one asks for a check.
    pub fn called(
        &mut self,
        generation: Generation,
        outcome: &CallOutcome,
        moment: Moment,
        effects: &mut Vec<Effect>,
    ) -> Dirty {
        if generation != self.generation || self.blocked() {
            return Dirty::default();
        }
        let before = self.machine.observed().clone();
        let policy = self.desired.policy;
        let transition = self
            .machine
            .observe_call(generation, outcome, moment.now, &policy);
        self.count(transition.as_ref());
        match outcome {
            CallOutcome::Ok => self.meter.succeeded(moment.now),
            CallOutcome::Failed(_) => self.wake(moment, effects),
            _ => {}
        }
        self.settle(&before, moment.now)
    }

    /// An event asks for a check at once. A backend that said when to come back is left alone.
    pub fn wake(&mut self, moment: Moment, effects: &mut Vec<Effect>) {
        let limited = self.machine.observed().reason == Some(ProbeReason::RateLimited)
            && self.next_at > moment.now;
        if !self.blocked() && !limited {
            self.wakes += 1;
            effects.push(self.plan());
        }
    }

    /// The backend says that its list changed.
    pub fn list_changed(
        &mut self,
        generation: Generation,
        moment: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if generation == self.generation {
            self.hint = Hint::ListChanged;
            self.wake(moment, effects);
        }
    }

    /// What readers see of its health.
    pub fn observed(&self) -> Observed {
        match (&self.desired.target, self.blocked_since) {
            (Err(blocked), Some(since)) => seen::blocked(blocked, since),
            _ => self.machine.observed().clone(),
        }
    }

    pub fn blocked(&self) -> bool {
        self.desired.target.is_err()
    }

    pub fn fails_fast(&self) -> bool {
        self.blocked() || self.machine.fails_fast()
    }

    /// Time until the next check.
    pub fn next_probe_in(&self, now: Tick) -> Duration {
        if self.blocked() {
            self.desired.policy.period
        } else {
            self.next_at.since(now)
        }
    }

    /// The catalogue, where its policy lets clients see it (R4.5).
    pub fn published(&self, now: Tick) -> Option<&Catalog> {
        let policy = self.desired.catalog_policy;
        self.catalog
            .as_ref()
            .filter(|_| catalog::published(policy, &self.observed(), now))
    }

    /// When the policy hides the catalogue, if nothing else happens.
    pub fn hides_at(&self, now: Tick) -> Option<Tick> {
        let CatalogPolicy::KeepFor(keep) = self.desired.catalog_policy else {
            return None;
        };
        self.published(now)?;
        let observed = self.observed();
        (observed.state == State::Unhealthy).then(|| observed.since.after(keep))
    }

    /// A verdict is there, or none is to be expected.
    pub fn judged(&self, now: Tick) -> bool {
        self.blocked() || self.machine.observed().is_checked() || self.judged_by() <= now
    }

    /// Until when a first verdict is waited for.
    pub fn judged_by(&self) -> Tick {
        self.attached_at
            .after(self.desired.policy.timeout + FIRST_ROUND_SLACK)
    }

    fn attach(&mut self, moment: Moment, effects: &mut Vec<Effect>) {
        self.attached_at = moment.now;
        self.age.invalidate();
        self.hint = Hint::Added;
        self.offset_due = true;
        self.taken = 0;
        // At once: a new backend is waited for.
        self.next_at = moment.now;
        match self.desired.target.clone() {
            Ok(endpoint) => {
                self.blocked_since = None;
                let (id, generation) = (self.id().clone(), self.generation);
                let plan = self.next_plan();
                effects.push(Effect::Attach {
                    id,
                    generation,
                    endpoint,
                    plan,
                });
            }
            Err(_) => self.blocked_since = Some(moment.now),
        }
    }

    fn plan(&self) -> Effect {
        Effect::Plan {
            id: self.id().clone(),
            generation: self.generation,
            plan: self.next_plan(),
        }
    }

    fn next_plan(&self) -> Plan {
        Plan {
            at: self.next_at,
            want: self.want(),
            timeout: self.desired.policy.timeout,
            wakes: self.wakes,
            taken: self.taken,
        }
    }

    /// A backend that is not well is asked for its tools in the check that finds it well again, so
    /// that no memory of the outage outlives it (T5).
    fn want(&self) -> Want {
        let state = self.machine.observed().state;
        if catalog::should_refresh(&self.age, self.next_at, state, self.hint) {
            Want::Catalogue
        } else {
            Want::Liveness
        }
    }

    /// Checks of backends that came together part: no two tick together from then on.
    fn spread(&mut self, now: Tick) {
        let observed = self.machine.observed();
        if self.offset_due && observed.state.serves() && observed.consecutive_failures == 0 {
            self.offset_due = false;
            let offset = backoff::start_offset(self.id(), self.desired.policy.period);
            self.next_at = self.next_at.min(now.after(offset.max(SHORTEST_OFFSET)));
        }
    }

    fn list(&mut self, catalog: Catalog, now: Tick) -> Dirty {
        self.age.read(now, catalog.freshness.ttl);
        self.hint = Hint::Routine;
        self.meter.catalog_seen(now);
        let changed = self
            .catalog
            .as_ref()
            .is_none_or(|old| old.hash != catalog.hash);
        if changed {
            self.meter.catalog_changed();
        }
        // A server that lists in another order has not changed, and its order stays (T15).
        let kept_otherwise = self
            .catalog
            .as_mut()
            .filter(|_| !changed)
            .is_some_and(|old| {
                let before = std::mem::replace(&mut old.freshness, catalog.freshness);
                before != catalog.freshness
            });
        if changed {
            self.catalog = Some(catalog);
        }
        Dirty {
            view: changed,
            catalog: changed || kept_otherwise,
        }
    }

    /// What a changed verdict means for the rest.
    fn settle(&mut self, before: &Observed, now: Tick) -> Dirty {
        let after = self.machine.observed();
        let state = after.state;
        let catalog = before.state != state || before.reason != after.reason;
        let dirty = Dirty {
            view: seen::visible(before) != seen::visible(after),
            catalog,
        };
        if state == State::Ready {
            if let Some(since) = self.outage_since.take() {
                self.meter.recovered(now.since(since));
            }
        } else if before.state.serves() && !state.serves() {
            self.outage_since = Some(now);
        }
        dirty
    }

    fn count(&self, transition: Option<&Transition>) {
        if let Some(Transition {
            from,
            to,
            reason,
            message,
            ..
        }) = transition
        {
            self.meter.transition(from.as_str(), to.as_str());
            let reason = reason.map_or("none", ProbeReason::as_str);
            let backend = &*self.id().name.0;
            tracing::info!(backend, %from, %to, reason, detail = message, "backend changed state");
        }
    }
}
