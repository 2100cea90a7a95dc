//! `tools/list` results, serialised once and served many times.

use super::{Cursor, CursorError, ExposedTool, Merged};
use crate::jsonrpc::quote;
use crate::limits;
use crate::mcp::Era;

/// Who may keep a page (2026-07-28, caching).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheScope {
    #[default]
    Public,
    Private,
}

/// What modern results carry beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageStyle {
    pub ttl_ms: u64,
    pub scope: CacheScope,
}

/// Result objects of `tools/list` by page, both eras cut at the same places. There is always a
/// first page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pub legacy: Vec<Vec<u8>>,
    pub modern: Vec<Vec<u8>>,
    /// The cursor that page `i` ends with leads to page `i + 1`.
    pub cursors: Vec<Box<str>>,
}

impl Pages {
    #[must_use]
    pub fn build(merged: &Merged, style: PageStyle) -> Self {
        let mut pages = Self {
            legacy: Vec::new(),
            modern: Vec::new(),
            cursors: Vec::new(),
        };
        let mut start = 0;
        loop {
            let end = page_end(&merged.tools, start);
            let next = next_cursor(&merged.tools, end);
            let tools = &merged.tools[start..end];
            pages
                .legacy
                .push(render(tools, Era::Legacy, next.as_deref(), style));
            pages
                .modern
                .push(render(tools, Era::Modern, next.as_deref(), style));
            match next {
                Some(cursor) => pages.cursors.push(cursor.into()),
                None => return pages,
            }
            start = end;
        }
    }
}

/// The page that a cursor leads to, given the cursors between the pages of today. A cursor of an
/// earlier list, or of another replica, leads to the page of its place: entries may come twice,
/// none is left out for it.
///
/// # Errors
/// When it is no cursor of ours.
pub fn locate(cursors: &[Box<str>], cursor: &str) -> Result<usize, CursorError> {
    let wanted = Cursor::decode(cursor)?;
    if let Some(at) = cursors.iter().position(|known| **known == *cursor) {
        return Ok(at + 1);
    }
    let known: Vec<Cursor> = cursors
        .iter()
        .filter_map(|text| Cursor::decode(text).ok())
        .collect();
    if let Some(at) = known.iter().position(|known| known.last == wanted.last) {
        return Ok(at + 1);
    }
    Ok(known
        .iter()
        .take_while(|known| known.place <= wanted.place)
        .count())
}

/// One page of a list that is not kept serialised, from a cursor on.
///
/// # Errors
/// When it is no cursor of ours.
pub fn tools_page(
    merged: &Merged,
    era: Era,
    cursor: Option<&str>,
    style: PageStyle,
) -> Result<Vec<u8>, CursorError> {
    let tools = &merged.tools;
    let start = match cursor.map(Cursor::decode).transpose()? {
        None => 0,
        Some(cursor) => {
            let place = usize::try_from(cursor.place)
                .unwrap_or(usize::MAX)
                .min(tools.len());
            let known = tools.iter().position(|tool| *tool.exposed == *cursor.last);
            known.map_or(place, |at| at + 1)
        }
    };
    let end = page_end(tools, start);
    Ok(render(
        &tools[start..end],
        era,
        next_cursor(tools, end).as_deref(),
        style,
    ))
}

/// At least one entry, however long.
fn page_end(tools: &[ExposedTool], start: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = tools[start..]
        .iter()
        .take(limits::PAGE_ENTRIES)
        .take_while(|tool| {
            let first = bytes == 0;
            bytes += tool.raw.len() + 1;
            first || bytes <= limits::PAGE_BYTES
        });
    start + fits.count()
}

fn next_cursor(tools: &[ExposedTool], end: usize) -> Option<String> {
    if end >= tools.len() {
        return None;
    }
    let last = end.checked_sub(1).and_then(|at| tools.get(at))?;
    let place = u64::try_from(end).unwrap_or(u64::MAX);
    Some(
        Cursor {
            place,
            last: last.exposed.to_string(),
        }
        .encode(),
    )
}

fn render(tools: &[ExposedTool], era: Era, next: Option<&str>, style: PageStyle) -> Vec<u8> {
    let entries: usize = tools.iter().map(|tool| tool.raw.len() + 1).sum();
    let mut out = String::with_capacity(entries + 256);
    out.push('{');
    if era == Era::Modern {
        out.push_str("\"resultType\":\"complete\",");
    }
    out.push_str("\"tools\":[");
    for (at, tool) in tools.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&tool.raw);
    }
    out.push(']');
    if let Some(cursor) = next {
        out.push_str(",\"nextCursor\":");
        out.push_str(&quote(cursor));
    }
    if era == Era::Modern {
        let scope = match style.scope {
            CacheScope::Public => "public",
            CacheScope::Private => "private",
        };
        out.push_str(&format!(
            ",\"ttlMs\":{},\"cacheScope\":\"{scope}\"",
            style.ttl_ms
        ));
    }
    out.push('}');
    out.into_bytes()
}
