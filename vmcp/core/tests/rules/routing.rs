//! From a URI to the one backend that serves it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vmcp_core::catalog::{
    Catalog, ConflictPolicy, ConflictStrategy, Entries, Entry, Kind, Member, Merged, Resolution,
    ToolRules, merge,
};
use vmcp_core::id::BackendId;
use vmcp_core::route::RouteTable;

use crate::support::{SOME, cases, quoted};

#[derive(Clone, Debug)]
struct Backend {
    id: BackendId,
    catalog: Catalog,
    uri_prefixes: Vec<String>,
}

fn entry(kind: Kind, key: &str) -> Entry {
    let raw = format!(
        r#"{{"{}" : {},"name":"n","x":1.0}}"#,
        kind.key(),
        quoted(key)
    );
    Entry {
        name: key.into(),
        raw: raw.into(),
    }
}

fn entries(kind: Kind, keys: &[&str]) -> Vec<Entry> {
    keys.iter().map(|key| entry(kind, key)).collect()
}

fn backend(name: &str, resources: &[&str], templates: &[&str], prefixes: &[&str]) -> Backend {
    Backend {
        id: BackendId::new(name, &format!("uid-{name}")),
        catalog: Catalog::of(Entries {
            resources: entries(Kind::Resources, resources),
            templates: entries(Kind::Templates, templates),
            ..Entries::default()
        }),
        uri_prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
    }
}

fn merged(backends: &[Backend], policy: &ConflictPolicy) -> Merged {
    let members: Vec<_> = backends
        .iter()
        .map(|backend| Member {
            uri_prefixes: &backend.uri_prefixes,
            ..Member::new(&backend.id, Some(&backend.catalog))
        })
        .collect();
    merge(&members, policy, &ToolRules::default())
}

fn table(backends: &[Backend]) -> RouteTable {
    RouteTable::new(&merged(backends, &ConflictPolicy::default()))
}

fn home<'a>(table: &'a RouteTable, uri: &str) -> Option<&'a str> {
    table.resource(uri).map(|route| &*route.backend.name.0)
}

/// Exact, then the most specific template, then the longest prefix, then the only scheme.
#[test]
fn a_uri_goes_to_the_first_that_says_it_serves_it() {
    let backends = [
        backend(
            "a",
            &["file:///x/exact"],
            &["file:///{+any}"],
            &["mem://a/"],
        ),
        backend(
            "b",
            &["db://b/1"],
            &["file:///x/{name}"],
            &["mem://", "mem://a/b"],
        ),
        backend("c", &["only://c/1"], &[], &[]),
    ];
    let table = table(&backends);

    assert_eq!(home(&table, "file:///x/exact"), Some("a"), "exact");
    assert_eq!(home(&table, "file:///x/other"), Some("b"), "more specific");
    assert_eq!(home(&table, "file:///y/other"), Some("a"), "the other");
    assert_eq!(home(&table, "mem://a/c"), Some("a"), "longer prefix");
    assert_eq!(home(&table, "mem://a/b/c"), Some("b"), "longest prefix");
    assert_eq!(home(&table, "mem://z"), Some("b"), "prefix");
    assert_eq!(home(&table, "only://c/2"), Some("c"), "only scheme");
    assert_eq!(
        home(&table, "ONLY://c/2"),
        Some("c"),
        "schemes have no case"
    );
    assert_eq!(home(&table, "file://other"), None, "two have the scheme");
    assert_eq!(home(&table, "none://x"), None);
    assert_eq!(home(&table, "no uri"), None);
    assert_eq!(
        table.template("file:///x/{name}").unwrap().backend.name.0,
        "b".into()
    );
    assert_eq!(table.template("file:///x/y"), None);
}

/// A scheme whose other claimant lost its only entry is still not the winner's alone.
#[test]
fn a_hidden_duplicate_still_claims_its_scheme() {
    let backends = [
        backend("a", &["s://1"], &[], &[]),
        backend("b", &["s://1"], &[], &[]),
    ];
    let merged = merged(&backends, &ConflictPolicy::default());
    let table = RouteTable::new(&merged);

    assert_eq!(home(&table, "s://1"), Some("a"));
    assert_eq!(home(&table, "s://2"), None);
    let told = &merged.conflicts[0];
    assert_eq!((told.kind, &*told.name), (Kind::Resources, "s://1"));
    assert_eq!(
        told.resolution,
        Resolution::Won(backends[0].id.name.clone())
    );
}

/// Prompts and tools are two worlds: the same name in both is no clash, prefixes are the same.
#[test]
fn prompts_follow_the_rule_of_names_beside_the_tools() {
    let id = BackendId::new("a", "u");
    let catalog = Catalog::of(Entries {
        tools: entries(Kind::Tools, &["x"]),
        prompts: entries(Kind::Prompts, &["x"]),
        ..Entries::default()
    });

    let merged = merge(
        &[Member::new(&id, Some(&catalog))],
        &ConflictPolicy::default(),
        &ToolRules::default(),
    );

    let table = RouteTable::new(&merged);
    assert_eq!(&*table.prompt("a_x").unwrap().original, "x");
    assert_eq!(&*table.tool("a_x").unwrap().original, "x");
    assert!(merged.conflicts.is_empty());
}

/// Few URIs, so that they clash often; templates that overlap.
fn worlds() -> impl Strategy<Value = Vec<Backend>> {
    let uris = prop_oneof![Just("f:///a"), Just("f:///b/c"), Just("g://x"), Just("h:1")];
    let templates = prop_oneof![
        Just("f:///{+p}"),
        Just("f:///{p}"),
        Just("f:///b/{p}"),
        Just("g://{x}"),
        Just("{bad"),
    ];
    let prefixes = prop_oneof![Just("f:"), Just("f:///b"), Just("h:"), Just("")];
    let one = (
        proptest::collection::vec(uris, 0..4),
        proptest::collection::vec(templates, 0..3),
        proptest::collection::vec(prefixes, 0..2),
    );
    proptest::collection::vec(one, 0..4).prop_map(|all| {
        all.iter()
            .zip(["b", "a", "d", "c"])
            .map(|((uris, templates, prefixes), name)| backend(name, uris, templates, prefixes))
            .collect()
    })
}

fn policies() -> impl Strategy<Value = ConflictPolicy> {
    let strategy = prop_oneof![
        Just(ConflictStrategy::Prefix),
        Just(ConflictStrategy::PrefixOnConflict),
        Just(ConflictStrategy::Priority),
        Just(ConflictStrategy::Manual),
    ];
    let order = prop_oneof![Just(vec![]), Just(vec!["c".to_owned(), "a".to_owned()])];
    (strategy, order).prop_map(|(strategy, priority_order)| ConflictPolicy {
        strategy,
        priority_order,
        ..ConflictPolicy::default()
    })
}

const ASKED: [&str; 8] = [
    "f:///a", "f:///b/c", "f:///b/d", "f:///z/z", "g://x", "g://y", "h:1", "h:2",
];

proptest! {
    #![proptest_config(cases(SOME))]

    /// Every listed URI stands once, unchanged byte for byte, and leads to the first of those that
    /// list it, by priority and then by name.
    #[test]
    fn every_listed_uri_leads_to_its_winner(world in worlds(), policy in policies()) {
        let merged = merged(&world, &policy);
        let table = RouteTable::new(&merged);
        let rank = |name: &str| {
            let place = policy.priority_order.iter().position(|listed| listed == name);
            (place.unwrap_or(usize::MAX), name.to_owned())
        };

        for kind in [Kind::Resources, Kind::Templates] {
            let mut winners = BTreeMap::new();
            for backend in &world {
                for entry in backend.catalog.entries(kind).iter() {
                    let name = backend.id.name.0.to_string();
                    let best = winners.entry(entry.name.clone()).or_insert_with(|| name.clone());
                    if rank(&name) < rank(best) {
                        *best = name;
                    }
                }
            }
            prop_assert_eq!(merged.entries(kind).len(), winners.len());
            for exposed in merged.entries(kind) {
                prop_assert_eq!(&exposed.exposed, &exposed.original);
                prop_assert_eq!(&exposed.raw, &entry(kind, &exposed.exposed).raw);
                let winner = &winners[&exposed.exposed];
                prop_assert_eq!(&*exposed.backend.name.0, winner.as_str());
                let route = match kind {
                    Kind::Resources => table.resource(&exposed.exposed),
                    _ => table.template(&exposed.exposed),
                };
                prop_assert_eq!(&*route.unwrap().backend.name.0, winner.as_str());
            }
        }
        prop_assert!(merged.conflicts.iter().all(|conflict| !conflict.is_unresolved()));
    }

    /// The order in which backends come decides nothing: who lists what, and where any URI leads.
    #[test]
    fn the_order_of_backends_moves_no_uri(
        world in worlds(),
        policy in policies(),
        turn in 0_usize..4,
        backwards in any::<bool>(),
    ) {
        let mut other = world.clone();
        if !other.is_empty() {
            let turn = turn % other.len();
            other.rotate_left(turn);
        }
        if backwards {
            other.reverse();
        }
        let (one, two) = (merged(&world, &policy), merged(&other, &policy));
        let (left, right) = (RouteTable::new(&one), RouteTable::new(&two));

        prop_assert_eq!(one.hashes, two.hashes);
        for uri in ASKED {
            prop_assert_eq!(home(&left, uri), home(&right, uri), "{}", uri);
        }
        prop_assert_eq!(left, right);
    }

    /// A backend that is gone takes all its routes along.
    #[test]
    fn a_removed_backend_is_led_to_by_nothing(world in worlds(), policy in policies()) {
        let Some((gone, rest)) = world.split_first() else { return Ok(()) };
        let table = RouteTable::new(&merged(rest, &policy));

        for uri in ASKED {
            prop_assert_ne!(home(&table, uri), Some(&*gone.id.name.0));
        }
    }
}
