//! From catalogues to what is listed.
//!
//! Owns the merge of the published catalogues, the pages of all lists in both eras, how long
//! clients may keep them and whose entries are not those of now. Made anew only when a catalogue,
//! a rule or the health behind them changed; a request never waits for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use vmcp_core::catalog::{
    self, CacheScope, Catalog, Conflict, ConflictPolicy, Exposed, Gap, Kind, Member, Merged,
    PageStyle, Pages, Partial, ToolRules,
};
use vmcp_core::health::{ProbeReason, State as Health};
use vmcp_core::id::{BackendId, BackendName};
use vmcp_core::limits;
use vmcp_core::route::RouteTable;
use vmcp_core::time::Tick;

use super::slot::Slot;
use super::state::State;
use crate::snapshot::{Alone, ListPages, Lists};

/// Everything that follows from catalogues and the rules alone.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub lists: Arc<Lists>,
    pub alone: Arc<HashMap<BackendName, Alone>>,
    pub conflicts: Arc<[Conflict]>,
    pub warnings: Arc<[String]>,
}

impl Made {
    pub fn new(state: &State, now: Tick) -> Self {
        let members: Vec<Member<'_>> = state.slots.iter().map(|slot| member(slot, now)).collect();
        let policy = state
            .desired
            .as_ref()
            .map(|desired| desired.conflict_policy.clone())
            .unwrap_or_default();
        let rules = state
            .desired
            .as_ref()
            .map(|desired| desired.tools.clone())
            .unwrap_or_default();
        let merged = catalog::merge(&members, &policy, &rules);
        for warning in &merged.warnings {
            tracing::debug!(warning, "catalogue merged");
        }
        let lists = lists(&merged, &style(state.slots.iter(), now));
        let alone = state
            .slots
            .iter()
            .map(|slot| (slot.id().name.clone(), alone(slot, &merged, now)));
        Self {
            lists: Arc::new(lists),
            alone: Arc::new(alone.collect()),
            conflicts: merged.conflicts.into(),
            warnings: merged.warnings.into(),
        }
    }
}

fn member(slot: &Slot, now: Tick) -> Member<'_> {
    Member {
        id: slot.id(),
        prefix: slot.desired.prefix.as_deref(),
        catalog: slot.published(now),
        tools: Some(&slot.desired.tools),
        uri_prefixes: &slot.desired.uri_prefixes,
    }
}

/// Under its own names, but for the tools that the gateway's own rules take out: they are not to be
/// had by a side door.
fn alone(slot: &Slot, all: &Merged, now: Tick) -> Alone {
    let id: BackendId = slot.id().clone();
    let catalog: Option<Catalog> = slot.published(now).cloned();
    let (tools, uri_prefixes) = (
        slot.desired.tools.clone(),
        slot.desired.uri_prefixes.clone(),
    );
    let withheld: HashSet<Arc<str>> = all
        .withheld
        .iter()
        .filter(|(backend, _)| *backend == id)
        .map(|(_, name)| Arc::clone(name))
        .collect();
    let style = style(std::iter::once(slot), now);
    Alone::new(move || {
        let catalog = catalog
            .as_ref()
            .map(|catalog| catalog.without_tools(&withheld));
        let member = Member {
            prefix: Some(""),
            tools: Some(&tools),
            uri_prefixes: &uri_prefixes,
            ..Member::new(&id, catalog.as_ref())
        };
        let policy = ConflictPolicy::default();
        let merged = catalog::merge(&[member], &policy, &ToolRules::default());
        lists(&merged, &style)
    })
}

fn lists(merged: &Merged, style: &PageStyle) -> Lists {
    let pages = |kind: Kind| pages(kind, merged.entries(kind), style);
    Lists {
        routes: RouteTable::new(merged),
        tools: pages(Kind::Tools),
        prompts: pages(Kind::Prompts),
        resources: pages(Kind::Resources),
        templates: pages(Kind::Templates),
        hashes: merged.hashes,
        tool_count: merged.tools.len(),
    }
}

fn pages(kind: Kind, entries: &[Exposed], style: &PageStyle) -> ListPages {
    let pages = Pages::build(kind, entries, style);
    let shared = |pages: Vec<Vec<u8>>| pages.into_iter().map(Bytes::from).collect();
    ListPages {
        legacy: shared(pages.legacy),
        modern: shared(pages.modern),
        cursors: pages.cursors.into(),
        order: pages.order.into(),
    }
}

/// How long a client may keep the lists: as long as the strictest backend lets it, and not at all
/// while entries are missing, or may not be those of now.
fn style<'a>(slots: impl Iterator<Item = &'a Slot>, now: Tick) -> PageStyle {
    let mut ttl = limits::LIST_TTL;
    let mut scope = CacheScope::Public;
    let mut partial = Vec::new();
    for slot in slots {
        let published = slot.published(now);
        if let Some(catalog) = published {
            ttl = ttl.min(catalog.freshness.ttl.unwrap_or(ttl));
            if catalog.freshness.scope == CacheScope::Private {
                scope = CacheScope::Private;
            }
        }
        let gap = match published {
            None => Gap::Missing,
            Some(_) if !is_current(slot) => Gap::Stale,
            Some(_) => continue,
        };
        partial.push(Partial {
            backend: slot.id().name.clone(),
            entries: gap,
        });
    }
    if !partial.is_empty() {
        ttl = Duration::ZERO;
    }
    PageStyle {
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or_default(),
        scope,
        partial,
    }
}

/// Slow answers and a credential problem of the checks make no list an old one (T3, T4).
fn is_current(slot: &Slot) -> bool {
    let observed = slot.observed();
    match observed.state {
        Health::Ready | Health::AuthRequired => true,
        Health::Degraded => observed.reason == Some(ProbeReason::Slow),
        Health::Pending | Health::Unhealthy => false,
    }
}
