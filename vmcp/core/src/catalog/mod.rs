//! What backends offer and what clients see of it.
//!
//! Owns the catalogue of one backend, the merge of many, conflicts, list pages and their cursors,
//! when a catalogue is read again, and when the replicas of a gateway list the same. Entries stay raw:
//! only the name is ever set (T22). Never drops a good entry for a bad neighbour (T14).

mod accord;
mod cache;
mod conflict;
mod cursor;
mod diff;
mod entry;
mod hash;
mod merge;
mod pages;
mod published;
mod rules;

pub use accord::{Accord, Shown, Verdict, Word};
pub use cache::{CatalogAge, Hint, NEGATIVE_TTL, POSITIVE_TTL, should_refresh};
pub use conflict::{Conflict, ConflictPolicy, ConflictStrategy, Resolution};
pub use cursor::{Cursor, CursorError};
pub use diff::{Diff, apply, diff};
pub use entry::{Catalog, Entries, Entry, Freshness};
pub use hash::{CatalogHash, KindHashes};
pub(crate) use merge::scheme;
pub use merge::{Exposed, Member, Merged, UriClaims, merge};
pub use pages::{Gap, PageStyle, Pages, Partial, locate};
pub use published::{CatalogPolicy, published};
pub use rules::{Glob, ToolOverride, ToolRules};

pub use crate::mcp::{CacheScope, Kind, PerKind};
