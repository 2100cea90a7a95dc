//! The clocks of a client connection.
//!
//! Owns the deadlines from the first byte of a request head to its last, and from one request to
//! the next. hyper has one timer for both, where we owe clients 5 s for the one and 120 s for the
//! other, and it makes that timer anew for each request. Looks at the first bytes of a connection
//! only, which tell the version of HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::alarm::{Alarm, poll_alarm};

/// First bytes of an HTTP/2 connection; no method of HTTP/1 can begin like this.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// Requests of one connection: while none is served, bytes that arrive are a head.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    active: AtomicUsize,
    begun: AtomicUsize,
    /// A head has begun and not become a request.
    head: AtomicBool,
    /// The client does not take what is written.
    blocked: AtomicBool,
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

    /// Nothing is under way in either direction, not even half a head.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let Counts { head, blocked, .. } = &*self.0;
        self.is_idle() && !head.load(Ordering::Relaxed) && !blocked.load(Ordering::Relaxed)
    }

    /// Requests so far.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let blocked = written.is_pending();
        self.0.blocked.store(blocked, Ordering::Relaxed);
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
    ahead: Bytes,
    version: Option<Version>,
    phase: Phase,
    /// Requests begun when the clock was looked at last: a head that has become a request since
    /// then is complete, even if no read happened while it was served.
    seen: usize,
    /// One for all phases.
    alarm: Option<Alarm>,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// From an answer to the next request. Of HTTP/1 only: its connection can be cut at once, while
    /// one of HTTP/2 says goodbye first.
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
    /// Nothing has come since the last answer. When that was, once somebody waits.
    Idle(Option<Instant>),
    /// A head has begun. When that was, once somebody waits.
    Head(Option<Instant>),
    Serving,
}

impl<S> PhaseIo<S> {
    pub fn new(inner: S, serving: Serving, limits: Clocks) -> Self {
        Self {
            inner,
            serving,
            limits,
            ahead: Bytes::new(),
            version: None,
            phase: Phase::Idle(None),
            seen: 0,
            alarm: None,
        }
    }

    fn look(&mut self) {
        let begun = self.serving.begun();
        if !self.serving.is_idle() {
            self.enter(Phase::Serving);
        } else if begun != self.seen || self.phase == Phase::Serving {
            self.enter(Phase::Idle(None));
        }
        self.seen = begun;
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let is_head = matches!(phase, Phase::Head(_));
        self.serving.0.head.store(is_head, Ordering::Relaxed);
    }

    fn arrived(&mut self, bytes: usize) {
        // Frames between requests are no heads; the first request still has its clock.
        let may_be_head = self.version != Some(Version::Http2) || self.seen == 0;
        if bytes > 0 && may_be_head && matches!(self.phase, Phase::Idle(_)) {
            self.enter(Phase::Head(None));
        }
    }

    /// Ready when the client has used up its time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limits = self.limits;
        match &mut self.phase {
            Phase::Head(since) => {
                let since = *since.get_or_insert_with(Instant::now);
                poll_alarm(&mut self.alarm, since + limits.head, cx)
            }
            Phase::Idle(since) if self.version != Some(Version::Http2) => {
                let since = *since.get_or_insert_with(Instant::now);
                poll_alarm(&mut self.alarm, since + limits.idle, cx)
            }
            Phase::Idle(_) | Phase::Serving => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> PhaseIo<S> {
    /// Waits for the first bytes, and reads as many as tell the versions of HTTP apart; the request
    /// still sees them. A connection that has said its version keeps it.
    ///
    /// # Errors
    /// Those of reading. An end of the stream is none: what follows sees it.
    pub async fn version(&mut self) -> io::Result<Version> {
        let (mut bytes, mut length) = ([0; HTTP2_PREFACE.len()], 0);
        let version = loop {
            let read = &bytes[..length];
            let begun = !read.is_empty() || !self.ahead.is_empty();
            if let Some(version) = self.version.filter(|_| begun) {
                break version;
            }
            if !HTTP2_PREFACE.starts_with(read) {
                break Version::Http1;
            }
            if read.len() == HTTP2_PREFACE.len() {
                break Version::Http2;
            }
            match self.read(&mut bytes[length..]).await? {
                0 => break Version::Http1,
                more => length += more,
            }
        };
        if length > 0 {
            self.ahead = Bytes::copy_from_slice(&bytes[..length]);
        }
        self.version = Some(version);
        Ok(version)
    }

    /// Goes on where HTTP left off: idle since then, or with what was read of the next head.
    pub fn go_on(&mut self, since: Instant, read: Bytes) {
        self.look();
        if read.is_empty() {
            // Dropped: bytes without length hold the buffer that they were cut from.
            self.enter(Phase::Idle(Some(since)));
        } else {
            self.enter(Phase::Head(Some(since)));
            self.ahead = read;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PhaseIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ahead.is_empty() {
            let at_most = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(at_most));
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

impl<S: AsyncWrite + Unpin> AsyncWrite for PhaseIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.serving.wrote(&written);
        written
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
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.serving.wrote(&written);
        written
    }
}

#[cfg(test)]
mod tests;
