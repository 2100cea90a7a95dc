//! Which entries of `status.discoveredBackends` nobody else will remove, and the JSON
//! patch that removes them (architecture, decision 7). Pure.
//!
//! A patch and no apply, because an apply cannot remove what another manager owns. It
//! tests the UID of the object and each whole entry, so that it removes what was looked
//! at or nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use crate::limits::PRUNE_GRACE;
use crate::patch::{remove, replace, test};

/// What is known about each entry.
pub trait Knowledge {
    /// Whether a living MCPServer has this UID.
    fn is_alive(&self, uid: &str) -> bool;
    /// Whether the entry stands for a backend of the spec as it is now.
    fn is_expected(&self, name: &str, uid: Option<&str>) -> bool;
    /// How long the server is known to be deleted.
    fn deleted_for(&self, uid: &str) -> Duration;
}

/// What to do about the entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Positions of entries to remove now.
    pub remove: Vec<usize>,
    /// When the next entry is due, unless its gateway removes it before.
    pub wait: Option<Duration>,
}

/// Who removes entries in the first place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// A gateway holds the Lease: it has a few seconds to remove a deleted server itself,
    /// and everything else is its own.
    Alive,
    /// Nobody else removes anything.
    Gone,
}

/// Judges the entries as the server holds them.
#[must_use]
pub fn plan(entries: &[Value], gateway: Gateway, knowledge: &impl Knowledge) -> Plan {
    let mut plan = Plan::default();
    for (position, entry) in entries.iter().enumerate() {
        match due(entry, gateway, knowledge) {
            Some(Duration::ZERO) => plan.remove.push(position),
            Some(delay) => plan.wait = Some(plan.wait.map_or(delay, |old| old.min(delay))),
            None => {}
        }
    }
    plan
}

/// In how long the entry is to be removed; `None` where it stays.
fn due(entry: &Value, gateway: Gateway, knowledge: &impl Knowledge) -> Option<Duration> {
    let name = entry["name"].as_str().unwrap_or_default();
    let uid = entry["uid"].as_str().filter(|uid| !uid.is_empty());
    match gateway {
        Gateway::Gone => (!knowledge.is_expected(name, uid)).then_some(Duration::ZERO),
        Gateway::Alive => {
            let uid = uid.filter(|uid| !knowledge.is_alive(uid))?;
            Some(PRUNE_GRACE.saturating_sub(knowledge.deleted_for(uid)))
        }
    }
}

/// The patch of the status that removes the entries at `positions` and makes the counts
/// agree with the rest. `None` where there is nothing to remove.
#[must_use]
pub fn patch(uid: &str, status: &Value, positions: &[usize]) -> Option<Patch> {
    let entries = status["discoveredBackends"].as_array()?;
    let chosen: BTreeSet<usize> = positions
        .iter()
        .copied()
        .filter(|position| *position < entries.len())
        .collect();
    if chosen.is_empty() {
        return None;
    }
    let mut operations = vec![test("/metadata/uid", json!(uid))];
    // From the last one on, so that no removal moves another.
    for position in chosen.iter().rev() {
        let path = format!("/status/discoveredBackends/{position}");
        operations.push(test(&path, entries[*position].clone()));
        operations.push(remove(&path));
    }
    let kept: Vec<&Value> = entries
        .iter()
        .enumerate()
        .filter(|(position, _)| !chosen.contains(position))
        .map(|(_, entry)| entry)
        .collect();
    let gone: Vec<&Value> = chosen.iter().map(|position| &entries[*position]).collect();
    operations.extend(counts(status, &kept, &gone));
    Some(Patch(operations))
}

/// As the gateway counts: a slow backend serves.
fn serves(entry: &Value) -> bool {
    let state = entry["state"].as_str().unwrap_or_default();
    matches!(state, "Ready" | "Degraded")
}

/// Only counts that stand there are replaced: a patch cannot know whether they shall.
fn counts(status: &Value, kept: &[&Value], gone: &[&Value]) -> Vec<PatchOperation> {
    let ready_in = |entries: &[&Value]| entries.iter().filter(|e| serves(e)).count();
    let ready_before = status["readyBackendCount"].as_u64().unwrap_or_default();
    let ready_gone = u64::try_from(ready_in(gone)).unwrap_or(u64::MAX);
    let ready = ready_before
        .saturating_sub(ready_gone)
        .min(u64::try_from(kept.len()).unwrap_or(u64::MAX));
    let tools_gone: i64 = gone.iter().filter_map(|e| e["tools"].as_i64()).sum();
    let tools_before = status["toolCount"].as_i64().unwrap_or_default();
    let tools = if kept.is_empty() {
        0
    } else {
        (tools_before - tools_gone).max(0)
    };
    [
        ("backends", json!(format!("{ready}/{}", kept.len()))),
        ("backendCount", json!(kept.len())),
        ("readyBackendCount", json!(ready)),
        ("toolCount", json!(tools)),
    ]
    .into_iter()
    .filter(|(field, value)| status.get(*field).is_some_and(|old| old != value))
    .map(|(field, value)| replace(&format!("/status/{field}"), value))
    .collect()
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
