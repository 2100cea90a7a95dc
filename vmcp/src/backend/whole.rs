//! A body that is read in parts.
//!
//! Owns what was read so far, so that reading may be interrupted and a small body is never copied.

use bytes::{Bytes, BytesMut};

/// A body as far as it was read.
#[derive(Debug, Default)]
pub(super) enum Whole {
    #[default]
    Nothing,
    /// The usual case of a small body: no copy.
    One(Bytes),
    Many(BytesMut),
}

impl Whole {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(one) => one.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub(super) fn push(&mut self, next: Bytes, expected: usize) {
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(next),
            Self::One(one) => {
                let mut many = BytesMut::with_capacity(expected.max(one.len() + next.len()));
                many.extend_from_slice(&one);
                many.extend_from_slice(&next);
                Self::Many(many)
            }
            Self::Many(mut many) => {
                many.extend_from_slice(&next);
                Self::Many(many)
            }
        };
    }
}
