//! One page of a backend's `tools/list`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ProtocolViolation;

const WHAT: &str = "tools/list result";

/// An entry as the backend spelled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    pub name: Box<str>,
    pub raw: Arc<str>,
}

/// A page. Entries without a name are left out and counted: one bad entry costs no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    pub entries: Vec<RawEntry>,
    pub nameless: usize,
    /// `None` at the end. An empty cursor counts as the end, or it would go round for ever.
    pub next_cursor: Option<String>,
    /// Modern backends only: how long the page may be kept.
    pub ttl_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(borrow, default)]
    ttl_ms: Option<&'a RawValue>,
}

/// Reads a raw `tools/list` result.
///
/// # Errors
/// When it is no such result: no `tools`, or no list.
pub fn parse_tools_page(raw: &str) -> Result<ListPage, ProtocolViolation> {
    let wire: Wire<'_> =
        serde_json::from_str(raw).map_err(|error| ProtocolViolation::shape(WHAT, &error))?;
    let all = wire.tools.len();
    let entries: Vec<_> = wire
        .tools
        .into_iter()
        .filter_map(|tool| entry(tool.get()))
        .collect();
    Ok(ListPage {
        nameless: all - entries.len(),
        entries,
        next_cursor: wire.next_cursor.filter(|cursor| !cursor.is_empty()),
        ttl_ms: wire.ttl_ms.and_then(|raw| raw.get().parse().ok()),
    })
}

fn entry(raw: &str) -> Option<RawEntry> {
    let name = crate::jsonrpc::raw::top_level(raw, "name")?;
    let name: String = serde_json::from_str(name).ok()?;
    Some(RawEntry {
        name: name.into(),
        raw: raw.into(),
    })
}
