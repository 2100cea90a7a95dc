//! One stream: its events, and how far its reader is.

use std::collections::VecDeque;

use super::packed::PackedStream;
use crate::limits;
use crate::time::Tick;

/// What is kept, or waits to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub events: usize,
    pub bytes: usize,
}

#[derive(Clone, Debug)]
struct Event<T> {
    item: T,
    /// Bytes of the stream up to its end.
    upto: usize,
    at: Tick,
}

/// Who reads, and what it reads next.
#[derive(Clone, Copy, Debug)]
struct Reader {
    epoch: u64,
    next: u64,
}

/// Events `first ..`, in order and without a gap. Those below the reader's position are kept for a
/// client that comes back; those from there on wait for the reader.
#[derive(Clone, Debug)]
pub(super) struct Stream<T> {
    events: VecDeque<Event<T>>,
    first: u64,
    /// Bytes of the stream before `first`.
    base: usize,
    /// Handed to some reader once: a new client, which knows nothing, begins here.
    told: u64,
    reader: Option<Reader>,
    /// Since when nobody reads.
    left: Tick,
    pub ended: bool,
}

impl<T: Clone> Stream<T> {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            events: VecDeque::new(),
            first: 1,
            base: 0,
            told: 1,
            reader: None,
            left: now,
            ended: false,
        }
    }

    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) const fn told(&self) -> u64 {
        self.told
    }

    pub(super) fn is_read(&self) -> bool {
        self.reader.is_some()
    }

    pub(super) fn is_read_by(&self, epoch: u64) -> bool {
        self.reader.is_some_and(|reader| reader.epoch == epoch)
    }

    /// Somebody reads, or has left so recently that it may come back.
    pub(super) fn is_awaited(&self, now: Tick) -> bool {
        self.is_read() || now.since(self.left) < limits::REPLAY_AGE
    }

    /// Nothing will ever be read from it again.
    pub(super) fn is_spent(&self) -> bool {
        self.ended && !self.is_read() && self.events.is_empty()
    }

    pub(super) fn attach(&mut self, epoch: u64, next: u64) {
        self.reader = Some(Reader { epoch, next });
    }

    pub(super) fn detach(&mut self, now: Tick) {
        self.reader = None;
        self.left = now;
    }

    pub(super) fn push(&mut self, item: T, bytes: usize, now: Tick) {
        let upto = self.upto(self.events.len()).saturating_add(bytes);
        self.events.push_back(Event {
            item,
            upto,
            at: now,
        });
    }

    /// The next event of the reader.
    pub(super) fn read(&mut self) -> Option<(u64, T)> {
        let first = self.first;
        let reader = self.reader.as_mut()?;
        let event = self.events.get(offset(reader.next - first))?;
        let seq = reader.next;
        reader.next += 1;
        self.told = self.told.max(reader.next);
        Some((seq, event.item.clone()))
    }

    /// What is kept for a client that comes back: all of it where nobody reads.
    pub(super) fn kept(&self) -> Load {
        let events = self.kept_events();
        Load {
            events,
            bytes: self.upto(events) - self.base,
        }
    }

    /// What waits for the reader.
    pub(super) fn unread(&self) -> Load {
        let (kept, all) = (self.kept_events(), self.events.len());
        Load {
            events: all - kept,
            bytes: self.upto(all) - self.upto(kept),
        }
    }

    pub(super) fn kept_events(&self) -> usize {
        self.reader
            .map_or(self.events.len(), |reader| offset(reader.next - self.first))
    }

    /// Kept events of which one may be dropped before any stream loses its newest: the newest event
    /// of a stream that has ended is its response.
    pub(super) fn droppable(&self) -> usize {
        self.kept_events().min(self.events.len().saturating_sub(1))
    }

    /// Drops the oldest kept event.
    pub(super) fn drop_first(&mut self) {
        if self.kept_events() > 0
            && let Some(event) = self.events.pop_front()
        {
            self.base = event.upto;
            self.first += 1;
            self.told = self.told.max(self.first);
        }
    }

    pub(super) fn oldest(&self) -> Option<Tick> {
        self.events.front().map(|event| event.at)
    }

    /// When the event was said that the reader has yet to read.
    pub(super) fn unread_since(&self) -> Option<Tick> {
        self.events.get(self.kept_events()).map(|event| event.at)
    }

    /// Bytes of the stream up to the end of so many of its events.
    fn upto(&self, events: usize) -> usize {
        let last = events.checked_sub(1).and_then(|last| self.events.get(last));
        last.map_or(self.base, |event| event.upto)
    }
}

impl<T: Clone + AsRef<[u8]> + From<String>> Stream<T> {
    /// The newest of what was said, as far as `left` goes.
    pub(super) fn pack(&self, number: u64, left: &mut usize) -> PackedStream {
        let mut said = VecDeque::new();
        for event in self.events.iter().rev() {
            let bytes = event.item.as_ref();
            let Some(rest) = left.checked_sub(bytes.len()) else {
                break;
            };
            *left = rest;
            said.push_front(String::from_utf8_lossy(bytes).into_owned());
        }
        let dropped = u64::try_from(self.events.len() - said.len()).unwrap_or(u64::MAX);
        let first = self.first + dropped;
        PackedStream {
            number,
            first,
            told: self.told.max(first),
            ended: self.ended,
            said: said.into(),
        }
    }

    pub(super) fn unpack(packed: PackedStream, now: Tick) -> Self {
        let mut stream = Self {
            first: packed.first,
            told: packed.told,
            ended: packed.ended,
            ..Self::new(now)
        };
        for said in packed.said {
            let bytes = said.len();
            stream.push(said.into(), bytes, now);
        }
        stream
    }
}

fn offset(events: u64) -> usize {
    usize::try_from(events).unwrap_or(usize::MAX)
}
