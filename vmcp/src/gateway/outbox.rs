//! Streams towards the client of a legacy session.
//!
//! Owns who waits for the next event of which stream. What was said, what is kept of it and who may
//! read on is the log's ([`vmcp_core::replay`]). The writer never waits for the reader: one that
//! does not read is cut off, and comes back by `Last-Event-ID`.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use vmcp_core::limits;
use vmcp_core::mcp::ProtocolVersion;
use vmcp_core::replay::{Keeps, Log, Next, Packed, Reading, ResumeError};
use vmcp_core::time::Tick;

use super::message::{EventKind, Messages, ServerEvent};

/// All streams of one session.
#[derive(Debug)]
pub struct Outbox {
    /// Its clients understand an event without data at the head of a stream (SEP-1699).
    priming: bool,
    keeps: Keeps,
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log<Bytes>,
    /// Who waits for the next event of a stream.
    waiting: HashMap<u64, Waker>,
    /// The stream of what belongs to no call.
    standing: Option<u64>,
    closed: bool,
}

/// What was said, for the replica that the session moves to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandedStreams {
    said: Packed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<u64>,
}

/// The writing end of a stream, which ends when this is dropped.
#[derive(Debug)]
pub struct StreamWriter {
    outbox: Arc<Outbox>,
    stream: u64,
}

/// A stream that goes on.
pub enum Resumed {
    /// Ends with the response.
    Call(Messages),
    /// What belongs to no call.
    Standing(Messages),
}

impl fmt::Debug for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call(_) => "Call",
            Self::Standing(_) => "Standing",
        })
    }
}

impl Outbox {
    /// For a client of this revision.
    #[must_use]
    pub fn new(version: ProtocolVersion) -> Self {
        let keeps = if version == ProtocolVersion::V2024_11_05 {
            Keeps::Unread
        } else {
            Keeps::Read
        };
        Self {
            priming: version >= ProtocolVersion::V2025_11_25,
            keeps,
            origin: Instant::now(),
            state: Mutex::new(State {
                log: Log::new(log_id(), keeps),
                waiting: HashMap::new(),
                standing: None,
                closed: false,
            }),
        }
    }

    /// A new stream.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> (StreamWriter, Messages) {
        let now = self.now();
        let mut state = self.lock();
        let reading = state.log.open(now);
        if self.priming {
            state.log.push(reading.stream, Bytes::new(), 0, now);
        }
        if state.closed {
            state.log.clear();
        }
        drop(state);
        let writer = StreamWriter {
            outbox: Arc::clone(self),
            stream: reading.stream,
        };
        (writer, self.reader(reading))
    }

    /// What follows after this event on its stream, whoever read it until now.
    ///
    /// # Errors
    /// When that is not known any more, or not without a gap.
    pub fn resume(self: &Arc<Self>, last_event_id: &str) -> Result<Resumed, ResumeError> {
        let mut state = self.lock();
        let reading = state.log.resume(last_event_id)?;
        state.wake(reading.stream);
        let is_standing = state.standing == Some(reading.stream);
        drop(state);
        let messages = self.reader(reading);
        Ok(if is_standing {
            Resumed::Standing(messages)
        } else {
            Resumed::Call(messages)
        })
    }

    /// The stream of what belongs to no call. A newer reader replaces the one before: a client has
    /// one, and where there seem to be two, the older connection is dead and does not know it yet.
    #[must_use]
    pub fn standing(self: &Arc<Self>) -> Messages {
        let now = self.now();
        let mut state = self.lock();
        let known = state.standing.and_then(|stream| state.log.join(stream));
        let reading = known.unwrap_or_else(|| state.log.open(now));
        state.standing = Some(reading.stream);
        if self.priming {
            state.log.push(reading.stream, Bytes::new(), 0, now);
        }
        if state.closed {
            state.log.clear();
        }
        state.wake(reading.stream);
        drop(state);
        self.reader(reading)
    }

    /// Says something that belongs to no call. `false`: nobody listens, nor may come back to.
    pub fn push_standing(&self, message: Bytes) -> bool {
        let now = self.now();
        let mut state = self.lock();
        match state.standing {
            Some(stream) if state.log.is_awaited(stream, now) => state.push(stream, message, now),
            _ => false,
        }
    }

    /// Drops what is too old. To be called now and then.
    pub fn sweep(&self) {
        let now = self.now();
        let mut state = self.lock();
        if !state.log.is_empty() {
            state.log.expire(now);
            state.wake_all();
        }
    }

    /// What was said and may be asked for once more. `None`: nothing.
    pub(super) fn pack(&self) -> Option<HandedStreams> {
        let state = self.lock();
        let said = state.log.pack(limits::HANDED_REPLAY);
        (!said.is_empty()).then_some(HandedStreams {
            said,
            standing: state.standing,
        })
    }

    /// What was said at the replica that the session comes from. Nothing where something was said
    /// here already.
    pub(super) fn unpack(&self, handed: HandedStreams) {
        let now = self.now();
        let mut state = self.lock();
        if state.log.is_empty() && !state.closed {
            state.log = Log::unpack(handed.said, handed.standing, self.keeps, now);
            state.standing = handed.standing;
        }
    }

    /// Ends every stream for good.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.log.clear();
        state.wake_all();
    }

    fn reader(self: &Arc<Self>, reading: Reading) -> Messages {
        Box::pin(Reader {
            outbox: Arc::clone(self),
            reading,
        })
    }

    fn now(&self) -> Tick {
        Tick::default().after(self.origin.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, stream: u64, message: Bytes, now: Tick) -> bool {
        let bytes = message.len();
        let taken = self.log.push(stream, message, bytes, now);
        self.wake(stream);
        taken
    }

    fn wake(&mut self, stream: u64) {
        if let Some(waker) = self.waiting.remove(&stream) {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        for (_, waker) in self.waiting.drain() {
            waker.wake();
        }
    }
}

impl StreamWriter {
    /// `false`: nobody will ever read it.
    pub fn send(&self, message: Bytes) -> bool {
        let now = self.outbox.now();
        self.outbox.lock().push(self.stream, message, now)
    }

    /// Cuts off a reader that has not read for long. To be called now and then.
    pub(super) fn sweep(&self) {
        self.outbox.sweep();
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        state.log.end(self.stream);
        state.wake(self.stream);
    }
}

/// The reading end of a stream.
struct Reader {
    outbox: Arc<Outbox>,
    reading: Reading,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({:?})", self.reading)
    }
}

impl Stream for Reader {
    type Item = ServerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        let mut state = self.outbox.lock();
        match state.log.next(self.reading) {
            Next::Event(id, data) => Poll::Ready(Some(ServerEvent {
                kind: EventKind::Message,
                id: Some(id.to_string().into()),
                data,
            })),
            Next::Pending => {
                let waker = cx.waker().clone();
                state.waiting.insert(self.reading.stream, waker);
                Poll::Pending
            }
            Next::End => Poll::Ready(None),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let now = self.outbox.now();
        let mut state = self.outbox.lock();
        if state.log.leave(self.reading, now) {
            state.waiting.remove(&self.reading.stream);
        }
    }
}

/// Two logs of one session are never made in the same microsecond: between them a replica or a
/// table entry dies.
fn log_id() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
