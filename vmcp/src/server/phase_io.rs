//! The clocks of a client connection.
//!
//! Owns the deadlines from the first byte of a request head to its last, and from one request to
//! the next. hyper has one timer for both, where we owe clients 5 s for the one and 120 s for the
//! other, and it makes that timer anew for each request. Looks at the first bytes of a connection
//! only, which tell the version of HTTP.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// First bytes of an HTTP/2 connection; no method of HTTP/1 can begin like this.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

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

/// A stream whose reads fail once a request head has taken too long, or the client has been silent
/// for too long.
#[derive(Debug)]
pub struct PhaseIo<S> {
    inner: S,
    serving: Serving,
    limits: Clocks,
    /// What was read ahead to tell the versions of HTTP apart.
    ahead: Ahead,
    version: Option<Version>,
    phase: Phase,
    /// Requests begun when the clock was looked at last: a head that has become a request since
    /// then is complete, even if no read happened while it was served.
    seen: usize,
    /// One for all phases. It may ring too early, never too late: setting it for each request would
    /// cost more than a look at the clock now and then.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// From one request to the next. Of HTTP/1 only: its connection can be cut at once, while one of
    /// HTTP/2 says goodbye first.
    pub idle: Duration,
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come since the last answer. The end of patience, once somebody waits.
    Idle(Option<Instant>),
    /// A head has begun.
    Head(Option<Instant>),
    Serving,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    bytes: [u8; HTTP2_PREFACE.len()],
    from: usize,
    to: usize,
}

impl<S> PhaseIo<S> {
    pub fn new(inner: S, serving: Serving, limits: Clocks) -> Self {
        Self {
            inner,
            serving,
            limits,
            ahead: Ahead::default(),
            version: None,
            phase: Phase::Idle(None),
            seen: 0,
            alarm: None,
        }
    }

    fn look(&mut self) {
        let begun = self.serving.begun();
        if !self.serving.is_idle() {
            self.phase = Phase::Serving;
        } else if begun != self.seen || self.phase == Phase::Serving {
            self.phase = Phase::Idle(None);
        }
        self.seen = begun;
    }

    fn arrived(&mut self, bytes: usize) {
        // Frames between requests are no heads; the first request still has its clock.
        let may_be_head = self.version != Some(Version::Http2) || self.seen == 0;
        if bytes > 0 && may_be_head && matches!(self.phase, Phase::Idle(_)) {
            self.phase = Phase::Head(None);
        }
    }

    /// Ready when the client has used up its time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (deadline, limit) = match &mut self.phase {
            Phase::Head(deadline) => (deadline, self.limits.head),
            Phase::Idle(deadline) if self.version != Some(Version::Http2) => {
                (deadline, self.limits.idle)
            }
            Phase::Idle(_) | Phase::Serving => return Poll::Pending,
        };
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
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
}

impl<S: AsyncRead + Unpin> PhaseIo<S> {
    /// Reads as much as tells the versions of HTTP apart; the first request still sees it.
    ///
    /// # Errors
    /// Those of reading. An end of the stream is none: what follows sees it.
    pub async fn version(&mut self) -> io::Result<Version> {
        let mut ahead = Ahead::default();
        let version = loop {
            let read = &ahead.bytes[..ahead.to];
            if !HTTP2_PREFACE.starts_with(read) {
                break Version::Http1;
            }
            if read.len() == HTTP2_PREFACE.len() {
                break Version::Http2;
            }
            match self.read(&mut ahead.bytes[ahead.to..]).await? {
                0 => break Version::Http1,
                more => ahead.to += more,
            }
        };
        self.ahead = ahead;
        self.version = Some(version);
        Ok(version)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PhaseIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(ahead) = this.ahead.take(buf.remaining()) {
            buf.put_slice(ahead);
            return Poll::Ready(Ok(()));
        }
        this.look();
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.arrived(buf.filled().len() - before);
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(this.poll_late(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl Ahead {
    fn take(&mut self, at_most: usize) -> Option<&[u8]> {
        let to = self.to.min(self.from.saturating_add(at_most));
        let bytes = self.bytes.get(self.from..to)?;
        self.from = to;
        Some(bytes).filter(|bytes| !bytes.is_empty())
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
mod tests;
