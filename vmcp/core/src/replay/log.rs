//! All streams of one session.

use std::collections::BTreeMap;

use super::stream::{Load, Stream};
use super::{EventId, Packed, ResumeError};
use crate::limits;
use crate::time::Tick;

/// The events of all streams of a session.
///
/// # Guarantees
/// * A reader gets every event from its position on, once and in order, or is told that it ended.
/// * Nobody is waited for: a reader that falls too far behind is cut off and may come back.
/// * What nobody reads is at most [`limits::REPLAY_EVENTS`] events and [`limits::REPLAY_BYTES`],
///   for [`limits::REPLAY_AGE`]; one event alone may be larger. The newest event of each stream is
///   dropped last: of a stream that has ended it is the response.
#[derive(Clone, Debug)]
pub struct Log<T> {
    id: u64,
    next_stream: u64,
    next_epoch: u64,
    streams: BTreeMap<u64, Stream<T>>,
    keeps: Keeps,
}

/// What becomes of an event that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Kept for a client that comes back.
    Read,
    /// Dropped: these clients cannot come back.
    Unread,
}

/// One reader of one stream. At most one is current; the others are told that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub stream: u64,
    epoch: u64,
}

/// What a reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<T> {
    Event(EventId, T),
    /// Nothing yet.
    Pending,
    /// Nothing any more, at least not for this reader.
    End,
}

impl<T: Clone> Log<T> {
    /// `id` must differ from that of every other log of the same session.
    #[must_use]
    pub const fn new(id: u64, keeps: Keeps) -> Self {
        Self {
            id,
            keeps,
            next_stream: 0,
            next_epoch: 0,
            streams: BTreeMap::new(),
        }
    }

    /// A new stream and its first reader.
    pub fn open(&mut self, now: Tick) -> Reading {
        let stream = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(stream, Stream::new(now));
        self.attach(stream, 1)
    }

    /// Says something. `false`: the stream is gone.
    pub fn push(&mut self, stream: u64, item: T, bytes: usize, now: Tick) -> bool {
        let Some(found) = self.streams.get_mut(&stream) else {
            return false;
        };
        found.push(item, bytes, now);
        if found.is_read() && is_behind(found.unread()) {
            found.detach(now);
        }
        self.fit();
        true
    }

    /// Somebody reads the stream, or may come back to it.
    #[must_use]
    pub fn is_awaited(&self, stream: u64, now: Tick) -> bool {
        let stream = self.streams.get(&stream);
        stream.is_some_and(|stream| stream.is_awaited(now))
    }

    /// Nothing more will be said on the stream.
    pub fn end(&mut self, stream: u64) {
        if let Some(found) = self.streams.get_mut(&stream) {
            found.ended = true;
            if found.is_spent() {
                self.streams.remove(&stream);
            }
        }
    }

    pub fn next(&mut self, reading: Reading) -> Next<T> {
        let id = self.id;
        let current = self.streams.get_mut(&reading.stream);
        let Some(stream) = current.filter(|stream| stream.is_read_by(reading.epoch)) else {
            return Next::End;
        };
        let Some((seq, item)) = stream.read() else {
            return if stream.ended {
                Next::End
            } else {
                Next::Pending
            };
        };
        let id = EventId {
            log: id,
            stream: reading.stream,
            seq,
        };
        if self.keeps == Keeps::Unread {
            stream.drop_first();
        }
        self.fit();
        Next::Event(id, item)
    }

    /// The reader went away. `false`: it was not the current one any more.
    pub fn leave(&mut self, reading: Reading, now: Tick) -> bool {
        let current = self.streams.get_mut(&reading.stream);
        let Some(stream) = current.filter(|stream| stream.is_read_by(reading.epoch)) else {
            return false;
        };
        stream.detach(now);
        if stream.is_spent() {
            self.streams.remove(&reading.stream);
        }
        self.fit();
        true
    }

    /// A reader of what was never told to anybody. It replaces the one before.
    pub fn join(&mut self, stream: u64) -> Option<Reading> {
        let from = self.streams.get(&stream)?.told();
        Some(self.attach(stream, from))
    }

    /// A reader of everything behind an event. It replaces the one before.
    ///
    /// # Errors
    /// When something of that is not kept any more, or the event is none of ours.
    pub fn resume(&mut self, last_event_id: &str) -> Result<Reading, ResumeError> {
        let last = EventId::parse(last_event_id)
            .filter(|last| last.log == self.id)
            .ok_or(ResumeError::Unknown)?;
        let stream = self.streams.get(&last.stream);
        // Nobody has an id of what nobody was told.
        let stream = stream
            .filter(|stream| last.seq < stream.told())
            .ok_or(ResumeError::Unknown)?;
        let next = last.seq + 1;
        if next < stream.first() {
            return Err(ResumeError::Lost {
                lost: stream.first() - next,
                resume_at: EventId {
                    seq: stream.first() - 1,
                    ..last
                },
            });
        }
        Ok(self.attach(last.stream, next))
    }

    /// Drops what is too old, and cuts off readers that have not read for as long.
    pub fn expire(&mut self, now: Tick) {
        let is_old = |at: Option<Tick>| at.is_some_and(|at| now.since(at) >= limits::REPLAY_AGE);
        self.streams.retain(|_, stream| {
            if stream.is_read() && is_old(stream.unread_since()) {
                stream.detach(now);
            }
            while stream.kept_events() > 0 && is_old(stream.oldest()) {
                stream.drop_first();
            }
            !stream.is_spent()
        });
        self.fit();
    }

    /// Ends everything.
    pub fn clear(&mut self) {
        self.streams.clear();
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Events and bytes that are held, read or not.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let loads = self.streams.values();
        loads.fold((0, 0), |(events, bytes), stream| {
            let (kept, unread) = (stream.kept(), stream.unread());
            (
                events + kept.events + unread.events,
                bytes + kept.bytes + unread.bytes,
            )
        })
    }

    fn attach(&mut self, stream: u64, next: u64) -> Reading {
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        if let Some(found) = self.streams.get_mut(&stream) {
            found.attach(epoch, next);
        }
        Reading { stream, epoch }
    }

    /// Drops until the kept events are within their limits.
    fn fit(&mut self) {
        let mut kept = self.kept();
        while is_over(kept)
            && let Some(victim) = self.victim(kept)
            && let Some(stream) = self.streams.get_mut(&victim)
        {
            stream.drop_first();
            if stream.is_spent() {
                self.streams.remove(&victim);
            }
            kept = self.kept();
        }
    }

    fn kept(&self) -> Load {
        let loads = self.streams.values().map(Stream::kept);
        loads.fold(Load::default(), |sum, load| Load {
            events: sum.events + load.events,
            bytes: sum.bytes + load.bytes,
        })
    }

    /// The stream that has most of what there is too much of, as long as one has anything but its
    /// newest event; else the one whose newest event is oldest, but never the last event of all.
    fn victim(&self, kept: Load) -> Option<u64> {
        let by_events = kept.events > limits::REPLAY_EVENTS;
        let talkative = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.droppable() > 0);
        let talkative = talkative.max_by_key(|(_, stream)| {
            let kept = stream.kept();
            if by_events { kept.events } else { kept.bytes }
        });
        if let Some((id, _)) = talkative {
            return Some(*id);
        }
        if kept.events < 2 {
            return None;
        }
        let silent = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.kept_events() > 0);
        silent
            .min_by_key(|(_, stream)| stream.oldest())
            .map(|(id, _)| *id)
    }
}

impl<T: Clone + AsRef<[u8]> + From<String>> Log<T> {
    /// All streams, for another replica. Of what was said at most so many bytes, the newest: what is
    /// left behind is an exact error to whoever asks for it.
    #[must_use]
    pub fn pack(&self, bytes: usize) -> Packed {
        let mut left = bytes;
        let newest_first = self.streams.iter().rev();
        Packed {
            id: self.id,
            next_stream: self.next_stream,
            streams: newest_first
                .map(|(number, stream)| stream.pack(*number, &mut left))
                .collect(),
        }
    }

    /// The streams of another replica. Nobody there goes on writing, so that all of them end but
    /// the `standing` one.
    #[must_use]
    pub fn unpack(packed: Packed, standing: Option<u64>, keeps: Keeps, now: Tick) -> Self {
        let streams = packed.streams.into_iter().map(|stream| {
            let number = stream.number;
            let mut stream = Stream::unpack(stream, now);
            stream.ended |= Some(number) != standing;
            (number, stream)
        });
        let mut log = Self {
            streams: streams.filter(|(_, stream)| !stream.is_spent()).collect(),
            next_stream: packed.next_stream,
            ..Self::new(packed.id, keeps)
        };
        log.fit();
        log
    }
}

/// So much waits for a reader that it cannot be reading.
const fn is_behind(unread: Load) -> bool {
    unread.events > limits::REPLAY_UNREAD_EVENTS
        || (unread.bytes > limits::REPLAY_UNREAD_BYTES
            && unread.events > limits::REPLAY_UNREAD_LARGE)
}

const fn is_over(kept: Load) -> bool {
    kept.events > limits::REPLAY_EVENTS || kept.bytes > limits::REPLAY_BYTES
}
