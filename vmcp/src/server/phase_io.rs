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

/// Requests being served on one connection. While it is zero, bytes that arrive are a head.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<AtomicUsize>);

/// Counts one request until it is dropped with the last byte of its answer.
#[derive(Debug)]
pub struct ServingGuard(Arc<AtomicUsize>);

impl Serving {
    #[must_use]
    pub fn begin(&self) -> ServingGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        ServingGuard(Arc::clone(&self.0))
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for ServingGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose reads fail once a request head has taken too long.
#[derive(Debug)]
pub struct PhaseIo<S> {
    inner: S,
    serving: Serving,
    limit: Duration,
    head: Option<Pin<Box<Sleep>>>,
}

impl<S> PhaseIo<S> {
    pub fn new(inner: S, serving: Serving, limit: Duration) -> Self {
        Self {
            inner,
            serving,
            limit,
            head: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PhaseIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.serving.is_idle() {
            self.head = None;
        }
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(result) => {
                if self.head.is_none() && self.serving.is_idle() {
                    let deadline = Instant::now() + self.limit;
                    self.head = Some(Box::pin(tokio::time::sleep_until(deadline)));
                }
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
}
