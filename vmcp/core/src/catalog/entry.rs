//! The catalogue of one backend: its entries as it spelled them.

use std::collections::HashSet;
use std::sync::Arc;

use super::CatalogHash;
use crate::jsonrpc::raw;
use crate::limits;
use crate::mcp::{ListPage, RawEntry};
use crate::text::sanitise;

/// One tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Arc<str>,
    /// The whole entry, byte for byte.
    pub raw: Arc<str>,
}

/// All tools of one backend, in its own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub tools: Arc<[Entry]>,
    pub hash: CatalogHash,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Catalog {
    #[must_use]
    pub fn new(tools: Vec<Entry>) -> Self {
        let hash = CatalogHash::of(tools.iter().map(|tool| (&*tool.name, &*tool.raw)));
        Self {
            tools: tools.into(),
            hash,
        }
    }

    /// From all pages of a list, with a warning for each entry that was left out: nameless, a name
    /// that cannot be used, a name that was there already, a description above the limit, or one
    /// entry too many. The others stay.
    #[must_use]
    pub fn from_pages(pages: impl IntoIterator<Item = ListPage>) -> (Self, Vec<String>) {
        let mut tools = Vec::new();
        let mut warnings = Vec::new();
        let mut seen = HashSet::new();
        let mut excess = 0_usize;
        for page in pages {
            if page.nameless > 0 {
                warnings.push(format!(
                    "{} entries without a name are left out",
                    page.nameless
                ));
            }
            for entry in page.entries {
                if tools.len() == limits::CATALOG_ENTRIES {
                    excess += 1;
                    continue;
                }
                match judge(&entry) {
                    Some(fault) => warnings.push(left_out(&entry.name, fault)),
                    None if !seen.insert(entry.name.clone()) => {
                        warnings.push(left_out(&entry.name, "it is listed twice"));
                    }
                    None => tools.push(Entry {
                        name: entry.name.into(),
                        raw: entry.raw,
                    }),
                }
            }
        }
        if excess > 0 {
            warnings.push(format!(
                "{excess} entries above the limit of {} are left out",
                limits::CATALOG_ENTRIES
            ));
        }
        (Self::new(tools), warnings)
    }
}

fn left_out(name: &str, fault: &str) -> String {
    format!(
        "{:?} is left out: {fault}",
        sanitise(name, limits::NAME_WARN)
    )
}

/// Why an entry cannot be offered. The specification recommends `[A-Za-z0-9_.-]` for names and does
/// not demand it, so other printable names pass.
fn judge(entry: &RawEntry) -> Option<&'static str> {
    if entry.name.is_empty() || entry.name.chars().any(char::is_control) {
        return Some("the name is empty or has control characters");
    }
    if entry.name.chars().count() > limits::NAME_MAX {
        return Some("the name is too long");
    }
    // Readers differ in which of two members they take: a client could see another name than the
    // one that is routed.
    let members = raw::members(&entry.raw).unwrap_or_default();
    let names = members.iter().filter(|(key, _)| raw::key_is(key, "name"));
    if names.count() > 1 {
        return Some("it has two names");
    }
    let description = raw::top_level(&entry.raw, "description").map_or(0, str::len);
    (description > limits::DESCRIPTION).then_some("the description is too long")
}
