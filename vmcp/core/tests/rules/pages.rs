//! List pages: cut at the limits, joined again to the whole.

use proptest::prelude::*;
use serde_json::Value;
use vmcp_core::catalog::{CacheScope, Exposed, Merged, PageStyle, Pages, list_page, locate};
use vmcp_core::id::BackendId;
use vmcp_core::jsonrpc::raw;
use vmcp_core::limits;
use vmcp_core::mcp::{Era, Kind};

use crate::support::{arc, cases};

const STYLE: PageStyle = PageStyle {
    ttl_ms: 60_000,
    scope: CacheScope::Public,
    partial: Vec::new(),
};

fn list(count: usize, size: usize) -> Merged {
    let tools = (0..count)
        .map(|n| Exposed {
            exposed: arc(&format!("t{n}")),
            backend: BackendId::new("b", "u"),
            original: arc("t"),
            raw: arc(&format!(
                r#"{{"name":"t{n}","n":1.0,"d":"{}"}}"#,
                "x".repeat(size)
            )),
        })
        .collect();
    Merged {
        tools,
        ..Merged::default()
    }
}

fn page(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn names(pages: &[Vec<u8>]) -> Vec<String> {
    let tools = pages
        .iter()
        .flat_map(|bytes| page(bytes)["tools"].as_array().unwrap().clone());
    tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Follows the cursors of a dynamic list to its end.
fn walk(merged: &Merged, era: Era) -> Vec<Vec<u8>> {
    let mut pages = vec![list_page(Kind::Tools, &merged.tools, era, None, &STYLE).unwrap()];
    loop {
        let last = page(pages.last().unwrap());
        let Some(cursor) = last["nextCursor"].as_str() else {
            return pages;
        };
        pages.push(list_page(Kind::Tools, &merged.tools, era, Some(cursor), &STYLE).unwrap());
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// T21: following the cursors gives every tool once, in order, whether the pages are kept or
    /// made; both eras are cut at the same places.
    #[test]
    fn following_the_cursors_gives_the_whole_list(
        count in prop_oneof![0_usize..3, 900_usize..3_100],
        size in prop_oneof![Just(0_usize), 500_usize..3_000],
    ) {
        let merged = list(count, size);
        let all: Vec<_> = merged.tools.iter().map(|tool| tool.exposed.to_string()).collect();

        let pages = Pages::build(Kind::Tools, &merged.tools, &STYLE);

        prop_assert_eq!(names(&pages.legacy), &all[..]);
        prop_assert_eq!(names(&pages.modern), &all[..]);
        prop_assert_eq!(pages.cursors.len() + 1, pages.legacy.len());
        prop_assert_eq!(walk(&merged, Era::Legacy), &pages.legacy[..]);
        prop_assert_eq!(walk(&merged, Era::Modern), &pages.modern[..]);
        for (at, cursor) in pages.cursors.iter().enumerate() {
            prop_assert_eq!(locate(&pages.cursors, cursor), Ok(at + 1));
        }
        for bytes in &pages.legacy {
            let tools = page(bytes)["tools"].as_array().unwrap().len();
            prop_assert!(tools <= limits::PAGE_ENTRIES);
            prop_assert!(bytes.len() < limits::PAGE_BYTES + 4_096);
        }
    }

    /// A cursor of an earlier list leads to a page that leaves nothing out of what came after it.
    #[test]
    fn a_cursor_of_an_earlier_list_leaves_nothing_out(
        removed in proptest::collection::btree_set(0_usize..3_000, 0..200),
        which in 0_usize..3,
    ) {
        let old = Pages::build(Kind::Tools, &list(3_000, 0).tools, &STYLE);
        let mut now = list(3_000, 0);
        let mut at = 0;
        now.tools.retain(|_| { at += 1; !removed.contains(&(at - 1)) });
        let new = Pages::build(Kind::Tools, &now.tools, &STYLE);
        prop_assume!(which < old.cursors.len());

        let start = locate(&new.cursors, &old.cursors[which]).unwrap();
        let rest = names(&new.legacy[start..]);
        let made = list_page(Kind::Tools, &now.tools, Era::Legacy, Some(&old.cursors[which]), &STYLE).unwrap();

        for tool in &now.tools {
            let number: usize = tool.exposed[1..].parse().unwrap();
            // As many may be skipped as were removed before the place, when the last name is gone.
            if number >= (which + 1) * limits::PAGE_ENTRIES + removed.len() {
                prop_assert!(rest.iter().any(|name| **name == *tool.exposed));
            }
        }
        if !removed.contains(&((which + 1) * limits::PAGE_ENTRIES - 1)) {
            let first = names(&[made]).into_iter().next().unwrap();
            let number: usize = first[1..].parse().unwrap();
            prop_assert!(number >= (which + 1) * limits::PAGE_ENTRIES);
        }
    }
}

/// The members of each era, and nothing else.
#[test]
fn each_era_gets_its_own_members() {
    let pages = Pages::build(
        Kind::Tools,
        &list(1, 0).tools,
        &PageStyle {
            ttl_ms: 7,
            scope: CacheScope::Private,
            partial: Vec::new(),
        },
    );

    assert_eq!(
        pages.legacy[0],
        br#"{"tools":[{"name":"t0","n":1.0,"d":""}]}"#
    );
    assert_eq!(
        pages.modern[0],
        br#"{"resultType":"complete","tools":[{"name":"t0","n":1.0,"d":""}],"ttlMs":7,"cacheScope":"private"}"#
    );
}

#[test]
fn an_empty_list_has_one_empty_page() {
    let pages = Pages::build(Kind::Tools, &[], &STYLE);

    assert_eq!(pages.legacy, [br#"{"tools":[]}"#.to_vec()]);
    assert_eq!(pages.cursors, []);
}

/// T22: entries stand in a page byte for byte.
#[test]
fn entries_stand_in_a_page_byte_for_byte() {
    let merged = list(3, 5);
    let pages = Pages::build(Kind::Tools, &merged.tools, &STYLE);
    let text = std::str::from_utf8(&pages.modern[0]).unwrap();
    let joined: Vec<_> = merged.tools.iter().map(|tool| &*tool.raw).collect();

    assert_eq!(
        raw::top_level(text, "tools"),
        Some(&*format!("[{}]", joined.join(",")))
    );
}

/// An entry longer than a page is a page.
#[test]
fn an_entry_longer_than_a_page_is_a_page_of_its_own() {
    let pages = Pages::build(Kind::Tools, &list(3, limits::PAGE_BYTES).tools, &STYLE);

    assert_eq!(pages.legacy.len(), 3);
}
