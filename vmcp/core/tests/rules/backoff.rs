//! The published schedules.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use vmcp_core::backoff::{self, Jitter, attempt_delay, probe_delay, start_offset};
use vmcp_core::id::BackendId;

use crate::support::{MANY, cases};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

proptest! {
    #![proptest_config(cases(MANY))]

    /// R2.6, R4.4: bounded, never above the period after a failure, and always some way off.
    #[test]
    fn a_delay_is_bounded_and_never_zero(
        failures in prop_oneof![0_u32..20, any::<u32>()],
        period in 1_u64..100_000,
        jitter in any::<f64>(),
    ) {
        let period = seconds(period);
        let delay = probe_delay(failures, period, Jitter::new(jitter));

        prop_assert!(delay >= Duration::from_millis(900));
        if failures == 0 {
            let counted = period.min(backoff::LONGEST_PERIOD);
            prop_assert!(delay >= counted.mul_f64(0.9) && delay <= counted.mul_f64(1.1));
        } else {
            prop_assert!(delay <= period && delay <= backoff::SLOWEST_RETRY);
        }
    }

    /// R2.6: more failures never mean an earlier retry, and jitter does not touch retries.
    #[test]
    fn retries_are_monotone_and_exact(
        failures in 1_u32..100,
        period in 1_u64..4_000,
        one in any::<f64>(),
        two in any::<f64>(),
    ) {
        let period = seconds(period);
        let delay = probe_delay(failures, period, Jitter::new(one));

        prop_assert_eq!(delay, probe_delay(failures, period, Jitter::new(two)));
        prop_assert!(delay <= probe_delay(failures + 1, period, Jitter::new(one)));
    }

    /// R2.6: more jitter never means earlier.
    #[test]
    fn the_period_spreads_with_the_jitter(period in 1_u64..4_000, a in 0.0..1.0_f64, b in 0.0..1.0_f64) {
        let delay = |jitter| probe_delay(0, seconds(period), Jitter::new(jitter));

        prop_assert!(delay(a.min(b)) <= delay(a.max(b)));
        prop_assert_eq!(delay(0.5), seconds(period));
    }

    /// R1.3, R4.4: 30 s five times, then 300 s, for ever.
    #[test]
    fn start_attempts_never_end(attempt in any::<u32>()) {
        let expected = if attempt <= 5 { seconds(30) } else { seconds(300) };
        prop_assert_eq!(attempt_delay(attempt), expected);
    }

    /// R2.6: an offset lies inside the period and is always the same for the same backend.
    #[test]
    fn an_offset_lies_inside_the_period(name in "[a-z]{1,8}", uid in "[a-f0-9]{1,8}", period in 1_u64..4_000) {
        let id = BackendId::new(&name, &uid);
        let offset = start_offset(&id, seconds(period));

        prop_assert!(offset < seconds(period));
        prop_assert_eq!(offset, start_offset(&id.clone(), seconds(period)));
    }
}

/// R2.6: 1, 2, 4, 8, then every 10 s; with a shorter period never slower than that.
#[test]
fn the_published_schedule_is_exact() {
    let schedule = |period| -> Vec<u64> {
        (1..8)
            .map(|n| probe_delay(n, seconds(period), Jitter::NONE).as_secs())
            .collect()
    };

    assert_eq!(schedule(10), [1, 2, 4, 8, 10, 10, 10]);
    assert_eq!(schedule(60), [1, 2, 4, 8, 10, 10, 10]);
    assert_eq!(schedule(3), [1, 2, 3, 3, 3, 3, 3]);
    assert_eq!(schedule(1), [1, 1, 1, 1, 1, 1, 1]);
}

/// R1.3: the first ten attempts, one by one.
#[test]
fn the_published_attempts_are_exact() {
    let delays: Vec<u64> = (1..=10).map(|n| attempt_delay(n).as_secs()).collect();

    assert_eq!(delays, [30, 30, 30, 30, 30, 300, 300, 300, 300, 300]);
}

/// R2.6: no two of many backends tick together, to the hundredth of a second, as far as chance goes.
#[test]
fn backends_do_not_tick_together() {
    let offsets: HashSet<_> = (0..100)
        .map(|n| start_offset(&BackendId::new(&format!("backend-{n}"), "uid"), seconds(10)))
        .collect();

    assert!(offsets.len() >= 95, "{} different offsets", offsets.len());
    let early = offsets
        .iter()
        .filter(|offset| **offset < seconds(5))
        .count();
    assert!(
        (25..75).contains(&early),
        "{early} of 100 in the first half"
    );
}

/// A jitter that is no number counts as none; one out of range is clamped.
#[test]
fn a_jitter_is_always_between_nought_and_one() {
    assert_eq!(Jitter::new(f64::NAN), Jitter::NONE);
    assert_eq!(Jitter::new(f64::INFINITY).get(), 1.0);
    assert_eq!(Jitter::new(-3.0).get(), 0.0);
}
