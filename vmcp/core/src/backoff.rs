//! When to try again.
//!
//! Owns the published schedules: of checks (api.md, Health cadence) and of our own start attempts
//! (R1.3). Never ends: the delay is capped and there is always a next one (R4.4).

use std::time::Duration;

use crate::id::BackendId;

/// First retry after a failed check; doubles with each further failure.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Retries of a failed check are never further apart.
pub const SLOWEST_RETRY: Duration = Duration::from_secs(10);
/// Least time between two checks of one backend that events asked for.
pub const WAKE_INTERVAL: Duration = Duration::from_secs(1);
/// Start attempts at the short distance.
pub const SHORT_ATTEMPTS: u32 = 5;
pub const SHORT_ATTEMPT_DELAY: Duration = Duration::from_secs(30);
pub const LONG_ATTEMPT_DELAY: Duration = Duration::from_secs(300);
/// `Retry-After` is obeyed up to this.
pub const MAX_RETRY_AFTER: Duration = crate::limits::RETRY_AFTER;
/// A longer period is no health check; the bound also keeps the arithmetic from overflowing.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(86_400);
/// A healthy backend is checked each period, give or take a tenth.
const SPREAD_PERCENT: u32 = 10;

/// A random number that the caller drew, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Jitter(f64);

impl Jitter {
    /// Neither early nor late.
    pub const NONE: Self = Self(0.5);

    /// Out of range is clamped; what is no number counts as [`Jitter::NONE`].
    #[must_use]
    pub const fn new(value: f64) -> Self {
        if value.is_nan() {
            Self::NONE
        } else {
            Self(value.clamp(0.0, 1.0))
        }
    }

    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// From the end of one check to the next: after failures 1 s, 2 s, 4 s, 8 s, then every 10 s, never
/// slower than the period; else the period, give or take a tenth.
#[must_use]
pub fn probe_delay(consecutive_failures: u32, period: Duration, jitter: Jitter) -> Duration {
    match consecutive_failures.checked_sub(1) {
        None => period.min(LONGEST_PERIOD).mul_f64(spread(jitter)),
        Some(doublings) => {
            let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
            FIRST_RETRY
                .saturating_mul(factor)
                .min(SLOWEST_RETRY)
                .min(period)
        }
    }
}

/// From a failed start attempt to the next: 30 s five times, then 300 s, for ever. `attempt` counts
/// from 1.
#[must_use]
pub const fn attempt_delay(attempt: u32) -> Duration {
    if attempt <= SHORT_ATTEMPTS {
        SHORT_ATTEMPT_DELAY
    } else {
        LONG_ATTEMPT_DELAY
    }
}

/// Where in a period the checks of this backend lie, so that no two tick together. The same in each
/// replica and after each restart.
#[must_use]
pub fn start_offset(id: &BackendId, period: Duration) -> Duration {
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(fnv(id) % millis)
}

fn spread(jitter: Jitter) -> f64 {
    let spread = f64::from(SPREAD_PERCENT) / 100.0;
    1.0 - spread + 2.0 * spread * jitter.get()
}

/// FNV-1a: fixed for all time, unlike the hasher of the standard library.
fn fnv(id: &BackendId) -> u64 {
    let bytes = id.name.0.bytes().chain([b'/']).chain(id.uid.0.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
