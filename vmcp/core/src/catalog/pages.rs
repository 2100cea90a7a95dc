//! Results of the list methods, serialised once and served many times.

use std::sync::Arc;

use serde::Serialize;

use super::{CacheScope, Cursor, CursorError, Exposed, Kind};
use crate::id::BackendName;
use crate::jsonrpc::quote;
use crate::limits;
use crate::mcp::Era;

/// The key under which a page says whose entries are not those of now.
const PARTIAL: &str = "vmcp.dev/partial";

/// Why a backend's entries are not those of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Gap {
    /// None are listed.
    Missing,
    /// Those of its last good list are listed.
    Stale,
}

/// A backend whose entries are not those of now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Partial {
    pub backend: BackendName,
    pub entries: Gap,
}

/// What results carry beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageStyle {
    /// Modern only, as the next.
    pub ttl_ms: u64,
    pub scope: CacheScope,
    /// Both eras, in `_meta`.
    pub partial: Vec<Partial>,
}

/// Result objects of one list by page, both eras cut at the same places. There is always a
/// first page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pub legacy: Vec<Vec<u8>>,
    pub modern: Vec<Vec<u8>>,
    /// The cursor that page `i` ends with leads to page `i + 1`.
    pub cursors: Vec<Box<str>>,
    /// Exposed names in order, for cursors that none of these pages ends with; empty where there is
    /// one page.
    pub order: Vec<Arc<str>>,
}

impl Pages {
    #[must_use]
    pub fn build(kind: Kind, entries: &[Exposed], style: &PageStyle) -> Self {
        let extra = Extra::new(kind, style);
        let mut pages = Self {
            legacy: Vec::new(),
            modern: Vec::new(),
            cursors: Vec::new(),
            order: Vec::new(),
        };
        let mut start = 0;
        loop {
            let end = page_end(entries, start);
            let next = next_cursor(entries, end);
            let page = &entries[start..end];
            let legacy = extra.render(page, Era::Legacy, next.as_deref());
            pages.legacy.push(legacy);
            let modern = extra.render(page, Era::Modern, next.as_deref());
            pages.modern.push(modern);
            match next {
                Some(cursor) => pages.cursors.push(cursor.into()),
                None => break,
            }
            start = end;
        }
        if !pages.cursors.is_empty() {
            let names = entries.iter().map(|entry| Arc::clone(&entry.exposed));
            pages.order = names.collect();
        }
        pages
    }
}

/// The page that a cursor leads to, given the pages of today. The cursor of an earlier list, or of
/// another replica, leads to the page with what comes after the last name that the client has. Where
/// that name is gone nobody can say what came after it, and the list begins anew. Entries may come
/// twice; none that keeps its place among the others is left out.
///
/// # Errors
/// When it is no cursor of ours.
pub fn locate(
    cursors: &[Box<str>],
    order: &[Arc<str>],
    cursor: &str,
) -> Result<usize, CursorError> {
    let wanted = Cursor::decode(cursor)?;
    if let Some(at) = cursors.iter().position(|known| **known == *cursor) {
        return Ok(at + 1);
    }
    let Some(at) = order.iter().position(|name| **name == *wanted.last) else {
        return Ok(0);
    };
    let next = u64::try_from(at + 1).unwrap_or(u64::MAX);
    let ends = cursors.iter().filter_map(|text| Cursor::decode(text).ok());
    Ok(ends.take_while(|end| end.place <= next).count())
}

/// At least one entry, however long.
fn page_end(entries: &[Exposed], start: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = entries[start..]
        .iter()
        .take(limits::PAGE_ENTRIES)
        .take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.raw.len() + 1;
            first || bytes <= limits::PAGE_BYTES
        });
    start + fits.count()
}

fn next_cursor(entries: &[Exposed], end: usize) -> Option<String> {
    if end >= entries.len() {
        return None;
    }
    let last = end.checked_sub(1).and_then(|at| entries.get(at))?;
    let place = u64::try_from(end).unwrap_or(u64::MAX);
    Some(
        Cursor {
            place,
            last: last.exposed.to_string(),
        }
        .encode(),
    )
}

/// What every page of a list has in common.
struct Extra {
    kind: Kind,
    /// With a comma before.
    meta: String,
    /// With a comma before.
    caching: String,
}

impl Extra {
    fn new(kind: Kind, style: &PageStyle) -> Self {
        let scope = match style.scope {
            CacheScope::Public => "public",
            CacheScope::Private => "private",
        };
        let partial = match style.partial.as_slice() {
            [] => None,
            partial => serde_json::to_string(partial).ok(),
        };
        Self {
            kind,
            meta: partial.map_or_else(String::new, |partial| {
                format!(",\"_meta\":{{\"{PARTIAL}\":{partial}}}")
            }),
            caching: format!(",\"ttlMs\":{},\"cacheScope\":\"{scope}\"", style.ttl_ms),
        }
    }

    fn render(&self, entries: &[Exposed], era: Era, next: Option<&str>) -> Vec<u8> {
        let bytes: usize = entries.iter().map(|entry| entry.raw.len() + 1).sum();
        let mut out = String::with_capacity(bytes + self.meta.len() + 256);
        out.push('{');
        if era == Era::Modern {
            out.push_str("\"resultType\":\"complete\",");
        }
        out.push('"');
        out.push_str(self.kind.member());
        out.push_str("\":[");
        for (at, entry) in entries.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(&entry.raw);
        }
        out.push(']');
        if let Some(cursor) = next {
            out.push_str(",\"nextCursor\":");
            out.push_str(&quote(cursor));
        }
        if era == Era::Modern {
            out.push_str(&self.caching);
        }
        out.push_str(&self.meta);
        out.push('}');
        out.into_bytes()
    }
}
