//! Many catalogues, one list.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use vmcp_core::catalog::{
    Catalog, ConflictPolicy, ConflictStrategy, Member, Merged, ToolRules, merge,
};
use vmcp_core::id::BackendId;
use vmcp_core::jsonrpc::raw;
use vmcp_core::mcp::Kind;
use vmcp_core::route::RouteTable;

use crate::support::{MANY, cases, catalog, quoted, tool_with};

/// A backend of a generated world.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    pub(crate) prefix: Option<String>,
    pub(crate) catalog: Option<Catalog>,
}

pub(crate) fn backend(name: &str, prefix: Option<&str>, tools: &[&str]) -> Backend {
    Backend {
        id: BackendId::new(name, &format!("uid-{name}")),
        prefix: prefix.map(str::to_owned),
        catalog: Some(catalog(tools)),
    }
}

pub(crate) fn merged(backends: &[Backend], policy: &ConflictPolicy) -> Merged {
    let members: Vec<_> = backends
        .iter()
        .map(|backend| Member {
            prefix: backend.prefix.as_deref(),
            ..Member::new(&backend.id, backend.catalog.as_ref())
        })
        .collect();
    merge(&members, policy, &ToolRules::default())
}

pub(crate) fn policy(strategy: ConflictStrategy) -> ConflictPolicy {
    ConflictPolicy {
        strategy,
        ..ConflictPolicy::default()
    }
}

fn strategies() -> impl Strategy<Value = ConflictPolicy> {
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

/// Few names and prefixes, so that they clash often, in every way: "a_" + "x" and "" + "a_x".
fn worlds() -> impl Strategy<Value = Vec<Backend>> {
    let names = prop_oneof![Just("x"), Just("y"), Just("a_x"), Just("b_x"), Just("_")];
    let tools = proptest::collection::vec((names, 0_u8..3), 0..4);
    let prefix = proptest::option::of(prop_oneof![Just(""), Just("a_"), Just("b_")]);
    let one = (prefix, proptest::option::weighted(0.9, tools));
    proptest::collection::vec(one, 0..4).prop_map(|all| {
        all.into_iter()
            .zip(["b", "a", "c", "d"])
            .map(|((prefix, tools), name)| Backend {
                id: BackendId::new(name, &format!("uid-{name}")),
                prefix: prefix.map(str::to_owned),
                catalog: tools.map(|tools| {
                    let entries = tools
                        .iter()
                        .map(|(name, body)| tool_with(name, &body.to_string()));
                    Catalog::new(entries.collect())
                }),
            })
            .collect()
    })
}

/// Who has which name: the part of a merge that no order may change.
fn owners(merged: &Merged) -> BTreeMap<String, (BackendId, String)> {
    let owner = |tool: &vmcp_core::catalog::Exposed| {
        (
            tool.exposed.to_string(),
            (tool.backend.clone(), tool.original.to_string()),
        )
    };
    merged.tools.iter().map(owner).collect()
}

proptest! {
    #![proptest_config(cases(MANY))]

    /// R4.8, R2.9: every exposed name stands once, carries itself, and routes back to one tool of
    /// one backend, under every strategy.
    #[test]
    fn every_name_stands_once_and_routes_back(world in worlds(), policy in strategies()) {
        let merged = merged(&world, &policy);
        let routes = RouteTable::new(&merged);

        prop_assert_eq!(owners(&merged).len(), merged.tools.len());
        prop_assert_eq!(routes.len(Kind::Tools), merged.tools.len());
        for tool in &merged.tools {
            let shown = raw::top_level(&tool.raw, "name").map(str::to_owned);
            prop_assert_eq!(shown, Some(quoted(&tool.exposed)));
            let route = routes.tool(&tool.exposed).unwrap();
            prop_assert_eq!((&route.backend, &route.original), (&tool.backend, &tool.original));
            let home = world.iter().find(|backend| backend.id == tool.backend).unwrap();
            let listed = home.catalog.as_ref().unwrap();
            prop_assert!(listed.tools.iter().any(|entry| entry.name == tool.original));
        }
    }

    /// R4.8: who has which name, what clashes and the hash do not depend on the order of backends.
    #[test]
    fn the_order_of_backends_changes_no_name(
        world in worlds(),
        policy in strategies(),
        turn in 0_usize..4,
        backwards in any::<bool>(),
    ) {
        let mut other = world.clone();
        let by = turn % other.len().max(1);
        other.rotate_left(by);
        if backwards {
            other.reverse();
        }
        let (one, two) = (merged(&world, &policy), merged(&other, &policy));

        prop_assert_eq!(owners(&one), owners(&two));
        prop_assert_eq!(&one.conflicts, &two.conflicts);
        prop_assert_eq!(one.hash, two.hash);
    }

    /// The same input gives the same list, and a member that stands twice counts once.
    #[test]
    fn merging_is_deterministic_and_idempotent(world in worlds(), policy in strategies()) {
        let once = merged(&world, &policy);
        let doubled: Vec<_> = world.iter().chain(&world).cloned().collect();

        prop_assert_eq!(&once, &merged(&world, &policy));
        prop_assert_eq!(&once, &merged(&doubled, &policy));
    }

    /// R4.5, R4.12, R2.8: a removed backend leaves nothing, neither tools nor conflicts.
    #[test]
    fn a_removed_backend_leaves_nothing(
        world in worlds(),
        policy in strategies(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut rest = world.clone();
        if rest.is_empty() {
            return Ok(());
        }
        let gone = rest.remove(at.index(rest.len()));

        let merged = merged(&rest, &policy);

        prop_assert!(merged.tools.iter().all(|tool| tool.backend != gone.id));
        prop_assert!(merged.conflicts.iter().all(|c| !c.backends.contains(&gone.id.name)));
    }

    /// R4.8, T14: an entry is missing only where a conflict names it and its backend, which may be
    /// the only one: two of its own tools can meet on a name. A clash takes nothing else along.
    #[test]
    fn nothing_is_missing_without_a_word(world in worlds(), policy in strategies()) {
        let merged = merged(&world, &policy);
        let clashes: Vec<_> = merged
            .conflicts
            .iter()
            .filter(|conflict| conflict.kind == Kind::Tools)
            .collect();
        let mut missing = 0;
        for backend in &world {
            let Some(catalog) = &backend.catalog else {
                continue;
            };
            let names: BTreeSet<_> = catalog.tools.iter().map(|tool| &tool.name).collect();
            for name in names {
                let is_offered = merged
                    .tools
                    .iter()
                    .any(|tool| tool.backend == backend.id && tool.original == *name);
                let is_told = clashes.iter().any(|conflict| {
                    conflict.backends.contains(&backend.id.name) && conflict.name.ends_with(&**name)
                });
                prop_assert!(is_offered || is_told, "{name} of {:?}", backend.id);
                missing += usize::from(!is_offered);
            }
        }

        prop_assert!(missing >= clashes.len());
        prop_assert!(merged.conflicts.iter().all(|conflict| !conflict.backends.is_empty()));
    }

    /// T22: but for the name every byte of an entry is the backend's.
    #[test]
    fn only_the_name_of_an_entry_changes(world in worlds(), policy in strategies()) {
        let entries: HashMap<_, _> = world
            .iter()
            .filter_map(|backend| Some((&backend.id, backend.catalog.as_ref()?)))
            .collect();
        for tool in &merged(&world, &policy).tools {
            let entry = entries[&tool.backend]
                .tools
                .iter()
                .find(|entry| entry.name == tool.original)
                .unwrap();
            let back = raw::replace_top_level(&tool.raw, "name", &quoted(&entry.name)).unwrap();
            prop_assert_eq!(&*back, &*entry.raw);
        }
    }

    /// Prefix, the default: another backend renames no tool that was there.
    #[test]
    fn with_prefixes_a_new_backend_renames_nothing(world in worlds()) {
        let policy = policy(ConflictStrategy::Prefix);
        let before = owners(&merged(&world, &policy));
        let mut more = world.clone();
        more.push(backend("e", None, &["x", "y", "z"]));

        let after = owners(&merged(&more, &policy));

        for (name, owner) in &before {
            prop_assert!(after.get(name).is_none_or(|now| now == owner));
        }
        prop_assert!(before.keys().all(|name| after.contains_key(name) || name.starts_with("e_")));
    }

    /// T13, T15, R4.11: the hash changes with an entry's content and not with the order of the list.
    #[test]
    fn the_hash_sees_content_and_not_order(
        names in proptest::collection::btree_set("[a-c]{1,2}", 1..5),
        body in 0_u8..9,
    ) {
        let entries: Vec<_> = names.iter().map(|name| tool_with(name, "0")).collect();
        let mut turned = entries.clone();
        turned.reverse();
        let mut changed = entries.clone();
        changed[0] = tool_with(&entries[0].name, &body.to_string());

        let hash = Catalog::new(entries).hash;

        prop_assert_eq!(hash, Catalog::new(turned).hash);
        prop_assert_eq!(hash == Catalog::new(changed).hash, body == 0);
    }
}
