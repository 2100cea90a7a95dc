//! A connection that is driven by whoever waits on it.
//!
//! Owns hyper's side of one HTTP/1.1 connection between calls and during one. Nothing runs it but
//! the task of the call, so that a reply wakes one task and not two. Nobody looks at it while it lies
//! idle: whoever takes it up has to ask whether it still is open. Knows no request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use super::stream::Stream;

pub(super) type Connection = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// So often a poll is repeated that woke itself; then others get their turn.
const ROUNDS: usize = 16;

/// A connection without a task of its own.
#[derive(Debug)]
pub(super) struct Attended {
    /// `None` once it has ended.
    connection: Option<Box<Connection>>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl Attended {
    pub(super) fn new(connection: Connection) -> Self {
        let bell = Arc::new(Bell::default());
        Self {
            connection: Some(Box::new(connection)),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Drives the connection until `wait`, which it alone can bring on, is over. May be dropped and
    /// asked again. When the connection ends, `wait` is asked once more and has to end with it.
    pub(super) fn until<F: Future>(&mut self, wait: F) -> Until<'_, F> {
        Until {
            attended: self,
            wait,
        }
    }

    /// Takes in what has happened since somebody last looked. `true`: it is open.
    pub(super) fn look(&mut self) -> bool {
        self.bell.forget();
        self.bell.hush();
        self.drive();
        self.bell.rang();
        self.connection.is_some()
    }

    fn drive(&mut self) {
        let mut own = Context::from_waker(&self.waker);
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(ended) = Pin::new(connection).poll(&mut own)
        {
            if let Err(error) = ended {
                tracing::trace!(%error, "backend connection ended");
            }
            // Whoever waits for something of it is told by this that it will not come.
            self.connection = None;
            self.bell.ring();
        }
    }
}

pin_project! {
    /// See [`Attended::until`]. Not `async`: that would have room for `wait` twice.
    pub(super) struct Until<'a, F> {
        attended: &'a mut Attended,
        #[pin]
        wait: F,
    }
}

impl<F: Future> Future for Until<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let attended = &mut **this.attended;
        attended.bell.task.register(cx.waker());
        for _ in 0..ROUNDS {
            attended.bell.hush();
            let mut own = Context::from_waker(&attended.waker);
            if let Poll::Ready(output) = this.wait.as_mut().poll(&mut own) {
                attended.bell.forget();
                return Poll::Ready(output);
            }
            attended.drive();
            if !attended.bell.rang() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Nobody is polling.
const QUIET: u8 = 0;
/// Somebody is polling, and will look whether it rang.
const HUSHED: u8 = 1;
/// It rang meanwhile.
const RANG: u8 = 2;

/// Wakes the task that waits, unless that is running anyway: what one half of a poll brings on for
/// the other needs no scheduler.
#[derive(Debug, Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Bell {
    fn forget(&self) {
        self.state.store(QUIET, Ordering::Release);
        self.task.take();
    }

    fn hush(&self) {
        self.state.store(HUSHED, Ordering::Release);
    }

    /// Ends the hush.
    fn rang(&self) -> bool {
        self.state.swap(QUIET, Ordering::AcqRel) == RANG
    }

    fn ring(&self) {
        let hushed = self
            .state
            .compare_exchange(HUSHED, RANG, Ordering::AcqRel, Ordering::Acquire);
        if hushed == Err(QUIET) {
            self.task.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
