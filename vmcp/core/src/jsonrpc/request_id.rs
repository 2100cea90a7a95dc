//! The id of a request, spelled as its author spelled it.

use std::fmt;

/// An id. Spelling is kept: `1` and `1.0` are two ids, and a string keeps its escapes, because the
/// answer must carry what the question carried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// The number as spelled.
    Number(Box<str>),
    /// The raw JSON string, quotes included.
    String(Box<str>),
    /// Only in answers to what could not be read.
    Null,
}

impl RequestId {
    /// An id of our own.
    #[must_use]
    pub fn number(value: u64) -> Self {
        Self::Number(value.to_string().into())
    }

    /// The id that this raw JSON value is; `None` for anything but a number, a string or null.
    #[must_use]
    pub fn from_raw(raw: &str) -> Option<Self> {
        match raw.as_bytes() {
            b"null" => Some(Self::Null),
            [b'"', .., b'"'] => Some(Self::String(raw.into())),
            [b'-' | b'0'..=b'9', ..] => Some(Self::Number(raw.into())),
            _ => None,
        }
    }

    /// Raw JSON of the id.
    #[must_use]
    pub fn to_raw(&self) -> &str {
        match self {
            Self::Number(raw) | Self::String(raw) => raw,
            Self::Null => "null",
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_raw())
    }
}
