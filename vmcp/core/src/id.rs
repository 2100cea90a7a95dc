//! Identities: which backend, which life of it.
//!
//! Owns the newtypes by which every other module names a backend. Never interprets them. Exists
//! because results keyed by name alone land on the successor of a deleted backend (R2.8, R4.2).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// `metadata.name` of an MCPServer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendName(pub Arc<str>);

/// `metadata.uid` of an MCPServer; in files mode a hash of file and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendUid(pub Arc<str>);

/// A backend: a new UID under an old name is another backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BackendId {
    pub name: BackendName,
    pub uid: BackendUid,
}

/// One life of a backend's runtime. Changes with UID, resolved URL, transport and spec, never with
/// a lost session (R4.2). Only grows (R4.1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl BackendId {
    #[must_use]
    pub fn new(name: &str, uid: &str) -> Self {
        Self {
            name: BackendName(name.into()),
            uid: BackendUid(uid.into()),
        }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name.0, self.uid.0)
    }
}
