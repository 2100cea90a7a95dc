//! What changed from one merged list to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Exposed;

/// The change of a list. Empty exactly where both lists are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Exposed names, in their old order.
    pub removed: Vec<Arc<str>>,
    /// New under an old name (T13).
    pub changed: Vec<Exposed>,
    /// In their new order.
    pub added: Vec<Exposed>,
    /// All names in the new order, where the rest does not give it.
    pub order: Option<Vec<Arc<str>>>,
}

impl Diff {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// From `old` to `new`.
#[must_use]
pub fn diff(old: &[Exposed], new: &[Exposed]) -> Diff {
    let before: HashMap<_, _> = old.iter().map(|tool| (&tool.exposed, tool)).collect();
    let after: HashSet<_> = new.iter().map(|tool| &tool.exposed).collect();
    let mut found = Diff {
        removed: names(old.iter().filter(|tool| !after.contains(&tool.exposed))),
        ..Diff::default()
    };
    for tool in new {
        match before.get(&tool.exposed) {
            None => found.added.push(tool.clone()),
            Some(known) if *known != tool => found.changed.push(tool.clone()),
            Some(_) => {}
        }
    }
    let wanted = names(new.iter());
    if names(apply(old, &found).iter()) != wanted {
        found.order = Some(wanted);
    }
    found
}

/// The list after the change.
#[must_use]
pub fn apply(old: &[Exposed], change: &Diff) -> Vec<Exposed> {
    let removed: HashSet<_> = change.removed.iter().collect();
    let changed: HashMap<_, _> = change
        .changed
        .iter()
        .map(|tool| (&tool.exposed, tool))
        .collect();
    let kept = old.iter().filter(|tool| !removed.contains(&tool.exposed));
    let mut tools: Vec<Exposed> = kept
        .map(|tool| (*changed.get(&tool.exposed).unwrap_or(&tool)).clone())
        .chain(change.added.iter().cloned())
        .collect();
    if let Some(order) = &change.order {
        let places: HashMap<_, _> = order
            .iter()
            .enumerate()
            .map(|(at, name)| (name, at))
            .collect();
        tools.sort_by_key(|tool| places.get(&tool.exposed).copied());
    }
    tools
}

fn names<'a>(tools: impl Iterator<Item = &'a Exposed>) -> Vec<Arc<str>> {
    tools.map(|tool| Arc::clone(&tool.exposed)).collect()
}
