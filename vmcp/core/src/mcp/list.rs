//! One page of a backend's list, of whatever kind.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Kind, ProtocolViolation};
use crate::jsonrpc::raw::top_level;

/// Who may keep a result (2026-07-28, caching).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CacheScope {
    #[default]
    Public,
    Private,
}

/// An entry as the backend spelled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its name, URI or URI template.
    pub name: Box<str>,
    pub raw: Arc<str>,
}

/// A page. Entries without a key are left out and counted: one bad entry costs no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    pub entries: Vec<RawEntry>,
    pub nameless: usize,
    /// `None` at the end. An empty cursor counts as the end, or it would go round for ever.
    pub next_cursor: Option<String>,
    /// Modern backends only: how long the page may be kept.
    pub ttl_ms: Option<u64>,
    /// Modern backends only: by whom.
    pub scope: CacheScope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(borrow, default)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_scope: Option<&'a RawValue>,
}

/// Reads the raw result of a list of this kind.
///
/// # Errors
/// When it is no such result: the member of the kind is missing or no list.
pub fn parse_page(kind: Kind, raw: &str) -> Result<ListPage, ProtocolViolation> {
    let what = kind.result();
    let shape = |error: serde_json::Error| ProtocolViolation::shape(what, &error);
    let wire: Wire<'_> = serde_json::from_str(raw).map_err(shape)?;
    let list =
        top_level(raw, kind.member()).ok_or(ProtocolViolation::Missing(what, kind.member()))?;
    let all: Vec<&RawValue> = serde_json::from_str(list).map_err(shape)?;
    let entries: Vec<_> = all
        .iter()
        .filter_map(|raw| entry(kind, raw.get()))
        .collect();
    let scope = wire.cache_scope.map(RawValue::get);
    Ok(ListPage {
        nameless: all.len() - entries.len(),
        entries,
        next_cursor: wire.next_cursor.filter(|cursor| !cursor.is_empty()),
        ttl_ms: wire.ttl_ms.and_then(|raw| raw.get().parse().ok()),
        scope: match scope {
            Some("\"private\"") => CacheScope::Private,
            _ => CacheScope::Public,
        },
    })
}

fn entry(kind: Kind, raw: &str) -> Option<RawEntry> {
    let key = top_level(raw, kind.key())?;
    let name: String = serde_json::from_str(key).ok()?;
    Some(RawEntry {
        name: name.into(),
        raw: raw.into(),
    })
}
