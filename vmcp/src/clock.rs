//! The one place with a clock and with randomness.
//!
//! Owns the origin of [`Tick`]s and the source of jitter. Everything else takes time and jitter as
//! arguments. Ticks follow `tokio`'s clock, so that tests on paused time drive the whole program;
//! wall time is read once, at the start, and only ever shown to people.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use vmcp_core::backoff::Jitter;
use vmcp_core::time::Tick;

/// Origin of the ticks: far enough from zero that "an hour before the start" is a tick too.
const ORIGIN_OFFSET: Duration = Duration::from_secs(24 * 3600);

/// Monotonic time since the start of the program, and what the wall said then.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_origin: SystemTime,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            wall_origin: SystemTime::now(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Tick {
        Tick::default().after(ORIGIN_OFFSET + self.origin.elapsed())
    }

    /// The instant of a tick; the origin for ticks before it.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> Instant {
        self.origin + tick.since(Tick::default().after(ORIGIN_OFFSET))
    }

    /// Milliseconds since the Unix epoch at a tick, for people and for status fields.
    #[must_use]
    pub fn unix_ms(&self, tick: Tick) -> i64 {
        let start = self
            .wall_origin
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let origin = i64::try_from(start.as_millis()).unwrap_or(i64::MAX);
        let offset = i64::try_from(ORIGIN_OFFSET.as_millis()).unwrap_or(i64::MAX);
        let tick = i64::try_from(tick.0).unwrap_or(i64::MAX);
        origin.saturating_sub(offset).saturating_add(tick)
    }

    /// Seconds since the Unix epoch at a tick, as Prometheus wants them.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of this age fit in 53 bits"
    )]
    pub fn unix_seconds(&self, tick: Tick) -> f64 {
        self.unix_ms(tick) as f64 / 1000.0
    }
}

/// Jitter: spread, not secrecy.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Default for Dice {
    fn default() -> Self {
        // The standard library seeds its hash maps from the operating system.
        Self(AtomicU64::new(
            RandomState::new().build_hasher().finish() | 1,
        ))
    }
}

impl Dice {
    /// The next value, uniform in 0.0..1.0.
    #[expect(clippy::cast_precision_loss, reason = "the value has 53 bits")]
    pub fn roll(&self) -> Jitter {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        Jitter::new(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ticks_follow_paused_time_and_lead_back_to_their_instant() {
        let clock = Clock::start();
        let before = clock.now();

        tokio::time::advance(Duration::from_secs(7)).await;

        let after = clock.now();
        assert_eq!(after.since(before), Duration::from_secs(7));
        assert_eq!(clock.instant(after), Instant::now());
        assert_eq!(clock.unix_ms(after) - clock.unix_ms(before), 7000);
    }
}
