//! Server-sent events, byte by byte.
//!
//! Owns the event stream format of the HTML standard ("9.2.6 Interpreting an event stream") and
//! the limit on one event. Never looks into the data. Pure, so that hostile chunking is a test.

use std::time::Duration;

use bytes::BytesMut;

use vmcp_core::limits::SSE_EVENT;

use super::pause;

/// One dispatched event. Lines of `data` are joined by a line feed, as the standard says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `message` unless named.
    pub name: Box<str>,
    pub data: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    #[error("an event exceeds {SSE_EVENT} bytes")]
    TooLarge,
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// Turns chunks into events.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of `buffer` that hold no line end.
    scanned: usize,
    after_cr: bool,
    at_start: Started,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    last_id: Option<Box<str>>,
    retry: Option<Duration>,
    /// Streams before this one, in a row and up to the last message, that brought none.
    barren: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Started {
    #[default]
    No,
    Yes,
}

impl Decoder {
    /// Appends bytes of the stream.
    ///
    /// # Errors
    /// `TooLarge` once the unfinished event cannot become a permitted one.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SseError> {
        self.buffer.extend_from_slice(chunk);
        // Whole events may be waiting in the buffer, so the bound is checked per line and event;
        // this one stops a line without end.
        if self.buffer.len() > SSE_EVENT + chunk.len() {
            return Err(SseError::TooLarge);
        }
        Ok(())
    }

    /// The next complete event, if there is one. Call until `None` after each `push`.
    ///
    /// # Errors
    /// The stream is unusable after an error.
    pub fn next_event(&mut self) -> Result<Option<Event>, SseError> {
        while let Some(line) = self.take_line() {
            if line.is_empty() {
                if let Some(event) = self.dispatch()? {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        Ok(None)
    }

    /// Where the stream may be taken up again: the `id` that was last seen, empty ones excepted.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// For another stream that goes on after this one.
    #[must_use]
    pub fn anew(self) -> Self {
        Self {
            last_id: self.last_id,
            retry: self.retry,
            barren: self.barren.saturating_add(1),
            ..Self::default()
        }
    }

    /// How long to wait before that, if the server says.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// How long to wait before the stream is taken up again.
    #[must_use]
    pub fn pause(&self) -> Duration {
        pause::before_next(self.retry, self.barren)
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        if self.after_cr && self.buffer.first() == Some(&b'\n') {
            let _ = self.buffer.split_to(1);
            self.scanned = self.scanned.saturating_sub(1);
            // Here, for the buffer may be empty now: the next LF is a line of its own.
            self.after_cr = false;
        }
        if !self.buffer.is_empty() {
            self.after_cr = false;
        }
        let unscanned = self.buffer.get(self.scanned..)?;
        let Some(offset) = unscanned
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
        else {
            self.scanned = self.buffer.len();
            return None;
        };
        let end = self.scanned + offset;
        self.scanned = 0;
        let line = self.buffer.split_to(end);
        self.after_cr = self.buffer.split_to(1).first() == Some(&b'\r');
        Some(self.without_mark(line))
    }

    /// A byte order mark before the first line is not part of it.
    fn without_mark(&mut self, mut line: BytesMut) -> BytesMut {
        if self.at_start == Started::No {
            self.at_start = Started::Yes;
            if line.starts_with(&[0xEF, 0xBB, 0xBF]) {
                let _ = line.split_to(3);
            }
        }
        line
    }

    fn field(&mut self, line: &[u8]) -> Result<(), SseError> {
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(0) => return Ok(()),
            Some(at) => (
                &line[..at],
                line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..]),
            ),
            None => (line, &[][..]),
        };
        match field {
            b"event" => value_text(value).map(|name| name.clone_into(&mut self.name)),
            b"data" => {
                if self.data.len() + value.len() > SSE_EVENT {
                    return Err(SseError::TooLarge);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
                Ok(())
            }
            // The standard ignores an id with a NUL in it, and a time that is no number.
            b"id" if !value.contains(&0) => {
                value_text(value).map(|id| self.last_id = Some(id.into()))
            }
            b"retry" => {
                let millis = value_text(value)?.parse().ok();
                self.retry = millis.map(Duration::from_millis).or(self.retry);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn dispatch(&mut self) -> Result<Option<Event>, SseError> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return Ok(None);
        }
        let data = String::from_utf8(data).map_err(|_| SseError::NotUtf8)?;
        if !data.is_empty() {
            self.barren = 0;
        }
        let name = if name.is_empty() {
            "message".into()
        } else {
            name.into_boxed_str()
        };
        Ok(Some(Event { name, data }))
    }
}

fn value_text(value: &[u8]) -> Result<&str, SseError> {
    std::str::from_utf8(value).map_err(|_| SseError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk).unwrap();
            while let Some(event) = decoder.next_event().unwrap() {
                events.push((event.name.into_string(), event.data));
            }
        }
        events
    }

    /// T22: multi-line data is joined, comments, ids and retries are not data.
    #[test]
    fn an_event_is_its_data_lines_joined_by_line_feeds() {
        let stream = b": hello\nid: 7\nretry: 10\nevent: endpoint\ndata: a\ndata:b\n\ndata\n\nevent: empty\n\n";

        let events = decode(&[stream]);

        assert_eq!(
            events,
            [
                ("endpoint".to_owned(), "a\nb".to_owned()),
                ("message".to_owned(), String::new())
            ],
            "an event without data is not dispatched"
        );
    }

    /// T22: where the network cuts the bytes changes nothing, whatever the line ends.
    #[test]
    fn chunk_borders_change_nothing() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = [
                "\u{feff}event: x",
                "data: {\"a\":\"é\"}",
                "",
                "data: 2",
                "",
                "",
            ]
            .join(end)
            .into_bytes();
            let whole = decode(&[&stream]);
            assert_eq!(whole.len(), 2, "{end:?}");
            assert_eq!(whole[0], ("x".to_owned(), "{\"a\":\"é\"}".to_owned()));
            for cut in 1..stream.len() {
                // A lone CR at the very end leaves the last event complete at once, like a CRLF
                // whose LF is still on its way.
                assert_eq!(
                    decode(&[&stream[..cut], &stream[cut..]]),
                    whole,
                    "cut at {cut} with {end:?}"
                );
            }
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(decode(&bytes), whole, "byte by byte with {end:?}");
        }
    }

    /// T22: a stream that mixes its line ends is cut just behind a CRLF; the LF that follows is the
    /// blank line that dispatches the event.
    #[test]
    fn a_line_feed_after_a_finished_pair_is_a_line_of_its_own() {
        let expected = [("message".to_owned(), "1".to_owned())];
        let stream = b"data: 1\r\n\n";

        for cut in 1..stream.len() {
            let halves = [&stream[..cut], &stream[cut..]];
            assert_eq!(decode(&halves), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&bytes), expected, "byte by byte");
    }

    /// A backend that sends an event without end is stopped at the limit.
    #[test]
    fn an_event_above_the_limit_is_an_error() {
        let mut decoder = Decoder::default();
        let chunk = vec![b'x'; 64 * 1024];
        decoder.push(b"data: ").unwrap();

        let outcome = (0..100).find_map(|_| {
            decoder
                .push(&chunk)
                .and_then(|()| decoder.next_event())
                .err()
        });

        assert_eq!(outcome, Some(SseError::TooLarge));
    }

    /// A backend that sends many data lines is stopped at the limit too.
    #[test]
    fn many_lines_above_the_limit_are_an_error() {
        let mut decoder = Decoder::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; 64 * 1024], b"\n"].concat();

        let outcome = (0..100).find_map(|_| {
            decoder
                .push(&line)
                .and_then(|()| decoder.next_event())
                .err()
        });

        assert_eq!(outcome, Some(SseError::TooLarge));
    }

    /// Bytes that are no text are an error, not replacement characters in a result.
    #[test]
    fn data_that_is_not_utf8_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(b"data: \xff\xfe\n\n").unwrap();

        assert_eq!(decoder.next_event(), Err(SseError::NotUtf8));
    }
}
