//! Many catalogues become one list.
//!
//! Guarantees: no exposed name stands twice; each entry routes back to exactly one backend and its
//! own name there; who has which name does not depend on the order of members; a clash hides the
//! clashing entries and nothing else (R4.8, T14).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Catalog, CatalogHash, Conflict, ConflictPolicy, ConflictStrategy, Entry, Resolution};
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

/// A tool as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposedTool {
    pub exposed: Arc<str>,
    pub backend: BackendId,
    /// Its name at the backend.
    pub original: Arc<str>,
    /// The entry with the exposed name in it, every other byte the backend's.
    pub raw: Arc<str>,
}

/// The one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// In order of members, inside a member its own.
    pub tools: Vec<ExposedTool>,
    /// Sorted by name.
    pub conflicts: Vec<Conflict>,
    pub warnings: Vec<String>,
    pub hash: CatalogHash,
}

struct Candidate<'a> {
    exposed: String,
    backend: &'a BackendId,
    entry: &'a Entry,
}

/// Joins the catalogues under the policy.
#[must_use]
pub fn merge(members: &[Member<'_>], policy: &ConflictPolicy) -> Merged {
    let candidates = candidates(members, policy);
    let (conflicts, losers) = settle(&candidates, policy);
    let mut warnings = Vec::new();
    let mut tools = Vec::with_capacity(candidates.len());
    for (at, candidate) in candidates.into_iter().enumerate() {
        if losers.contains(&at) {
            continue;
        }
        let length = candidate.exposed.chars().count();
        if length > limits::NAME_MAX {
            warnings.push(long(&candidate, "is hidden", limits::NAME_MAX));
            continue;
        }
        if length > limits::NAME_WARN {
            warnings.push(long(
                &candidate,
                "may be refused by clients",
                limits::NAME_WARN,
            ));
        }
        match expose(candidate) {
            Ok(tool) => tools.push(tool),
            Err(warning) => warnings.push(warning),
        }
    }
    let hash = CatalogHash::of(tools.iter().map(|tool| (&*tool.exposed, &*tool.raw)));
    Merged {
        tools,
        conflicts,
        warnings,
        hash,
    }
}

/// Every entry with the name that it asks for.
fn candidates<'a>(members: &[Member<'a>], policy: &ConflictPolicy) -> Vec<Candidate<'a>> {
    let shared = match policy.strategy {
        ConflictStrategy::PrefixOnConflict => shared_names(members),
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
        for entry in catalog
            .tools
            .iter()
            .filter(|entry| seen.insert(&entry.name))
        {
            let bare = policy.strategy == ConflictStrategy::PrefixOnConflict
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
fn shared_names<'a>(members: &[Member<'a>]) -> HashSet<&'a str> {
    let mut owners: HashMap<&str, &BackendId> = HashMap::new();
    let mut shared = HashSet::new();
    for member in members {
        for entry in member
            .catalog
            .into_iter()
            .flat_map(|catalog| catalog.tools.iter())
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
            name,
            backends,
            resolution,
        });
    }
    (conflicts, losers)
}

fn expose(candidate: Candidate<'_>) -> Result<ExposedTool, String> {
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
    Ok(ExposedTool {
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
