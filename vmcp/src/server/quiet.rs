//! A future that is looked at only when it was woken itself.
//!
//! Owns nothing but that. A connection waits for its bytes and, all its life, for orders that
//! hardly ever come; without this each of its bytes would cost a look for orders, which takes locks
//! that all connections share.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

#[derive(Debug)]
pub(super) struct Quiet<F> {
    future: F,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl<F> Quiet<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Bell {
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        };
        Self {
            future,
            bell: Arc::new(bell),
        }
    }
}

impl<F: Future + Unpin> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // In this order: what rings in between is heard now or wakes the task.
        self.bell.task.register(cx.waker());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.bell));
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_looked_at_when_it_rings_and_not_before() {
        let (ring, mut rings) = oneshot::channel();
        let mut looks = 0;
        let counted = pin!(std::future::poll_fn(|cx| {
            looks += 1;
            rings.poll_unpin(cx)
        }));
        let mut quiet = Quiet::new(counted);
        for _ in 0..3 {
            assert!(futures::poll!(&mut quiet).is_pending());
        }

        ring.send(7).unwrap();
        assert_eq!(quiet.await, Ok(7));

        assert_eq!(looks, 2);
    }
}
