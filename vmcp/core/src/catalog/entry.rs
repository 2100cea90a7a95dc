//! The catalogue of one backend: its entries as it spelled them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{CacheScope, CatalogHash, Kind, KindHashes, PerKind};
use crate::jsonrpc::raw;
use crate::limits;
use crate::mcp::{ListPage, RawEntry};
use crate::text::sanitise;

/// One tool, prompt, resource or template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, URI or URI template.
    pub name: Arc<str>,
    /// The whole entry, byte for byte.
    pub raw: Arc<str>,
}

/// The entries of each list, in the backend's own order.
pub type Entries = PerKind<Vec<Entry>>;

/// How long and by whom a modern backend lets its lists be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The least of all pages; `None`: it did not say.
    pub ttl: Option<Duration>,
    /// Private as soon as one page is.
    pub scope: CacheScope,
}

impl Freshness {
    fn join(&mut self, page: &ListPage) {
        if let Some(ms) = page.ttl_ms {
            let ttl = Duration::from_millis(ms);
            self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
        }
        if page.scope == CacheScope::Private {
            self.scope = CacheScope::Private;
        }
    }
}

/// All lists of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub tools: Arc<[Entry]>,
    pub prompts: Arc<[Entry]>,
    pub resources: Arc<[Entry]>,
    pub templates: Arc<[Entry]>,
    /// Over all of them.
    pub hash: CatalogHash,
    pub hashes: KindHashes,
    /// No content: part of no hash.
    pub freshness: Freshness,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Catalog {
    /// Tools alone.
    #[must_use]
    pub fn new(tools: Vec<Entry>) -> Self {
        Self::of(Entries {
            tools,
            ..Entries::default()
        })
    }

    #[must_use]
    pub fn of(entries: Entries) -> Self {
        let hashes = KindHashes::from_fn(|kind| {
            let entries = entries.get(kind).iter();
            CatalogHash::of(entries.map(|entry| (&*entry.name, &*entry.raw)))
        });
        Self {
            tools: entries.tools.into(),
            prompts: entries.prompts.into(),
            resources: entries.resources.into(),
            templates: entries.templates.into(),
            hash: CatalogHash::all(&hashes),
            hashes,
            freshness: Freshness::default(),
        }
    }

    #[must_use]
    pub fn entries(&self, kind: Kind) -> &Arc<[Entry]> {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }

    /// The same but for these tools.
    #[must_use]
    pub fn without_tools(&self, names: &HashSet<Arc<str>>) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        let kept = |tool: &&Entry| !names.contains(&tool.name);
        let tools: Arc<[Entry]> = self.tools.iter().filter(kept).cloned().collect();
        let hashes = KindHashes {
            tools: CatalogHash::of(tools.iter().map(|tool| (&*tool.name, &*tool.raw))),
            ..self.hashes
        };
        Self {
            tools,
            hash: CatalogHash::all(&hashes),
            hashes,
            ..self.clone()
        }
    }

    /// From all pages of each list, with a warning for each entry that was left out: nameless, a
    /// name that cannot be used, a name that was there already, a description above the limit, or
    /// one entry too many. The others stay.
    #[must_use]
    pub fn from_pages(mut pages: PerKind<Vec<ListPage>>) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut freshness = Freshness::default();
        let entries = Entries::from_fn(|kind| {
            let pages = std::mem::take(pages.get_mut(kind));
            pages.iter().for_each(|page| freshness.join(page));
            collect(kind, pages, &mut warnings)
        });
        let catalog = Self {
            freshness,
            ..Self::of(entries)
        };
        (catalog, warnings)
    }
}

fn collect(kind: Kind, pages: Vec<ListPage>, warnings: &mut Vec<String>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut seen = HashSet::new();
    let mut excess = 0_usize;
    for page in pages {
        if page.nameless > 0 {
            let (count, key) = (page.nameless, kind.key());
            warnings.push(format!(
                "{count} {}s without a {key} are left out",
                kind.noun()
            ));
        }
        for entry in page.entries {
            if entries.len() == limits::CATALOG_ENTRIES {
                excess += 1;
                continue;
            }
            match judge(kind, &entry) {
                Some(fault) => warnings.push(left_out(kind, &entry.name, fault)),
                None if !seen.insert(entry.name.clone()) => {
                    warnings.push(left_out(kind, &entry.name, "it is listed twice"));
                }
                None => entries.push(Entry {
                    name: entry.name.into(),
                    raw: entry.raw,
                }),
            }
        }
    }
    if excess > 0 {
        warnings.push(format!(
            "{excess} {}s above the limit of {} are left out",
            kind.noun(),
            limits::CATALOG_ENTRIES
        ));
    }
    entries
}

fn left_out(kind: Kind, name: &str, fault: &str) -> String {
    format!(
        "{} {:?} is left out: {fault}",
        kind.noun(),
        sanitise(name, limits::NAME_WARN)
    )
}

/// Why an entry cannot be offered. The specification recommends `[A-Za-z0-9_.-]` for names and does
/// not demand it, so other printable names pass.
fn judge(kind: Kind, entry: &RawEntry) -> Option<&'static str> {
    if entry.name.is_empty() || entry.name.chars().any(char::is_control) {
        return Some("the name is empty or has control characters");
    }
    let too_long = if kind.is_named() {
        entry.name.chars().count() > limits::NAME_MAX
    } else {
        entry.name.len() > limits::URI
    };
    if too_long {
        return Some("the name is too long");
    }
    // Readers differ in which of two members they take: a client could see another name than the
    // one that is routed.
    let members = raw::members(&entry.raw).unwrap_or_default();
    let names = members
        .iter()
        .filter(|(key, _)| raw::key_is(key, kind.key()));
    if names.count() > 1 {
        return Some("it has two names");
    }
    let description = raw::top_level(&entry.raw, "description").map_or(0, str::len);
    (description > limits::DESCRIPTION).then_some("the description is too long")
}
