//! A future that wakes itself is polled again at once.
//!
//! Owns the waker that tells the two cases apart: woken while it is polled, or later. hyper hands a
//! request's body from one half of a connection to the other by waking the task that both run in.
//! The runtime would queue that task anew each time and wake another thread to steal it, several
//! times a request. Never polls without end: after a few turns others have theirs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Nobody polls: whoever wakes first wakes the task.
const RESTING: u8 = 0;
const POLLED: u8 = 1;
/// Will be polled again.
const WOKEN: u8 = 2;

/// A request takes three.
const TURNS: usize = 8;

#[derive(Debug)]
pub(super) struct Again<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl<F> Again<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell {
            state: AtomicU8::new(RESTING),
            task: AtomicWaker::new(),
        });
        Self {
            future,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }
}

impl<F: Future + Unpin> Future for Again<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.bell.task.register(cx.waker());
        for _ in 0..TURNS {
            // Swapped on both sides: the poll sees all that was done before the wake that it misses.
            this.bell.state.swap(POLLED, Ordering::AcqRel);
            let mut own = Context::from_waker(&this.waker);
            if let Poll::Ready(output) = Pin::new(&mut this.future).poll(&mut own) {
                return Poll::Ready(output);
            }
            let rests = this.bell.state.compare_exchange(
                POLLED,
                RESTING,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if rests.is_ok() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == RESTING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A future that wakes itself at so many polls, then waits; and how often its task was woken.
    fn polled(wakes: usize) -> (usize, usize) {
        let mut polls = 0;
        let count = Arc::new(Count::default());
        {
            let future = pin!(poll_fn(|cx| {
                polls += 1;
                if polls <= wakes {
                    cx.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            }));
            let mut again = Again::new(future);
            let waker = Waker::from(Arc::clone(&count));
            let ended = Pin::new(&mut again).poll(&mut Context::from_waker(&waker));
            assert!(ended.is_pending());
        }
        (polls, count.0.load(Ordering::Relaxed))
    }

    #[test]
    fn what_wakes_itself_is_polled_at_once_and_its_task_left_alone() {
        let (polls, woken) = polled(3);

        assert_eq!((polls, woken), (4, 0));
    }

    #[test]
    fn what_wakes_itself_without_end_gives_way_to_others() {
        let (polls, woken) = polled(usize::MAX);

        assert_eq!((polls, woken), (TURNS, 1));
    }

    #[tokio::test]
    async fn what_is_woken_later_wakes_its_task() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let waits = tokio::spawn(Again::new(told));
        tokio::task::yield_now().await;

        tell.send(7).unwrap();

        assert_eq!(waits.await.unwrap(), Ok(7));
    }
}
