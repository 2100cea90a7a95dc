//! Counters and histograms without a registry.
//!
//! Owns the arithmetic only. Exists because a metric that registers itself somewhere global cannot
//! vanish together with the backend that it speaks of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::gateway::meter::RequestKind;
use crate::near::PerLane;

/// Upper bounds for requests: lists are answered from memory in microseconds.
pub(super) const REQUEST_BOUNDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0, 300.0,
];

/// Counters by two labels whose values are all known words.
#[derive(Debug, Default)]
pub struct Counts(PerLane<Mutex<BTreeMap<(&'static str, &'static str), u64>>>);

impl Counts {
    pub fn add(&self, first: &'static str, second: &'static str) {
        let counts = self.0.here();
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((first, second)).or_default() += 1;
    }

    /// All counters, sorted by label.
    pub fn all(&self) -> Vec<((&'static str, &'static str), u64)> {
        let mut all = BTreeMap::<_, u64>::new();
        for counts in self.0.iter() {
            let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (labels, count) in counts.iter() {
                *all.entry(*labels).or_default() += count;
            }
        }
        all.into_iter().collect()
    }
}

/// A histogram of durations with fixed bounds in seconds.
#[derive(Debug)]
pub struct Times {
    bounds: &'static [f64],
    lanes: PerLane<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    /// One for each bound; what is above the last is in the total only.
    counts: Box<[AtomicU64]>,
    total: AtomicU64,
    sum_micros: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct TimesView {
    /// Upper bound in seconds and the cumulative count.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub sum: f64,
}

impl Times {
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            lanes: PerLane::default(),
        }
    }

    pub fn observe(&self, took: Duration) {
        let buckets = self.lanes.here_or(|| Buckets {
            counts: self.bounds.iter().map(|_| AtomicU64::new(0)).collect(),
            total: AtomicU64::new(0),
            sum_micros: AtomicU64::new(0),
        });
        let seconds = took.as_secs_f64();
        let at = self.bounds.iter().position(|bound| seconds <= *bound);
        if let Some(count) = at.and_then(|at| buckets.counts.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        buckets.sum_micros.fetch_add(micros, Ordering::Relaxed);
        buckets.total.fetch_add(1, Ordering::Relaxed);
    }

    pub fn view(&self) -> TimesView {
        let sum_of = |of: &dyn Fn(&Buckets) -> u64| self.lanes.iter().map(of).sum::<u64>();
        let mut cumulative = 0;
        let buckets = self.bounds.iter().enumerate().map(|(at, bound)| {
            cumulative += sum_of(&|lane| lane.counts[at].load(Ordering::Relaxed));
            (*bound, cumulative)
        });
        let buckets: Vec<_> = buckets.collect();
        let total = sum_of(&|lane| lane.total.load(Ordering::Relaxed));
        let micros = sum_of(&|lane| lane.sum_micros.load(Ordering::Relaxed));
        TimesView {
            buckets,
            count: total.max(cumulative),
            sum: Duration::from_micros(micros).as_secs_f64(),
        }
    }
}

/// Histograms of requests, by kind; those that were needed.
#[derive(Debug, Default)]
pub struct Kinds([OnceLock<Times>; RequestKind::ALL.len()]);

const _: () = assert!(RequestKind::Other as usize + 1 == RequestKind::ALL.len());

impl Kinds {
    pub fn observe(&self, kind: RequestKind, took: Duration) {
        self.0[kind as usize]
            .get_or_init(|| Times::new(REQUEST_BOUNDS))
            .observe(took);
    }

    pub fn all(&self) -> impl Iterator<Item = (RequestKind, &Times)> {
        let kinds = RequestKind::ALL.into_iter().zip(&self.0);
        kinds.filter_map(|(kind, times)| Some((kind, times.get()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_the_largest_times_count_in_the_total_only() {
        let times = Times::new(&[0.1, 1.0]);

        for millis in [50, 100, 500, 5000] {
            times.observe(Duration::from_millis(millis));
        }

        let view = times.view();
        assert_eq!(view.buckets, [(0.1, 2), (1.0, 3)]);
        assert_eq!(view.count, 4);
        assert!((view.sum - 5.65).abs() < 1e-6);
    }
}
