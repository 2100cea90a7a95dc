//! Where a call runs.
//!
//! Owns the choice between the task of whoever waits and one of its own. As long as somebody waits
//! for its first word, a call is driven by the waiter: no task is made and no other thread woken.
//! From the moment nobody waits, because it has begun to talk or because the client went away, it
//! goes on by itself: a client that leaves must not tear a handshake in two. Never ends a call.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Waker};

use futures::future::BoxFuture;

/// A call that has not ended.
pub struct Ride(Option<BoxFuture<'static, ()>>);

impl Ride {
    #[must_use]
    pub fn new(call: BoxFuture<'static, ()>) -> Self {
        Self(Some(call))
    }

    /// Drives the call until `word`, which only the call can give, is there.
    pub async fn until<F: Future>(&mut self, word: F) -> F::Output {
        let mut word = pin!(word);
        poll_fn(|cx| {
            let Some(call) = &mut self.0 else {
                return word.as_mut().poll(cx);
            };
            if call.as_mut().poll(cx).is_ready() {
                self.0 = None;
                return word.as_mut().poll(cx);
            }
            // The call was polled just now: it need not wake the task that it runs on, which would
            // then be run once more, by another thread.
            word.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, and so is the call.
        if let Some(call) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(call);
        }
    }
}

impl std::fmt::Debug for Ride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ride").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    /// R4.10: a call goes on when its waiter leaves, and is over when it has ended before.
    #[tokio::test]
    async fn a_call_outlives_its_waiter_but_not_its_end() {
        let (go, waits) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let call = async move {
            let _ = waits.await;
            let _ = done.send(());
        };
        let mut ride = Ride::new(call.boxed());

        let word = ride.until(std::future::pending::<()>()).now_or_never();
        assert_eq!(word, None, "nothing was said yet");
        drop(ride);
        go.send(()).unwrap();

        ended.await.unwrap();
    }

    /// The waiter's own task drives the call: its word comes without another task.
    #[test]
    fn a_call_that_can_go_on_needs_no_runtime() {
        let (say, word) = oneshot::channel();
        let call = async move {
            let _ = say.send(7);
        };

        let heard = Ride::new(call.boxed()).until(word).now_or_never();

        assert_eq!(heard, Some(Ok(7)));
    }
}
