//! List pages: cut at the limits, joined again to the whole.

use proptest::prelude::*;
use serde_json::Value;
use vmcp_core::catalog::{CacheScope, Exposed, Merged, PageStyle, Pages, locate};
use vmcp_core::id::BackendId;
use vmcp_core::jsonrpc::raw;
use vmcp_core::limits;
use vmcp_core::mcp::Kind;

use crate::support::{arc, cases};

const STYLE: PageStyle = PageStyle {
    ttl_ms: 60_000,
    scope: CacheScope::Public,
    partial: Vec::new(),
};

fn list(count: usize, size: usize) -> Merged {
    let tools = (0..count).map(|n| exposed(&format!("t{n}"), size));
    Merged {
        tools: tools.collect(),
        ..Merged::default()
    }
}

fn exposed(name: &str, size: usize) -> Exposed {
    Exposed {
        exposed: arc(name),
        backend: BackendId::new("b", "u"),
        original: arc("t"),
        raw: arc(&format!(
            r#"{{"name":"{name}","n":1.0,"d":"{}"}}"#,
            "x".repeat(size)
        )),
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

proptest! {
    #![proptest_config(cases(200))]

    /// T21: following the cursors gives every tool once, in order; both eras are cut at the same
    /// places.
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
        for (at, cursor) in pages.cursors.iter().enumerate() {
            prop_assert_eq!(locate(&pages.cursors, &pages.order, cursor), Ok(at + 1));
        }
        for bytes in &pages.legacy {
            let tools = page(bytes)["tools"].as_array().unwrap().len();
            prop_assert!(tools <= limits::PAGE_ENTRIES);
            prop_assert!(bytes.len() < limits::PAGE_BYTES + 4_096);
        }
    }

    /// A cursor of an earlier list leaves nothing out of what came after it, whatever was removed
    /// and added since.
    #[test]
    fn a_cursor_of_an_earlier_list_leaves_nothing_out(
        removed in proptest::collection::btree_set(0_usize..3_000, 0..200),
        // Whole pages, as when a backend goes away.
        gone in 0_usize..2_500,
        added in 0_usize..1_500,
        which in 0_usize..2,
    ) {
        let before = list(3_000, 0);
        let old = Pages::build(Kind::Tools, &before.tools, &STYLE);
        let mut now: Vec<Exposed> = (0..added).map(|n| exposed(&format!("new{n}"), 0)).collect();
        let kept = before.tools.iter().enumerate();
        let kept = kept.filter(|(at, _)| *at >= gone && !removed.contains(at));
        now.extend(kept.map(|(_, tool)| tool.clone()));
        let new = Pages::build(Kind::Tools, &now, &STYLE);

        let start = locate(&new.cursors, &new.order, &old.cursors[which]).unwrap();
        let rest = names(&new.legacy[start..]);

        for (at, tool) in before.tools.iter().enumerate() {
            let due = at >= (which + 1) * limits::PAGE_ENTRIES && at >= gone && !removed.contains(&at);
            prop_assert!(!due || rest.iter().any(|name| **name == *tool.exposed), "{}", tool.exposed);
        }
    }
}

/// The client goes on where it was, where that can be said.
#[test]
fn a_cursor_of_an_earlier_list_repeats_a_page_at_most() {
    let old = Pages::build(Kind::Tools, &list(3_000, 0).tools, &STYLE);
    let mut now = list(3_000, 0).tools;
    now.remove(5);
    let new = Pages::build(Kind::Tools, &now, &STYLE);

    assert_eq!(locate(&new.cursors, &new.order, &old.cursors[0]), Ok(0));
    assert_eq!(locate(&new.cursors, &new.order, &old.cursors[1]), Ok(1));
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
