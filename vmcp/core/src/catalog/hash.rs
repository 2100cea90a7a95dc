//! The content hash of a catalogue.

use std::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::mcp::{Kind, PerKind};

/// The hash of each list, so that only those who look at a changed one are told.
pub type KindHashes = PerKind<CatalogHash>;

/// SHA-256 over the entries, whatever their order: a server that lists in random order has not
/// changed (R4.11, T15), one that changed a schema under an old name has (T13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogHash([u8; 32]);

/// Bytes of the hash that are shown: enough to tell two catalogues of one backend apart.
const SHOWN: usize = 8;

impl CatalogHash {
    /// Of (name, raw entry) pairs.
    #[must_use]
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sorted: Vec<_> = entries.into_iter().collect();
        sorted.sort_unstable();
        let mut digest = Sha256::new();
        for (name, raw) in sorted {
            // Lengths keep ("a","bc") and ("ab","c") apart.
            for part in [name, raw] {
                digest.update(part.len().to_le_bytes());
                digest.update(part.as_bytes());
            }
        }
        Self(digest.finalize().into())
    }

    /// Of all lists together.
    #[must_use]
    pub fn all(hashes: &KindHashes) -> Self {
        let mut digest = Sha256::new();
        for kind in Kind::ALL {
            digest.update(hashes.get(kind).0);
        }
        Self(digest.finalize().into())
    }
}

impl fmt::Display for CatalogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(SHOWN)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for CatalogHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
