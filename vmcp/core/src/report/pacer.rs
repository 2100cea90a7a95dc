//! When a report is worth a write.
//!
//! Owns the rhythm of decision 7: removals and changes of state or phase at once, coalesced and from
//! a bucket; counters and messages at most once per 5 s; of a backend that is down for good once a
//! minute; an unchanged report never. Never writes.

use std::time::Duration;

use super::{Report, ReportedBackend};
use crate::time::Tick;

/// Changes that come together are written together.
pub const COALESCE: Duration = Duration::from_millis(250);
/// Writes that may follow each other at once.
pub const BUCKET: u32 = 5;
/// One write comes back into the bucket in this time.
pub const REFILL: Duration = Duration::from_secs(1);
/// Between writes for counters and messages alone.
pub const MINOR_INTERVAL: Duration = Duration::from_secs(5);
/// Between writes for a backend that is down for good.
pub const SETTLED_INTERVAL: Duration = Duration::from_secs(60);
/// `consecutiveFailures` is exact up to here.
pub const EXACT_FAILURES: u32 = 10;

/// How much two reports differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    None,
    /// Only counters and messages of backends that fail the same way for long.
    Settled,
    /// Counters and messages.
    Minor,
    /// State, phase, membership, conditions, tools.
    Major,
}

/// When to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishDecision {
    /// Nothing differs.
    Nothing,
    Now,
    /// Ask again then, or when something changes.
    At(Tick),
}

/// How much `current` differs from what is published. `None`: nothing is.
#[must_use]
pub fn change(published: Option<&Report>, current: &Report) -> Change {
    let Some(old) = published else {
        return Change::Major;
    };
    if old == current {
        return Change::None;
    }
    let same_frame = old.observed_generation == current.observed_generation
        && old.phase == current.phase
        && old.backends == current.backends
        && old.tool_count == current.tool_count
        && old.discovered_backends.len() == current.discovered_backends.len()
        && old.conditions.len() == current.conditions.len()
        && old
            .conditions
            .iter()
            .zip(&current.conditions)
            .all(|(old, new)| {
                old.kind == new.kind && old.status == new.status && old.reason == new.reason
            });
    if !same_frame {
        return Change::Major;
    }
    let backends = old
        .discovered_backends
        .iter()
        .zip(&current.discovered_backends);
    let worst = backends
        .map(|(old, new)| backend_change(old, new))
        .max()
        .unwrap_or(Change::None);
    // Messages of report and conditions follow from the backends' own; they are minor by themselves.
    let texts = old.message != current.message || old.conditions != current.conditions;
    if texts {
        worst.max(Change::Minor)
    } else {
        worst
    }
}

fn backend_change(old: &ReportedBackend, new: &ReportedBackend) -> Change {
    if old == new {
        return Change::None;
    }
    let aside = |backend: &ReportedBackend| ReportedBackend {
        message: String::new(),
        reason: None,
        consecutive_failures: 0,
        ..backend.clone()
    };
    if aside(old) != aside(new) {
        return Change::Major;
    }
    let settled = old.reason == new.reason
        && old.consecutive_failures.min(new.consecutive_failures) >= EXACT_FAILURES;
    if settled {
        Change::Settled
    } else {
        Change::Minor
    }
}

/// Spaces writes out. One for each object that is written.
#[derive(Clone, Debug)]
pub struct Pacer {
    tokens: u32,
    refilled: Tick,
    last_write: Option<Tick>,
    /// Since when a major change waits.
    pending: Option<Tick>,
}

impl Pacer {
    #[must_use]
    pub const fn new(now: Tick) -> Self {
        Self {
            tokens: BUCKET,
            refilled: now,
            last_write: None,
            pending: None,
        }
    }

    /// Is `current` to be written over what is published? To be asked at each change and at the
    /// time that the last answer named.
    pub fn due(
        &mut self,
        published: Option<&Report>,
        current: &Report,
        now: Tick,
    ) -> PublishDecision {
        let due = match change(published, current) {
            Change::None => {
                self.pending = None;
                return PublishDecision::Nothing;
            }
            Change::Major => self.pending.get_or_insert(now).after(COALESCE),
            Change::Minor => self.after_last(MINOR_INTERVAL, now),
            Change::Settled => self.after_last(SETTLED_INTERVAL, now),
        };
        self.refill(now);
        let due = if self.tokens == 0 {
            due.max(self.refilled.after(REFILL))
        } else {
            due
        };
        if due <= now {
            PublishDecision::Now
        } else {
            PublishDecision::At(due)
        }
    }

    /// A write was made, or tried: both cost.
    pub fn wrote(&mut self, now: Tick) {
        self.refill(now);
        if self.tokens == BUCKET {
            self.refilled = now;
        }
        self.tokens = self.tokens.saturating_sub(1);
        self.last_write = Some(now);
        self.pending = None;
    }

    fn after_last(&self, interval: Duration, now: Tick) -> Tick {
        self.last_write.map_or(now, |at| at.after(interval))
    }

    fn refill(&mut self, now: Tick) {
        while self.tokens < BUCKET && now.since(self.refilled) >= REFILL {
            self.tokens += 1;
            self.refilled = self.refilled.after(REFILL);
        }
    }
}
