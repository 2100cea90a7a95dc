//! Who keeps the state of a session or of a parked call.
//!
//! Owns the name of one process. Part of session claims and of every sealed state, so that any
//! replica knows where to relay a request to. The boot nonce tells a process from the one that ran
//! in the same pod before it: that one's state is gone.

use serde::{Deserialize, Serialize};

/// One process of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    #[serde(rename = "p")]
    pub pod: Box<str>,
    /// Drawn anew at each start.
    #[serde(rename = "b")]
    pub boot: Box<str>,
}

/// The part of any sealed state that says whose it is. Sealed states are JSON objects with this
/// member, whatever else they hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedState {
    #[serde(rename = "o")]
    pub owner: Owner,
}

impl OwnedState {
    /// The owner of a state, where the bytes name one.
    #[must_use]
    pub fn owner_of(plain: &[u8]) -> Option<Owner> {
        let state: Self = serde_json::from_slice(plain).ok()?;
        Some(state.owner)
    }
}
