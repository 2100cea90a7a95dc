//! Where a list page ends.
//!
//! A cursor is a keyset over the exposed order: the last name that the client has, and how many came
//! before the next one. It means the same on every replica.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::limits;

/// First byte of a cursor before encoding; another layout gets another.
const VERSION: u8 = 1;
/// Version and place.
const HEAD: usize = 1 + size_of::<u64>();

/// A place in the exposed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Entries before it when it was made.
    pub place: u64,
    /// Exposed name of the last of them.
    pub last: String,
}

/// A cursor that we did not make. Answered with -32602.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cursor is not valid: list again without one")]
pub struct CursorError;

impl Cursor {
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(HEAD + self.last.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.place.to_be_bytes());
        bytes.extend_from_slice(self.last.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    /// When the text is no cursor of ours.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        if text.len() > limits::CURSOR {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let (head, last) = bytes.split_first_chunk::<HEAD>().ok_or(CursorError)?;
        let [VERSION, place @ ..] = *head else {
            return Err(CursorError);
        };
        let last = std::str::from_utf8(last).map_err(|_| CursorError)?;
        Ok(Self {
            place: u64::from_be_bytes(place),
            last: last.to_owned(),
        })
    }
}
