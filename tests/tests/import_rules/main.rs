//! Who may import whom: the table of docs/ARCHITECTURE.md as data, checked against every `use`
//! line, every inline path and the dependency lists. A rule that matches no file fails too.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test stops it as the test itself would"
)]

mod check;
mod table;

use vmcp_tests::sources::Source;

use check::{
    Module, broken, core_order_broken, crate_names, impure_steps, metadata, modules, our_modules,
};
use table::{CORE_DEPENDENCIES, NOT_YET, PACKAGE_EDGES, PURE_STEPS, rules};

fn assert_none(found: &[String]) {
    assert!(
        found.is_empty(),
        "import rules broken:\n{}",
        found.join("\n")
    );
}

/// Build 1: the table "who may import whom" holds in every file.
#[test]
fn no_module_imports_what_the_table_forbids() {
    let modules = our_modules();

    let found: Vec<String> = rules()
        .iter()
        .flat_map(|rule| broken(rule, &modules))
        .collect();

    assert_none(&found);
}

/// Build 1: a rule about a module that was renamed would hold for ever and prove nothing.
#[test]
fn every_rule_of_the_table_has_a_module_to_hold_for() {
    let modules = our_modules();

    for rule in rules() {
        let exists = modules.iter().any(|m| m.is_under(rule.module));
        let later = NOT_YET.contains(&rule.module);
        assert!(
            exists != later,
            "{}: exists {exists}, listed as later {later}",
            rule.module
        );
    }
}

/// Build 1: inside the deciding package each module uses only those that stand before it.
#[test]
fn modules_of_core_use_only_those_below_them() {
    assert_none(&core_order_broken(&our_modules()));
}

/// Build 1: validate, build and status of both controllers neither wait nor talk, and neither does
/// any module that they use.
#[test]
fn the_pure_steps_of_the_controllers_reach_no_client_and_no_runtime() {
    let modules = our_modules();
    for step in PURE_STEPS {
        let is_it = |m: &&Module| m.is_pure_step() && m.path[2..].iter().any(|s| s == step);
        let count = modules.iter().filter(is_it).count();
        assert!(
            count >= 2,
            "{count} modules named {step}: one per controller is expected"
        );
    }

    assert_none(&impure_steps(&modules));
}

/// Build 1: our packages depend on each other only along the arrows of the picture, and the
/// deciding package links nothing that could act.
#[test]
fn packages_depend_on_each_other_only_along_the_arrows() {
    let packages = metadata().packages;
    assert_eq!(
        packages.len(),
        PACKAGE_EDGES.len(),
        "a package has no row in PACKAGE_EDGES"
    );

    for package in packages {
        let name = package.name.as_str();
        let (_, allowed) = PACKAGE_EDGES
            .iter()
            .find(|(from, _)| *from == name)
            .unwrap();
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            let ours = PACKAGE_EDGES.iter().any(|(other, _)| *other == to);
            assert!(
                !ours || allowed.contains(&to),
                "{name} may not depend on {to}"
            );
            if name == "vmcp-core" && dependency.kind == cargo_metadata::DependencyKind::Normal {
                assert!(
                    CORE_DEPENDENCIES.contains(&to),
                    "vmcp-core may not link {to}"
                );
            }
        }
    }
}

/// Build 1: the rules above can fail: one seeded violation of each kind is found and named.
#[test]
fn a_seeded_violation_of_each_kind_is_named_with_file_and_line() {
    let seeds = [
        (
            "vmcp/src/gateway/call.rs",
            "use std::sync::Arc;\nuse hyper::{body::Body, Request};",
        ),
        (
            "vmcp/src/backend/wire.rs",
            "fn f() { crate::registry::poke() }",
        ),
        (
            "vmcp/src/backend/upstream.rs",
            "use crate::gateway::port::BackendPort;",
        ),
        (
            "vmcp/core/src/health/machine.rs",
            "use crate::report::Report;",
        ),
        (
            "vmcp/core/src/backoff.rs",
            "fn f() { let _ = std::time::Instant::now(); }",
        ),
        (
            "operator/src/virtualmcp/build/service.rs",
            "use crate::help::name;",
        ),
        ("operator/src/help.rs", "use kube::Client;\nasync fn f() {}"),
    ];
    let files = seeds.map(|(path, text)| Source {
        path: path.into(),
        text: text.into(),
    });
    let modules = modules(&files, &crate_names());

    let mut found: Vec<String> = rules()
        .iter()
        .flat_map(|rule| broken(rule, &modules))
        .collect();
    found.extend(core_order_broken(&modules));
    found.extend(impure_steps(&modules));

    let step = "reached from operator/src/virtualmcp/build/service.rs";
    assert_eq!(
        found,
        [
            "vmcp/core/src/backoff.rs:1: vmcp_core may not use std::time::Instant::now",
            "vmcp/src/gateway/call.rs:2: vmcp::gateway may not use hyper::body::Body",
            "vmcp/src/gateway/call.rs:2: vmcp::gateway may not use hyper::Request",
            "vmcp/src/backend/wire.rs:1: vmcp::backend may not use vmcp::registry::poke",
            "vmcp/core/src/health/machine.rs:1: health may not use report",
            &format!("operator/src/help.rs: async, {step}"),
            &format!("operator/src/help.rs:1: kube::Client, {step}"),
        ]
    );
}
