//! Filters and overrides of tools.

use proptest::prelude::*;
use vmcp_core::catalog::{
    Catalog, ConflictPolicy, ConflictStrategy, Entry, Glob, Member, Merged, ToolOverride,
    ToolRules, merge,
};
use vmcp_core::id::BackendId;
use vmcp_core::jsonrpc::raw;
use vmcp_core::route::RouteTable;

use crate::support::{SOME, cases, catalog};

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern)).collect()
}

fn filter(include: &[&str], exclude: &[&str]) -> ToolRules {
    ToolRules {
        include: globs(include),
        exclude: globs(exclude),
        ..ToolRules::default()
    }
}

fn rename(name: &str, to: &str) -> ToolRules {
    ToolRules {
        overrides: vec![ToolOverride {
            name: name.to_owned(),
            rename: Some(to.to_owned()),
            ..ToolOverride::default()
        }],
        ..ToolRules::default()
    }
}

/// Backends `a` and `b` with these tools each, the rules of `a`, and those of the gateway.
fn world(tools: &Catalog, policy: &ConflictPolicy, own: &ToolRules, all: &ToolRules) -> Merged {
    let ids = [BackendId::new("a", "u"), BackendId::new("b", "u")];
    let members = [
        Member {
            tools: Some(own),
            ..Member::new(&ids[0], Some(tools))
        },
        Member::new(&ids[1], Some(tools)),
    ];
    merge(&members, policy, all)
}

fn names(merged: &Merged) -> Vec<&str> {
    merged.tools.iter().map(|tool| &*tool.exposed).collect()
}

fn none() -> ToolRules {
    ToolRules::default()
}

/// A star is any text; nothing else is special.
#[test]
fn a_star_stands_for_any_text() {
    for (pattern, good, bad) in [
        ("x", vec!["x"], vec!["", "xx", "*"]),
        ("*", vec!["", "anything"], vec![]),
        ("get_*", vec!["get_", "get_a"], vec!["get", "a_get_"]),
        ("*_get", vec!["_get", "a_get"], vec!["_get_"]),
        (
            "a*b*c",
            vec!["abc", "aXbYc", "abbcc"],
            vec!["ac", "abcd", "acb"],
        ),
        ("a*a", vec!["aa", "aba"], vec!["a"]),
        ("a.c", vec!["a.c"], vec!["abc"]),
    ] {
        let glob = Glob::new(pattern);
        assert!(good.iter().all(|name| glob.matches(name)), "{pattern}");
        assert!(!bad.iter().any(|name| glob.matches(name)), "{pattern}");
    }
}

/// Rules of a server speak of its own names, those of a gateway of exposed ones; what is not
/// listed has no route.
#[test]
fn filters_hide_and_what_is_hidden_has_no_route() {
    let tools = catalog(&["get_x", "get_y", "put"]);
    let policy = ConflictPolicy::default();

    let merged = world(
        &tools,
        &policy,
        &filter(&["get_*"], &["*_y"]),
        &filter(&[], &["b_get_*"]),
    );

    assert_eq!(names(&merged), ["a_get_x", "b_put"]);
    let routes = RouteTable::new(&merged);
    for hidden in ["a_get_y", "a_put", "b_get_x", "get_x"] {
        assert_eq!(routes.tool(hidden), None, "{hidden}");
    }
    let withheld: Vec<_> = merged
        .withheld
        .iter()
        .map(|(id, name)| (&*id.name.0, &**name))
        .collect();
    assert_eq!(withheld.len(), 2, "{withheld:?}");
    assert!(merged.warnings.is_empty(), "{:?}", merged.warnings);
}

/// A rename is the server's new name, gets the prefix and routes back to the old one; one of the
/// gateway is the exposed name itself.
#[test]
fn a_renamed_tool_routes_back_to_its_own_name() {
    let tools = catalog(&["x", "y"]);
    let policy = ConflictPolicy::default();

    let merged = world(&tools, &policy, &rename("x", "z"), &rename("b_y", "best"));

    assert_eq!(names(&merged), ["a_z", "a_y", "b_x", "best"]);
    let routes = RouteTable::new(&merged);
    let lead = |name: &str| {
        routes
            .tool(name)
            .map(|r| (r.backend.name.to_string(), r.original.to_string()))
    };
    assert_eq!(lead("a_z"), Some(("a".to_owned(), "x".to_owned())));
    assert_eq!(lead("best"), Some(("b".to_owned(), "y".to_owned())));
    assert_eq!((lead("a_x"), lead("b_y")), (None, None));
}

/// R4.8: a rename settles a clash under Manual, and one that makes a clash hides only the two.
#[test]
fn renames_settle_clashes_and_may_make_them() {
    let tools = catalog(&["x", "y"]);
    let manual = ConflictPolicy {
        strategy: ConflictStrategy::Manual,
        ..ConflictPolicy::default()
    };

    let settled = world(&tools, &manual, &rename("x", "x2"), &none());
    assert_eq!(names(&settled), ["x2", "x"]);
    assert_eq!(settled.conflicts.len(), 1, "y clashes still");

    let policy = ConflictPolicy::default();
    let made = world(&tools, &policy, &none(), &rename("a_x", "b_y"));
    assert_eq!(names(&made), ["a_y", "b_x"]);
    assert_eq!((&*made.conflicts[0].name, made.conflicts.len()), ("b_y", 1));
}

/// T22: only what the override names changes.
#[test]
fn an_override_changes_what_it_names_and_no_other_byte() {
    let raw = r#"{ "name" : "t", "description":"old" ,"annotations":{ "title":"T","readOnlyHint" : false,"x":1.50},"inputSchema":{"n":1e2} , "_meta":{}}"#;
    let tools = Catalog::new(vec![Entry {
        name: "t".into(),
        raw: raw.into(),
    }]);
    let own = ToolRules {
        overrides: vec![ToolOverride {
            name: "t".to_owned(),
            rename: None,
            description: Some("new \"words\"".to_owned()),
            annotations: vec![
                ("readOnlyHint".to_owned(), "true".to_owned()),
                ("idempotentHint".to_owned(), "true".to_owned()),
            ],
        }],
        ..ToolRules::default()
    };

    let merged = world(&tools, &ConflictPolicy::default(), &own, &none());

    assert_eq!(
        &*merged.tools[0].raw,
        r#"{ "name" : "a_t", "description":"new \"words\"" ,"annotations":{ "title":"T","readOnlyHint" : true,"x":1.50,"idempotentHint":true},"inputSchema":{"n":1e2} , "_meta":{}}"#
    );
    assert!(RouteTable::new(&merged).tool("a_t").unwrap().repeatable);
    assert_eq!(&*merged.tools[1].raw, raw.replace("\"t\"", "\"b_t\""));
}

/// A rule that means nothing is told with its place, and stops nothing.
#[test]
fn a_rule_that_means_no_tool_is_a_warning() {
    let tools = catalog(&["x"]);
    let own = ToolRules {
        overrides: rename("no", "n").overrides,
        ..filter(&["x", "gone*"], &[])
    };

    let merged = world(
        &tools,
        &ConflictPolicy::default(),
        &own,
        &filter(&[], &["zzz"]),
    );

    assert_eq!(names(&merged), ["a_x", "b_x"]);
    assert_eq!(
        merged.warnings,
        [
            "MCPServer a: spec.tools.include[1]: no tool is called \"gone*\"",
            "MCPServer a: spec.tools.overrides[0].name: no tool is called \"no\"",
            "spec.aggregation.tools.exclude[0]: no tool is called \"zzz\"",
        ]
    );
}

fn rules() -> impl Strategy<Value = ToolRules> {
    let name = || {
        prop_oneof![
            Just("x"),
            Just("y"),
            Just("a_x"),
            Just("b_y"),
            Just("*"),
            Just("a_*")
        ]
    };
    let some = || proptest::collection::vec(name(), 0..2);
    let renames = proptest::collection::vec((name(), name(), any::<bool>()), 0..2);
    (some(), some(), renames).prop_map(|(include, exclude, renames)| ToolRules {
        overrides: renames
            .into_iter()
            .map(|(name, to, described)| ToolOverride {
                name: name.to_owned(),
                rename: Some(to.to_owned()),
                description: described.then(|| "said".to_owned()),
                annotations: Vec::new(),
            })
            .collect(),
        ..filter(&include, &exclude)
    })
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// Under any rules a name stands once, carries itself and routes back to a tool that exists.
    #[test]
    fn rules_leave_every_name_unique_and_routed(
        own in rules(),
        all in rules(),
        names in proptest::sample::subsequence(vec!["x", "y", "a_x"], 0..=3),
    ) {
        let tools = catalog(&names);
        let merged = world(&tools, &ConflictPolicy::default(), &own, &all);
        let routes = RouteTable::new(&merged);

        prop_assert_eq!(routes.len(vmcp_core::catalog::Kind::Tools), merged.tools.len());
        for tool in &merged.tools {
            prop_assert_eq!(raw::top_level(&tool.raw, "name"), Some(&*format!("{:?}", tool.exposed)));
            prop_assert!(names.contains(&&*tool.original));
            prop_assert_eq!(&routes.tool(&tool.exposed).unwrap().original, &tool.original);
        }
    }
}
