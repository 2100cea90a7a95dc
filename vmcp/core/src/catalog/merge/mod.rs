//! Many catalogues become one list.
//!
//! Guarantees: no exposed name stands twice; each entry routes back to exactly one backend and its
//! own name there; URIs are never rewritten, the first in the order of priority has a URI alone;
//! who has which name does not depend on the order of members; a clash hides the clashing entries
//! and nothing else (R4.8, T14).

mod candidate;
mod claims;
mod settle;

use std::collections::HashSet;
use std::sync::Arc;

use super::{Catalog, CatalogHash, Conflict, ConflictPolicy, Kind, KindHashes, PerKind, ToolRules};
use crate::id::BackendId;
use crate::limits;

use candidate::{Candidate, candidates};
pub use claims::UriClaims;
pub(crate) use claims::scheme;
use settle::settle;

/// A backend with what it last offered. Members come in the order of the spec: refs, then name.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    pub id: &'a BackendId,
    /// `None`: as the policy's `prefixFormat` says. May be empty.
    pub prefix: Option<&'a str>,
    /// `None`: never listed, or not published just now.
    pub catalog: Option<&'a Catalog>,
    /// On its own names.
    pub tools: Option<&'a ToolRules>,
    /// URIs that it serves although no list shows them.
    pub uri_prefixes: &'a [String],
}

impl<'a> Member<'a> {
    /// With no rules of its own.
    #[must_use]
    pub const fn new(id: &'a BackendId, catalog: Option<&'a Catalog>) -> Self {
        Self {
            id,
            prefix: None,
            catalog,
            tools: None,
            uri_prefixes: &[],
        }
    }
}

/// An entry as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Its exposed name, or its URI.
    pub exposed: Arc<str>,
    pub backend: BackendId,
    /// Its name at the backend; the same for a URI.
    pub original: Arc<str>,
    /// The entry with the exposed name and what overrides say, every other byte the backend's.
    pub raw: Arc<str>,
}

/// The one list of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// In order of members, inside a member its own.
    pub tools: Vec<Exposed>,
    pub prompts: Vec<Exposed>,
    pub resources: Vec<Exposed>,
    pub templates: Vec<Exposed>,
    /// In the order of priority.
    pub claims: Vec<UriClaims>,
    /// Tools that the rules on exposed names take out: backend and its own name.
    pub withheld: HashSet<(BackendId, Arc<str>)>,
    /// Sorted by kind, then name.
    pub conflicts: Vec<Conflict>,
    pub warnings: Vec<String>,
    /// Over all lists.
    pub hash: CatalogHash,
    pub hashes: KindHashes,
}

impl Merged {
    #[must_use]
    pub fn entries(&self, kind: Kind) -> &[Exposed] {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }
}

/// What is to be said about a merge.
#[derive(Default)]
struct Notes {
    withheld: HashSet<(BackendId, Arc<str>)>,
    conflicts: Vec<Conflict>,
    warnings: Vec<String>,
}

/// Joins the catalogues under the policy. `rules`: on exposed names.
#[must_use]
pub fn merge(members: &[Member<'_>], policy: &ConflictPolicy, rules: &ToolRules) -> Merged {
    let mut notes = Notes::default();
    let lists = PerKind::from_fn(|kind| {
        let found = candidates(kind, members, policy);
        let found = match kind {
            Kind::Tools => shape(found, members, policy, rules, &mut notes),
            _ => clear(kind, found, policy, &mut notes),
        };
        expose_all(kind, found, &mut notes)
    });
    let hashes = KindHashes::from_fn(|kind| {
        let list = lists.get(kind).iter();
        CatalogHash::of(list.map(|entry| (&*entry.exposed, &*entry.raw)))
    });
    Merged {
        tools: lists.tools,
        prompts: lists.prompts,
        resources: lists.resources,
        templates: lists.templates,
        claims: claims::claims(members, policy),
        withheld: notes.withheld,
        conflicts: notes.conflicts,
        warnings: notes.warnings,
        hash: CatalogHash::all(&hashes),
        hashes,
    }
}

/// Without those that lose a clash.
fn clear<'a>(
    kind: Kind,
    candidates: Vec<Candidate<'a>>,
    policy: &ConflictPolicy,
    notes: &mut Notes,
) -> Vec<Candidate<'a>> {
    let (conflicts, losers) = settle(kind, &candidates, policy);
    notes.conflicts.extend(conflicts);
    let kept = candidates.into_iter().enumerate();
    kept.filter(|(at, _)| !losers.contains(at))
        .map(|(_, candidate)| candidate)
        .collect()
}

/// The rules on exposed names: what they take out clashes with nothing, what they rename may clash
/// again.
fn shape<'a>(
    candidates: Vec<Candidate<'a>>,
    members: &[Member<'a>],
    policy: &ConflictPolicy,
    rules: &'a ToolRules,
    notes: &mut Notes,
) -> Vec<Candidate<'a>> {
    for member in members {
        if let (Some(rules), Some(catalog)) = (member.tools, member.catalog) {
            let names = catalog.tools.iter().map(|tool| &*tool.name);
            let object = format!("MCPServer {}: spec.tools", member.id.name);
            notes.warnings.extend(rules.idle(&object, names));
        }
    }
    // A backend that was never listed may yet have the tool that a rule means.
    if members.iter().all(|member| member.catalog.is_some()) {
        let names = candidates.iter().map(|candidate| &*candidate.exposed);
        notes
            .warnings
            .extend(rules.idle("spec.aggregation.tools", names));
    }
    let (shown, withheld): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|candidate| rules.shows(&candidate.exposed));
    notes.withheld.extend(
        withheld
            .iter()
            .map(|c| (c.backend.clone(), Arc::clone(&c.entry.name))),
    );
    let mut kept = clear(Kind::Tools, shown, policy, notes);
    let mut renamed = false;
    for candidate in &mut kept {
        if let Some(rule) = rules.override_of(&candidate.exposed) {
            candidate.overrides.push(rule);
            if let Some(name) = &rule.rename {
                candidate.exposed.clone_from(name);
                renamed = true;
            }
        }
    }
    if renamed {
        kept = clear(Kind::Tools, kept, policy, notes);
        notes.conflicts.sort_by(|a, b| a.name.cmp(&b.name));
    }
    kept
}

fn expose_all(kind: Kind, candidates: Vec<Candidate<'_>>, notes: &mut Notes) -> Vec<Exposed> {
    let mut list = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let length = candidate.exposed.chars().count();
        if kind.is_named() && length > limits::NAME_MAX {
            let warning = candidate.long("is hidden", limits::NAME_MAX);
            notes.warnings.push(warning);
            continue;
        }
        if kind.is_named() && length > limits::NAME_WARN {
            let warning = candidate.long("may be refused by clients", limits::NAME_WARN);
            notes.warnings.push(warning);
        }
        match candidate.expose() {
            Ok(entry) => list.push(entry),
            Err(warning) => notes.warnings.push(warning),
        }
    }
    list
}
