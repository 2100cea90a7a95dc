//! Names of events, as they stand in `id:` and come back in `Last-Event-ID`.

use std::fmt;

/// The longest id that is looked at: three numbers and two strokes.
const MAX_LEN: usize = 16 + 1 + 20 + 1 + 20;

/// One event of one stream of one log. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Which log. The state of a session is dropped when it idles and moves between replicas, and
    /// the numbers of streams start again: an id of the former log must not be taken for one of
    /// this.
    pub log: u64,
    pub stream: u64,
    /// From 1; 0 is the beginning of the stream.
    pub seq: u64,
}

impl EventId {
    /// Reads exactly what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LEN {
            return None;
        }
        let mut parts = text.split('-');
        let id = Self {
            log: u64::from_str_radix(parts.next()?, 16).ok()?,
            stream: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
        };
        // Another spelling of the same numbers is no id of ours.
        (parts.next().is_none() && id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}-{}", self.log, self.stream, self.seq)
    }
}
