//! Many catalogues become one list.
//!
//! Guarantees: no exposed name stands twice; each entry routes back to exactly one backend and its
//! own name there; URIs are never rewritten, the first in the order of priority has a URI alone; who has which name does not depend on the order of members; a clash hides the
//! clashing entries and nothing else (R4.8, T14).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{
    Catalog, CatalogHash, Conflict, ConflictPolicy, ConflictStrategy, Entry, Kind, KindHashes,
    PerKind, Resolution,
};
use crate::id::{BackendId, BackendName};
use crate::jsonrpc::{quote, raw};
use crate::limits;
use crate::text::sanitise;

/// A backend with what it last offered. Members come in the order of the spec: refs, then name.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    pub id: &'a BackendId,
    /// `None`: as the policy's `prefixFormat` says. May be empty.
    pub prefix: Option<&'a str>,
    /// `None`: never listed, or not published just now.
    pub catalog: Option<&'a Catalog>,
}

/// An entry as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Its exposed name, or its URI.
    pub exposed: Arc<str>,
    pub backend: BackendId,
    /// Its name at the backend; the same for a URI.
    pub original: Arc<str>,
    /// The entry with the exposed name in it, every other byte the backend's.
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
    conflicts: Vec<Conflict>,
    warnings: Vec<String>,
}

struct Candidate<'a> {
    exposed: String,
    backend: &'a BackendId,
    entry: &'a Entry,
}

/// Joins the catalogues under the policy.
#[must_use]
pub fn merge(members: &[Member<'_>], policy: &ConflictPolicy) -> Merged {
    let mut notes = Notes::default();
    let lists = PerKind::from_fn(|kind| merge_kind(kind, members, policy, &mut notes));
    let hashes = KindHashes::from_fn(|kind| {
        let list = lists.get(kind).iter();
        CatalogHash::of(list.map(|entry| (&*entry.exposed, &*entry.raw)))
    });
    Merged {
        tools: lists.tools,
        prompts: lists.prompts,
        resources: lists.resources,
        templates: lists.templates,
        conflicts: notes.conflicts,
        warnings: notes.warnings,
        hash: CatalogHash::all(&hashes),
        hashes,
    }
}

fn merge_kind(
    kind: Kind,
    members: &[Member<'_>],
    policy: &ConflictPolicy,
    notes: &mut Notes,
) -> Vec<Exposed> {
    let candidates = candidates(kind, members, policy);
    let (conflicts, losers) = settle(kind, &candidates, policy);
    notes.conflicts.extend(conflicts);
    let mut list = Vec::with_capacity(candidates.len());
    for (at, candidate) in candidates.into_iter().enumerate() {
        if losers.contains(&at) {
            continue;
        }
        let length = candidate.exposed.chars().count();
        if kind.is_named() && length > limits::NAME_MAX {
            let warning = long(&candidate, "is hidden", limits::NAME_MAX);
            notes.warnings.push(warning);
            continue;
        }
        if kind.is_named() && length > limits::NAME_WARN {
            let warning = long(&candidate, "may be refused by clients", limits::NAME_WARN);
            notes.warnings.push(warning);
        }
        match expose(candidate) {
            Ok(entry) => list.push(entry),
            Err(warning) => notes.warnings.push(warning),
        }
    }
    list
}

/// Every entry with the name that it asks for.
fn candidates<'a>(
    kind: Kind,
    members: &[Member<'a>],
    policy: &ConflictPolicy,
) -> Vec<Candidate<'a>> {
    let shared = match policy.strategy {
        ConflictStrategy::PrefixOnConflict => shared_names(kind, members),
        _ => HashSet::new(),
    };
    let mut all = Vec::new();
    let mut seen_members = HashSet::new();
    for member in members {
        let Some(catalog) = member.catalog else {
            continue;
        };
        if !seen_members.insert(member.id) {
            continue;
        }
        let prefix = match (member.prefix, policy.strategy) {
            (Some(prefix), _) => prefix.to_owned(),
            (None, ConflictStrategy::Prefix | ConflictStrategy::PrefixOnConflict) => {
                policy.prefix(&member.id.name)
            }
            (None, ConflictStrategy::Priority | ConflictStrategy::Manual) => String::new(),
        };
        let mut seen = HashSet::new();
        let entries = catalog.entries(kind).iter();
        for entry in entries.filter(|entry| seen.insert(&entry.name)) {
            let bare = !kind.is_named()
                || policy.strategy == ConflictStrategy::PrefixOnConflict
                    && !shared.contains(&*entry.name);
            let exposed = if bare {
                entry.name.to_string()
            } else {
                format!("{prefix}{}", entry.name)
            };
            all.push(Candidate {
                exposed,
                backend: member.id,
                entry,
            });
        }
    }
    all
}

/// Names that more than one member has.
fn shared_names<'a>(kind: Kind, members: &[Member<'a>]) -> HashSet<&'a str> {
    let mut owners: HashMap<&str, &BackendId> = HashMap::new();
    let mut shared = HashSet::new();
    for member in members {
        for entry in member
            .catalog
            .into_iter()
            .flat_map(|catalog| catalog.entries(kind).iter())
        {
            let owner = *owners.entry(&*entry.name).or_insert(member.id);
            if owner != member.id {
                shared.insert(&*entry.name);
            }
        }
    }
    shared
}

/// Clashes, and the places of the candidates that lose.
fn settle(
    kind: Kind,
    candidates: &[Candidate<'_>],
    policy: &ConflictPolicy,
) -> (Vec<Conflict>, HashSet<usize>) {
    let mut wanted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, candidate) in candidates.iter().enumerate() {
        wanted.entry(&candidate.exposed).or_default().push(at);
    }
    let mut conflicts = Vec::new();
    let mut losers = HashSet::new();
    for (name, mut places) in wanted.into_iter().filter(|(_, places)| places.len() > 1) {
        // The id last, so that two lives of one name do not depend on their order either.
        places.sort_by_key(|at| {
            (
                policy.rank(&candidates[*at].backend.name),
                candidates[*at].backend,
            )
        });
        let winner = candidates[places[0]].backend;
        let resolution = match policy.strategy {
            // A URI names one thing wherever it is listed: no rule hides it.
            _ if !kind.is_named() => {
                losers.extend(&places[1..]);
                Resolution::Won(winner.name.clone())
            }
            ConflictStrategy::Priority => {
                losers.extend(&places[1..]);
                Resolution::Won(winner.name.clone())
            }
            ConflictStrategy::Prefix
            | ConflictStrategy::PrefixOnConflict
            | ConflictStrategy::Manual => {
                losers.extend(&places);
                Resolution::Hidden
            }
        };
        let mut backends: Vec<BackendName> = places
            .iter()
            .map(|at| candidates[*at].backend.name.clone())
            .collect();
        backends.sort();
        let name = sanitise(name, limits::STATUS_TEXT);
        conflicts.push(Conflict {
            kind,
            name,
            backends,
            resolution,
        });
    }
    (conflicts, losers)
}

fn expose(candidate: Candidate<'_>) -> Result<Exposed, String> {
    let entry = candidate.entry;
    let raw = if candidate.exposed == *entry.name {
        Arc::clone(&entry.raw)
    } else {
        raw::replace_top_level(&entry.raw, "name", &quote(&candidate.exposed))
            .map_err(|error| {
                let name = sanitise(&entry.name, limits::NAME_WARN);
                format!(
                    "{name:?} of {} is left out: {error}",
                    candidate.backend.name
                )
            })?
            .into()
    };
    Ok(Exposed {
        exposed: candidate.exposed.into(),
        backend: candidate.backend.clone(),
        original: Arc::clone(&entry.name),
        raw,
    })
}

fn long(candidate: &Candidate<'_>, what: &str, limit: usize) -> String {
    let name = sanitise(&candidate.exposed, limits::NAME_WARN);
    format!(
        "{name:?}... of {} {what}: longer than {limit} characters",
        candidate.backend.name
    )
}
