//! The health machine of one backend.
//!
//! Owns the one state that every output shows (T6). Checks and calls are counted apart (R4.9);
//! checks alone can make a backend Unhealthy, and any good check undoes what checks did, so no
//! state is terminal (R4.4). Never reads a clock.

use std::time::Duration;

use super::{
    CallOutcome, Dialect, Fact, History, Listed, Observed, Outcome, Policy, ProbeFailure,
    ProbeReason, State, Transition,
};
use crate::backoff::{self, Jitter};
use crate::id::Generation;
use crate::mcp::ServerInfo;
use crate::time::Tick;

/// Why and since when something is not well.
#[derive(Clone, Debug)]
struct Trouble {
    reason: ProbeReason,
    message: String,
    at: Tick,
}

impl Trouble {
    fn of(failure: &ProbeFailure, at: Tick) -> Self {
        Self {
            reason: failure.reason,
            message: failure.message.clone(),
            at,
        }
    }
}

/// What checks alone have led to.
#[derive(Clone, Debug, Default)]
struct Checks {
    state: State,
    failures: u32,
    successes: u32,
    trouble: Option<Trouble>,
    /// The newest list failed, and no list worked since.
    list_trouble: Option<Trouble>,
    /// Not before this, as the backend asked.
    hold_until: Option<Tick>,
}

/// What calls alone have led to.
#[derive(Clone, Debug, Default)]
struct Calls {
    failures: u32,
    trouble: Option<Trouble>,
    last_success: Option<Tick>,
}

/// Health of one backend, from its first check to its removal.
///
/// # Guarantees
/// * Late results of another generation change nothing (R4.2).
/// * Exactly `failure_threshold` failed checks in a row make Unhealthy, calls never do.
/// * `success_threshold` good checks in a row bring it back, whatever happened before (R2.1).
/// * The verdict's reason and message are those of the newest trouble (R2.3).
#[derive(Clone, Debug)]
pub struct Machine {
    generation: Generation,
    checks: Checks,
    calls: Calls,
    observed: Observed,
    history: History,
}

impl Machine {
    #[must_use]
    pub fn new(generation: Generation, now: Tick) -> Self {
        Self {
            generation,
            checks: Checks::default(),
            calls: Calls::default(),
            observed: Observed {
                since: now,
                ..Observed::default()
            },
            history: History::default(),
        }
    }

    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    #[must_use]
    pub const fn observed(&self) -> &Observed {
        &self.observed
    }

    /// The last transitions, across generations (R1.13).
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Calls are refused at once: nothing can be connected to, and that is more than a hiccup of a
    /// backend that has served (R4.13).
    #[must_use]
    pub const fn fails_fast(&self) -> bool {
        self.observed.facts.reachable.is_false() && !self.observed.state.serves()
    }

    /// A new life of the runtime: what was known of the old one says nothing about it. Generations
    /// only grow; an old one is ignored (R4.1).
    pub fn renew(&mut self, generation: Generation, now: Tick) -> Option<Transition> {
        if generation <= self.generation {
            return None;
        }
        self.generation = generation;
        self.close(now)
    }

    /// The runtime is closed: stopped, as before the first start (R3.5).
    pub fn close(&mut self, now: Tick) -> Option<Transition> {
        self.checks = Checks::default();
        self.calls = Calls::default();
        let state = self.observed.state;
        let since = self.observed.since;
        self.observed = Observed {
            state,
            since,
            ..Observed::default()
        };
        self.enter(State::Pending, now)
    }

    /// Takes the outcome of a check that was made for `generation`.
    pub fn observe_probe(
        &mut self,
        generation: Generation,
        outcome: &Outcome,
        now: Tick,
        policy: &Policy,
    ) -> Option<Transition> {
        if generation != self.generation || *outcome == Outcome::Cancelled {
            return None;
        }
        self.observed.last_checked = Some(now);
        self.checks.hold_until = None;
        match outcome {
            Outcome::Healthy {
                latency,
                dialect,
                server,
                listed,
            } => {
                self.know(*dialect, server.as_ref());
                if *listed == Listed::Yes {
                    self.checks.list_trouble = None;
                    self.observed.facts.catalogued = Fact::True;
                }
                self.alive(slow(*latency, now, policy), now, policy);
            }
            Outcome::ListFailed {
                failure,
                dialect,
                server,
            } => {
                self.know(*dialect, server.as_ref());
                let trouble = Trouble::of(failure, now);
                self.checks.list_trouble = Some(Trouble {
                    reason: ProbeReason::ListFailed,
                    ..trouble
                });
                self.observed.facts.catalogued = Fact::False {
                    reason: failure.reason,
                };
                self.alive(None, now, policy);
            }
            Outcome::Failed(failure) => self.failed(failure, now, policy),
            Outcome::AuthRequired(failure) | Outcome::AuthFailed(failure) => {
                self.observed.facts.refused(failure.reason);
                self.checks.failures = 0;
                self.checks.successes = 0;
                self.checks.state = State::AuthRequired;
                self.checks.trouble = Some(Trouble::of(failure, now));
            }
            Outcome::RateLimited { retry_after } => self.rate_limited(*retry_after, now, policy),
            Outcome::Cancelled => {}
        }
        self.conclude(now, policy)
    }

    /// Takes the outcome of a call that was made in `generation`.
    pub fn observe_call(
        &mut self,
        generation: Generation,
        outcome: &CallOutcome,
        now: Tick,
        policy: &Policy,
    ) -> Option<Transition> {
        if generation != self.generation {
            return None;
        }
        match outcome {
            CallOutcome::Cancelled => return None,
            CallOutcome::Ok | CallOutcome::ToolError => {
                self.calls = Calls {
                    last_success: Some(now),
                    ..Calls::default()
                };
                self.observed.last_success = Some(now);
                self.observed.facts.reachable = Fact::True;
                self.observed.facts.handshaken = Fact::True;
                self.observed.facts.callable = Fact::True;
            }
            CallOutcome::Failed(failure) => {
                self.calls.failures = self.calls.failures.saturating_add(1);
                self.calls.trouble = Some(Trouble::of(failure, now));
                self.observed.facts.callable = Fact::False {
                    reason: failure.reason,
                };
            }
        }
        self.conclude(now, policy)
    }

    /// When the next check is due. A backend that was never checked is due at once.
    #[must_use]
    pub fn next_probe(&self, now: Tick, policy: &Policy, jitter: Jitter) -> Tick {
        let Some(checked) = self.observed.last_checked else {
            return now;
        };
        // Between the first good check and the one that brings it back there is nothing to wait for.
        let returning = self.checks.state == State::Unhealthy && self.checks.failures == 0;
        let failures = if returning { 1 } else { self.checks.failures };
        let due = checked.after(backoff::probe_delay(failures, policy.period, jitter));
        self.checks.hold_until.map_or(due, |hold| due.max(hold))
    }

    fn know(&mut self, dialect: Dialect, server: Option<&ServerInfo>) {
        self.observed.dialect = Some(dialect);
        self.observed.server = server.cloned();
    }

    /// Liveness is good; `slow` says whether it is late.
    fn alive(&mut self, slow: Option<Trouble>, now: Tick, policy: &Policy) {
        self.observed.facts.alive();
        self.observed.last_success = Some(now);
        let checks = &mut self.checks;
        checks.failures = 0;
        checks.successes = checks.successes.saturating_add(1);
        if checks.state == State::Unhealthy && checks.successes < policy.success_threshold {
            return;
        }
        checks.state = if slow.is_some() {
            State::Degraded
        } else {
            State::Ready
        };
        checks.trouble = slow;
    }

    fn failed(&mut self, failure: &ProbeFailure, now: Tick, policy: &Policy) {
        if is_timeout(failure) && self.served_lately(now, policy) {
            // T4: the check was slow, the backend was not: calls prove that it lives.
            self.checks.state = State::Degraded;
            self.checks.failures = 0;
            let message = format!("calls succeed, but the check does not: {}", failure.message);
            self.checks.trouble = Some(Trouble {
                reason: ProbeReason::Slow,
                message,
                at: now,
            });
            return;
        }
        self.observed.facts.deny(failure);
        let checks = &mut self.checks;
        checks.successes = 0;
        checks.failures = checks.failures.saturating_add(1);
        checks.trouble = Some(Trouble::of(failure, now));
        if checks.failures >= policy.failure_threshold {
            checks.state = State::Unhealthy;
        }
    }

    fn rate_limited(&mut self, retry_after: Option<Duration>, now: Tick, policy: &Policy) {
        self.observed.facts.reachable = Fact::True;
        let wait = retry_after
            .unwrap_or(policy.period)
            .min(backoff::MAX_RETRY_AFTER);
        self.checks.hold_until = Some(now.after(wait));
        let message = format!("HTTP 429, next check in {} s", wait.as_secs());
        self.checks.trouble = Some(Trouble {
            reason: ProbeReason::RateLimited,
            message,
            at: now,
        });
    }

    fn served_lately(&self, now: Tick, policy: &Policy) -> bool {
        self.calls
            .last_success
            .is_some_and(|at| now.since(at) <= policy.period)
    }

    /// Forms the one verdict out of what checks and calls have led to.
    fn conclude(&mut self, now: Tick, policy: &Policy) -> Option<Transition> {
        // The evidence of calls lapses with age and with a good call, never with a good check
        // (R4.9): a backend that nobody calls any more must not stay Degraded for ever (R4.4).
        let fresh = |trouble: &&Trouble| now.since(trouble.at) < policy.period;
        let call_trouble = self.calls.trouble.as_ref().filter(fresh);
        let call_failures = if call_trouble.is_some() {
            self.calls.failures
        } else {
            0
        };
        self.observed.consecutive_failures = self.checks.failures.max(call_failures);

        let checks = &self.checks;
        let degraded = checks.list_trouble.is_some()
            || (call_failures > 0 && call_failures >= policy.failure_threshold);
        let state = match checks.state {
            State::Ready if degraded => State::Degraded,
            other => other,
        };
        let troubles = [
            checks.trouble.as_ref(),
            checks.list_trouble.as_ref(),
            call_trouble,
        ];
        let newest = troubles
            .into_iter()
            .flatten()
            .max_by_key(|trouble| trouble.at);
        self.observed.reason = newest.map(|trouble| trouble.reason);
        self.observed.message = newest
            .map(|trouble| trouble.message.clone())
            .unwrap_or_default();
        self.enter(state, now)
    }

    fn enter(&mut self, to: State, now: Tick) -> Option<Transition> {
        let observed = &mut self.observed;
        if !to.serves() {
            observed.ready_since = None;
        } else if observed.ready_since.is_none() {
            observed.ready_since = Some(now);
        }
        let from = std::mem::replace(&mut observed.state, to);
        if from == to {
            return None;
        }
        observed.since = now;
        let transition = Transition {
            from,
            to,
            reason: observed.reason,
            message: observed.message.clone(),
            at: now,
        };
        self.history.push(transition.clone());
        Some(transition)
    }
}

fn slow(latency: Duration, at: Tick, policy: &Policy) -> Option<Trouble> {
    let bound = policy.degraded_above.filter(|bound| latency > *bound)?;
    let message = format!(
        "check took {} ms, more than {} ms",
        latency.as_millis(),
        bound.as_millis()
    );
    Some(Trouble {
        reason: ProbeReason::Slow,
        message,
        at,
    })
}

fn is_timeout(failure: &ProbeFailure) -> bool {
    matches!(
        failure.reason,
        ProbeReason::ConnectTimeout | ProbeReason::HandshakeTimeout
    )
}
