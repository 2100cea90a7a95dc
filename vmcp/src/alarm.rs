//! Deadlines that mostly do not come.
//!
//! Owns timers that are used again. Each call has deadlines and meets none of them: to set a timer for
//! each and to take it back costs more than to look now and then at one that was set for another call.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use crate::lanes;

/// Timers that lie ready on one lane; as many calls are seldom under way on one.
const KEPT: usize = 256;

thread_local! {
    static AT_REST: RefCell<Vec<Alarm>> = const { RefCell::new(Vec::new()) };
}

/// Wakes at a time, or before it.
pub type Alarm = Pin<Box<Sleep>>;

/// Ready at `deadline`, with an alarm that may be set to an earlier time: to set it for each request
/// would cost more than a look at the clock now and then.
pub fn poll_alarm(alarm: &mut Option<Alarm>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
    if alarm.deadline() > deadline {
        alarm.as_mut().reset(deadline);
    }
    loop {
        ready!(alarm.as_mut().poll(cx));
        if alarm.deadline() >= deadline {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(deadline);
    }
}

/// Resolves at a time. Dropped before, it leaves its timer to the next on its lane; elsewhere it is a
/// timer of its own.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    alarm: Option<Alarm>,
}

impl Deadline {
    #[must_use]
    pub const fn at(at: Instant) -> Self {
        Self { at, alarm: None }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.alarm.is_none() && lanes::here() > 0 {
            this.alarm = AT_REST.with_borrow_mut(Vec::pop);
        }
        poll_alarm(&mut this.alarm, this.at, cx)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if lanes::here() == 0 {
            return;
        }
        let Some(alarm) = self.alarm.take() else {
            return;
        };
        // The thread may be ending: then there is nobody to keep it for.
        let _ = AT_REST.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT {
                kept.push(alarm);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;
    use crate::lanes::Lanes;

    const SOON: Duration = Duration::from_millis(30);
    const LATE: Duration = Duration::from_secs(60);

    fn at_rest() -> usize {
        AT_REST.with_borrow(Vec::len)
    }

    /// Whatever a timer was set for before, a deadline is met when it comes and not before.
    #[tokio::test]
    async fn a_timer_that_is_used_again_keeps_the_time_of_its_user() {
        let lanes = Lanes::start().unwrap();
        let seat = lanes.seat();
        let task = async {
            for first in [LATE, SOON / 3] {
                let begun = Instant::now();
                // Asked once and not met: its timer is left.
                assert!(Deadline::at(begun + first).now_or_never().is_none());
                assert_eq!(at_rest(), 1);
                Deadline::at(begun + SOON).await;
                assert!(begun.elapsed() >= SOON);
                assert!(begun.elapsed() < LATE / 2);
                assert_eq!(at_rest(), 1, "the same one");
            }
        };
        seat.runtime().spawn(task).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn outside_of_lanes_each_has_its_own() {
        let begun = Instant::now();
        assert!(Deadline::at(begun + LATE).now_or_never().is_none());
        Deadline::at(begun + LATE).await;

        assert_eq!(begun.elapsed(), LATE);
        assert_eq!(at_rest(), 0);
    }
}
