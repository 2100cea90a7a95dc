//! Names that two backends want, and the rule that decides.

use serde::Serialize;

use super::Kind;
use crate::id::BackendName;

/// `aggregation.conflictResolution.strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConflictStrategy {
    /// Each name has its backend's prefix, so that adding a backend renames nothing.
    #[default]
    Prefix,
    /// Only names that two backends have get the prefix.
    PrefixOnConflict,
    /// The first in `priorityOrder` has the name, then the first by backend name.
    Priority,
    /// Names stay as they are; who wants two of the same renames one.
    Manual,
}

/// `aggregation.conflictResolution`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictPolicy {
    pub strategy: ConflictStrategy,
    /// `{backend}` stands for the backend's name.
    pub prefix_format: String,
    pub priority_order: Vec<String>,
}

impl Default for ConflictPolicy {
    fn default() -> Self {
        Self {
            strategy: ConflictStrategy::default(),
            prefix_format: "{backend}_".to_owned(),
            priority_order: Vec::new(),
        }
    }
}

impl ConflictPolicy {
    /// The prefix of a backend whose reference names none.
    #[must_use]
    pub fn prefix(&self, backend: &BackendName) -> String {
        self.prefix_format.replace("{backend}", &backend.0)
    }

    /// Lower goes first.
    pub(super) fn rank<'a>(&self, backend: &'a BackendName) -> (usize, &'a BackendName) {
        let listed = self
            .priority_order
            .iter()
            .position(|name| **name == *backend.0);
        (listed.unwrap_or(usize::MAX), backend)
    }
}

/// What became of a clash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// One backend has the name, the others' entries are hidden.
    Won(BackendName),
    /// Nobody has it: all entries of that name are hidden.
    Hidden,
}

/// Several backends wanted one exposed name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    pub kind: Kind,
    /// The exposed name or URI.
    pub name: String,
    /// Sorted by name.
    pub backends: Vec<BackendName>,
    pub resolution: Resolution,
}

impl Conflict {
    /// Somebody must act: entries are hidden and no rule chose among them.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        self.resolution == Resolution::Hidden
    }
}
