//! Who has a name that several ask for.

use std::collections::{BTreeMap, HashSet};

use super::candidate::Candidate;
use crate::catalog::{Conflict, ConflictPolicy, ConflictStrategy, Kind, Resolution};
use crate::id::BackendName;
use crate::limits;
use crate::text::sanitise;

/// Clashes, and the places of the candidates that lose.
pub fn settle(
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
                &candidates[*at].entry.name,
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
        backends.dedup();
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
