//! The streams of a session on their way to another replica.

use serde::{Deserialize, Serialize};

/// A log without its readers, which stay behind and come back by `Last-Event-ID`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    #[serde(rename = "l")]
    pub(super) id: u64,
    /// Streams so far: the next one must not have the number of a former one.
    #[serde(rename = "n")]
    pub(super) next_stream: u64,
    #[serde(rename = "s")]
    pub(super) streams: Vec<PackedStream>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackedStream {
    #[serde(rename = "n")]
    pub number: u64,
    #[serde(rename = "f")]
    pub first: u64,
    #[serde(rename = "t")]
    pub told: u64,
    #[serde(rename = "e")]
    pub ended: bool,
    /// What was said from `first` on.
    #[serde(rename = "s")]
    pub said: Vec<String>,
}

impl Packed {
    /// There is nothing that a client could come back to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }
}
