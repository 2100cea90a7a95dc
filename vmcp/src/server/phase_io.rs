//! The header clock of a client connection.
//!
//! Owns the deadline from the first byte of a request head to its last. hyper has one timer for an
//! idle connection and for a half-sent head; we owe clients 120 s for the one and 5 s for the
//! other, so hyper's timer is the idle one and this wrapper is the head's. Never looks at bytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// First bytes of an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI";

/// Requests of one connection: while none is served, bytes that arrive are a head.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    active: AtomicUsize,
    begun: AtomicUsize,
}

/// Counts one request until it is dropped with the last byte of its answer.
#[derive(Debug)]
pub struct ServingGuard(Arc<Counts>);

impl Serving {
    #[must_use]
    pub fn begin(&self) -> ServingGuard {
        self.0.active.fetch_add(1, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        ServingGuard(Arc::clone(&self.0))
    }

    /// No request is being served.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.active.load(Ordering::Relaxed) == 0
    }

    /// Requests so far.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }
}

impl Drop for ServingGuard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose reads fail once a request head has taken too long.
#[derive(Debug)]
pub struct PhaseIo<S> {
    inner: S,
    serving: Serving,
    limit: Duration,
    head: Option<Pin<Box<Sleep>>>,
    /// Requests begun when the clock was looked at last: a head that has become a request since
    /// then is complete, even if no read happened while it was served.
    seen: usize,
    read_before: bool,
    /// Frames between requests are no heads there; the first request still has its clock.
    http2: bool,
}

impl<S> PhaseIo<S> {
    pub fn new(inner: S, serving: Serving, limit: Duration) -> Self {
        Self {
            inner,
            serving,
            limit,
            head: None,
            seen: 0,
            read_before: false,
            http2: false,
        }
    }

    fn look(&mut self) {
        let begun = self.serving.begun();
        if begun != self.seen || !self.serving.is_idle() {
            self.seen = begun;
            self.head = None;
        }
    }

    fn arrived(&mut self, bytes: &[u8]) {
        if !self.read_before {
            self.read_before = true;
            self.http2 = bytes.starts_with(HTTP2_PREFACE);
        }
        let may_be_head = self.serving.is_idle() && !(self.http2 && self.seen > 0);
        if self.head.is_none() && may_be_head {
            let deadline = Instant::now() + self.limit;
            self.head = Some(Box::pin(tokio::time::sleep_until(deadline)));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PhaseIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look();
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.arrived(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(result)
            }
            Poll::Pending => match &mut self.head {
                None => Poll::Pending,
                Some(timer) => {
                    ready!(timer.as_mut().poll(cx));
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PhaseIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Slow headers are cut off (limit "header read 5 s").
    #[tokio::test(start_paused = true)]
    async fn a_head_that_stalls_is_cut_after_the_limit() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = PhaseIo::new(server, Serving::default(), Duration::from_secs(5));
        let mut buf = [0_u8; 8];

        client.write_all(b"POST").await.unwrap();
        assert_eq!(io.read(&mut buf).await.unwrap(), 4);
        let started = Instant::now();
        let error = io.read(&mut buf).await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_no_head_deadline() {
        let (_client, server) = tokio::io::duplex(64);
        let mut io = PhaseIo::new(server, Serving::default(), Duration::from_secs(5));
        let mut buf = [0_u8; 8];

        let read = tokio::time::timeout(Duration::from_secs(60), io.read(&mut buf)).await;

        assert!(read.is_err(), "still waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_being_served_stops_the_head_clock() {
        let (mut client, server) = tokio::io::duplex(64);
        let serving = Serving::default();
        let mut io = PhaseIo::new(server, serving.clone(), Duration::from_secs(5));
        let mut buf = [0_u8; 8];
        client.write_all(b"POST").await.unwrap();
        io.read_exact(&mut buf[..4]).await.unwrap();

        let _guard = serving.begin();
        let read = tokio::time::timeout(Duration::from_secs(60), io.read(&mut buf)).await;

        assert!(read.is_err(), "still waiting");
    }

    /// A request that was served between two reads has ended its head's clock.
    #[tokio::test(start_paused = true)]
    async fn an_answered_request_leaves_no_clock_on_the_idle_connection() {
        let (mut client, server) = tokio::io::duplex(64);
        let serving = Serving::default();
        let mut io = PhaseIo::new(server, serving.clone(), Duration::from_secs(5));
        let mut buf = [0_u8; 8];
        client.write_all(b"POST").await.unwrap();
        io.read_exact(&mut buf[..4]).await.unwrap();

        drop(serving.begin());
        let read = tokio::time::timeout(Duration::from_secs(60), io.read(&mut buf)).await;

        assert!(read.is_err(), "still waiting");
    }
}
