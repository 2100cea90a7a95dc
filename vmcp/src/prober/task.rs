//! The checks of one runtime, one after the other.
//!
//! Owns the waiting between them. Single flight by construction; at most one check a second however
//! many events ask for one (R2.6).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vmcp_core::backoff::WAKE_INTERVAL;
use vmcp_core::health::{Outcome, ProbeFailure, ProbeReason, Step};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::time::Tick;

use super::follower::Follower;
use super::{Checked, Checker};
use crate::clock::Clock;
use crate::metrics::Durations;
use crate::registry::{Event, Events, Plan, Probed};
use crate::snapshot::Endpoint;

/// A check ends itself at its deadline; this much later it is ended from outside (R1.14).
const OVERRUN: Duration = Duration::from_millis(500);

/// A check that is under way at the removal may still name the session that is to be ended.
const LAST_CHECK: Duration = Duration::from_secs(1);

/// Ending the health session is a courtesy; a backend that is gone must not hold anything up.
const END_SESSION: Duration = Duration::from_secs(2);

/// One runtime under watch.
pub(super) struct Task<C: Checker> {
    pub id: BackendId,
    pub generation: Generation,
    pub endpoint: Arc<Endpoint>,
    pub checker: Arc<C>,
    pub clock: Clock,
    pub events: Events,
    pub plan: watch::Receiver<Plan>,
    pub cancel: CancellationToken,
    pub tasks: TaskTracker,
}

/// What the task knows of its own checks.
#[derive(Clone, Copy, Default)]
struct Progress {
    last_start: Option<Tick>,
    /// Wakes that the last check has answered.
    wakes: u64,
    /// Checks reported.
    reported: u64,
}

impl<C: Checker> Task<C> {
    pub async fn run(mut self) {
        let mut memory = C::Memory::default();
        let mut progress = Progress::default();
        let mut follower = Follower::default();
        while let Some(plan) = self.due(progress).await {
            progress.last_start = Some(self.clock.now());
            progress.wakes = plan.wakes;
            let Some(checked) = self.check(std::mem::take(&mut memory), plan).await else {
                return;
            };
            memory = checked.memory;
            if matches!(checked.outcome, Outcome::Healthy { .. }) {
                follower.keep_up(&self, &memory);
            }
            let probed = Probed {
                id: self.id.clone(),
                generation: self.generation,
                outcome: checked.outcome,
                catalog: checked.catalog,
                durations: checked.durations,
            };
            tokio::select! {
                () = self.cancel.cancelled() => break,
                sent = self.events.send(Event::Probed(Box::new(probed))) => if sent.is_err() { break },
            }
            progress.reported += 1;
        }
        self.end(memory).await;
    }

    /// Waits for the next check; `None` when there will be none any more.
    async fn due(&mut self, progress: Progress) -> Option<Plan> {
        loop {
            let plan = *self.plan.borrow_and_update();
            let known = plan.taken >= progress.reported;
            let wanted = if plan.wakes == progress.wakes {
                plan.at
            } else {
                self.clock.now()
            };
            let at = progress
                .last_start
                .map_or(wanted, |last| wanted.max(last.after(WAKE_INTERVAL)));
            let at = self.clock.instant(at);
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                changed = self.plan.changed() => changed.ok()?,
                // Until the registry has taken the last report, its plan is the old one.
                () = tokio::time::sleep_until(at), if known => return Some(plan),
            }
        }
    }

    /// One check, ended in any case. `None`: the runtime ended meanwhile and all is cleaned up.
    async fn check(&self, memory: C::Memory, plan: Plan) -> Option<Checked<C::Memory>> {
        let endpoint = Arc::clone(&self.endpoint);
        let mut check = self
            .checker
            .check(endpoint, memory, plan.want, plan.timeout);
        tokio::select! {
            checked = &mut check => return Some(checked),
            () = tokio::time::sleep(plan.timeout + OVERRUN) => return Some(hung(plan.timeout)),
            () = self.cancel.cancelled() => {}
        }
        if let Ok(checked) = tokio::time::timeout(LAST_CHECK, check).await {
            self.end(checked.memory).await;
        }
        None
    }

    async fn end(&self, memory: C::Memory) {
        let end = self.checker.end(Arc::clone(&self.endpoint), memory);
        if tokio::time::timeout(END_SESSION, end).await.is_err() {
            tracing::debug!(backend = %self.id.name, "health session not ended in time");
        }
    }
}

fn hung<M: Default>(deadline: Duration) -> Checked<M> {
    let failure = ProbeFailure {
        reason: ProbeReason::HandshakeTimeout,
        step: Step::Initialize,
        http_status: None,
        message: format!(
            "the check did not end within {:.1} s",
            deadline.as_secs_f64()
        ),
    };
    Checked {
        outcome: Outcome::Failed(failure),
        catalog: None,
        durations: Durations::default(),
        memory: M::default(),
    }
}
