//! The merge, strategy by strategy.

use vmcp_core::catalog::{Catalog, ConflictPolicy, ConflictStrategy, Merged};
use vmcp_core::id::BackendId;
use vmcp_core::limits;
use vmcp_core::route::RouteTable;

use crate::merge::{Backend, backend, merged, policy};

fn names(merged: &Merged) -> Vec<&str> {
    merged.tools.iter().map(|tool| &*tool.exposed).collect()
}

/// The default: always a prefix, in the order of members.
#[test]
fn by_default_each_name_has_its_backends_prefix() {
    let world = [
        backend("time", None, &["now"]),
        backend("git", Some("g/"), &["log", "add"]),
    ];

    let merged = merged(&world, &ConflictPolicy::default());

    assert_eq!(names(&merged), ["time_now", "g/log", "g/add"]);
    assert_eq!(merged.conflicts, []);
}

/// T14: one clash hides two tools, the others stay, and the conflict names both.
#[test]
fn a_clash_hides_the_clashing_tools_and_nothing_else() {
    let world = [
        backend("a", Some(""), &["x", "y"]),
        backend("b", Some(""), &["x", "z"]),
    ];

    let merged = merged(&world, &ConflictPolicy::default());

    assert_eq!(names(&merged), ["y", "z"]);
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!(merged.conflicts[0].name, "x");
    assert!(merged.conflicts[0].is_unresolved());
    let backends: Vec<_> = merged.conflicts[0]
        .backends
        .iter()
        .map(|name| &*name.0)
        .collect();
    assert_eq!(backends, ["a", "b"]);
}

/// Two prefixes that join to one name clash like any other.
#[test]
fn names_that_meet_only_with_their_prefixes_clash_too() {
    let world = [
        backend("a", Some("a_"), &["b_x"]),
        backend("b", Some("a_b_"), &["x", "y"]),
    ];

    let merged = merged(&world, &ConflictPolicy::default());

    assert_eq!(names(&merged), ["a_b_y"]);
    assert_eq!(merged.conflicts[0].name, "a_b_x");
}

#[test]
fn prefix_on_conflict_leaves_single_names_alone() {
    let world = [
        backend("a", None, &["x", "y"]),
        backend("b", None, &["x", "z"]),
    ];

    let merged = merged(&world, &policy(ConflictStrategy::PrefixOnConflict));

    assert_eq!(names(&merged), ["a_x", "y", "b_x", "z"]);
    assert_eq!(merged.conflicts, []);
}

#[test]
fn priority_gives_the_name_to_the_first_in_order_then_by_name() {
    let world = [
        backend("a", None, &["x", "y"]),
        backend("b", None, &["x", "y"]),
        backend("c", None, &["x"]),
    ];
    let mut policy = policy(ConflictStrategy::Priority);
    policy.priority_order = vec!["c".to_owned()];

    let merged = merged(&world, &policy);

    let owners: Vec<_> = merged
        .tools
        .iter()
        .map(|tool| (&*tool.exposed, &*tool.backend.name.0))
        .collect();
    assert_eq!(owners, [("y", "a"), ("x", "c")]);
    assert!(
        merged
            .conflicts
            .iter()
            .all(|conflict| !conflict.is_unresolved())
    );
    assert_eq!(merged.conflicts.len(), 2);
}

#[test]
fn manual_renames_nothing_and_hides_what_clashes() {
    let world = [backend("a", None, &["x", "y"]), backend("b", None, &["x"])];

    let merged = merged(&world, &policy(ConflictStrategy::Manual));

    assert_eq!(names(&merged), ["y"]);
    assert!(merged.conflicts[0].is_unresolved());
}

/// Exposed names over 64 characters draw a warning, over 128 they are hidden; 64 and 128 are not
/// over.
#[test]
fn long_names_are_warned_of_and_then_hidden() {
    let long = |length: usize| "n".repeat(length - "a_".len());
    let lengths = [
        limits::NAME_WARN,
        limits::NAME_WARN + 1,
        limits::NAME_MAX,
        limits::NAME_MAX + 1,
    ];
    let tools: Vec<String> = lengths.into_iter().map(long).collect();
    let tools: Vec<&str> = tools.iter().map(String::as_str).collect();

    let merged = merged(&[backend("a", None, &tools)], &ConflictPolicy::default());

    let shown: Vec<_> = merged.tools.iter().map(|tool| tool.exposed.len()).collect();
    assert_eq!(shown, [64, 65, 128]);
    assert_eq!(merged.warnings.len(), 3);
    assert!(
        merged.warnings[2].contains("is hidden"),
        "{}",
        merged.warnings[2]
    );
}

/// T19: only a tool whose own annotations say so may be called twice.
#[test]
fn a_call_may_be_repeated_only_where_the_tool_says_so() {
    let entry = |name: &str, annotations: &str| {
        let raw = format!(r#"{{"name":"{name}","annotations":{annotations},"readOnlyHint":true}}"#);
        vmcp_core::catalog::Entry {
            name: name.into(),
            raw: raw.into(),
        }
    };
    let catalog = Catalog::new(vec![
        entry("read", r#"{"readOnlyHint":true}"#),
        entry(
            "idempotent",
            r#"{"idempotentHint": true, "readOnlyHint":false}"#,
        ),
        entry(
            "write",
            r#"{"readOnlyHint":false,"title":"\"readOnlyHint\":true"}"#,
        ),
        entry("odd", "[]"),
    ]);
    let world = [Backend {
        id: BackendId::new("a", "u"),
        prefix: Some(String::new()),
        catalog: Some(catalog),
    }];

    let routes = RouteTable::new(&merged(&world, &ConflictPolicy::default()));

    let repeatable = |name: &str| routes.tool(name).unwrap().repeatable;
    assert!(repeatable("read") && repeatable("idempotent"));
    assert!(!repeatable("write") && !repeatable("odd"));
    assert_eq!(routes.tool("a_read"), None);
}
