//! Who may import whom: the table of docs/ARCHITECTURE.md as data, checked against every `use`
//! line, every inline path and the dependency lists. A rule that matches no file fails too.

use std::collections::{BTreeMap, BTreeSet};

use vmcp_tests::imports::{self, Import};
use vmcp_tests::sources::{self, Source};

/// Folder of each package's sources, and the name that its paths start with.
const PACKAGES: &[(&str, &str)] = &[
    ("vmcp/core/src/", "vmcp_core"),
    ("vmcp/src/", "vmcp"),
    ("crds/src/", "vmcp_crds"),
    ("operator/src/", "vmcp_operator"),
];

/// Which of our packages may depend on which.
const PACKAGE_EDGES: &[(&str, &[&str])] = &[
    ("vmcp-core", &[]),
    ("vmcp-crds", &[]),
    ("vmcp-operator", &["vmcp-crds"]),
    ("vmcp", &["vmcp-core", "vmcp-crds"]),
    ("vmcp-tests", &["vmcp-core", "vmcp-crds"]),
];

/// What the deciding package may link: codecs and hashes, nothing that acts.
const CORE_DEPENDENCIES: &[&str] = &["base64", "serde", "serde_json", "sha2", "thiserror"];

/// Modules of `vmcp-core`, lowest first. A module may use those of an earlier row, and itself.
const CORE_ORDER: &[&[&str]] = &[
    &["time", "id"],
    &["limits"],
    &["text"],
    &["jsonrpc"],
    &["mcp"],
    &["backoff"],
    &["health"],
    &["catalog"],
    &["route"],
    &["session", "authz"],
    &["report"],
];

/// Crates that speak HTTP.
const HTTP: &[&str] = &["hyper", "hyper_util", "http_body_util"];
/// Crates that speak to Kubernetes.
const KUBE: &[&str] = &["kube", "k8s_openapi"];
/// Parts of `kube` that hold or make a connection, or wait.
const CLIENTS: &[&str] = &[
    "kube::Client",
    "kube::Api",
    "kube::Config",
    "kube::client",
    "kube::config",
    "kube::api::Api",
    "kube::runtime",
];
/// Crates that wait or talk.
const EFFECTS: &[&str] = &["tokio", "tokio_util", "futures", "tracing"];
/// What a deciding module may not touch beyond that.
const AMBIENT: &[&str] = &[
    "prometheus",
    "rand",
    "std::fs",
    "std::net",
    "std::env",
    "std::io",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// One row of the table: nothing under `module` may name anything under `forbidden`, unless it is
/// under `except`.
struct Rule {
    module: &'static str,
    forbidden: Vec<&'static str>,
    except: &'static [&'static str],
}

fn rule(module: &'static str, forbidden: &[&[&'static str]]) -> Rule {
    Rule {
        module,
        forbidden: forbidden.concat(),
        except: &[],
    }
}

fn rules() -> Vec<Rule> {
    vec![
        rule("vmcp_core", &[HTTP, KUBE, EFFECTS, AMBIENT]),
        rule("vmcp_crds", &[HTTP, EFFECTS, CLIENTS]),
        rule(
            "vmcp::gateway",
            &[
                HTTP,
                KUBE,
                &["prometheus", "vmcp::backend", "vmcp::registry"],
            ],
        ),
        rule("vmcp::server", &[KUBE, &["vmcp::backend"]]),
        rule("vmcp::peer", &[KUBE, &["vmcp::backend", "vmcp::gateway"]]),
        // The port is the one file of the gateway that backends see: it is what they implement.
        Rule {
            except: &["vmcp::gateway::port"],
            ..rule(
                "vmcp::backend",
                &[KUBE, &["vmcp::gateway", "vmcp::registry"]],
            )
        },
        rule(
            "vmcp::backend::fresh",
            &[&["vmcp::backend::pool", "vmcp::backend::upstream"]],
        ),
        rule(
            "vmcp::prober",
            &[&[
                "vmcp::backend::pool",
                "vmcp::backend::upstream",
                "vmcp::gateway",
            ]],
        ),
        rule(
            "vmcp::discovery::kube",
            &[HTTP, &["vmcp::gateway", "vmcp::backend"]],
        ),
        rule("vmcp::status", &[HTTP, &["vmcp::gateway", "vmcp::backend"]]),
        rule("vmcp::admin", &[KUBE, &["vmcp::backend"]]),
    ]
}

/// Rows whose module comes with a later issue.
const NOT_YET: &[&str] = &["vmcp::peer"];

/// The pure steps of a controller, whichever controller it is.
const PURE_STEPS: &[&str] = &["validate", "build", "status"];

struct Module {
    file: String,
    path: Vec<String>,
    code: String,
    imports: Vec<Import>,
}

impl Module {
    fn is_under(&self, prefix: &str) -> bool {
        Import {
            path: self.path.clone(),
            line: 0,
        }
        .is_under(prefix)
    }

    /// Whether this is a pure step of a controller, or a part of one.
    fn is_pure_step(&self) -> bool {
        self.is_under("vmcp_operator")
            && self.path.len() > 2
            && self.path[2..]
                .iter()
                .any(|segment| PURE_STEPS.contains(&segment.as_str()))
    }
}

/// `vmcp/src/backend/pool.rs` is `vmcp::backend::pool`; a folder's `mod.rs` is the folder.
fn module_path(file: &str) -> Option<Vec<String>> {
    let (folder, name) = PACKAGES
        .iter()
        .find(|(folder, _)| file.starts_with(folder))?;
    let inner = file[folder.len()..].strip_suffix(".rs")?;
    let segments = inner
        .split('/')
        .filter(|s| !matches!(*s, "lib" | "main" | "mod"));
    Some(
        std::iter::once(*name)
            .chain(segments)
            .map(str::to_owned)
            .collect(),
    )
}

fn modules(files: &[Source], crates: &[String]) -> Vec<Module> {
    let mut found = Vec::new();
    for source in files {
        let Some(path) = module_path(&source.path) else {
            continue;
        };
        // Modules that exist for tests only may use what tests use; programs under `bin/` are the
        // outermost shell of their package.
        let outside = |s: &String| s == "tests" || s.ends_with("_tests") || s == "bin";
        if path.iter().any(outside) {
            continue;
        }
        let code = sources::production_code(&source.text);
        let imports = imports::of(&code, &path, crates);
        found.push(Module {
            file: source.path.clone(),
            path,
            code,
            imports,
        });
    }
    found
}

fn metadata() -> cargo_metadata::Metadata {
    let manifest = sources::root().unwrap().join("Cargo.toml");
    cargo_metadata::MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap()
}

/// Every name that can start an external path: our packages, their dependencies, the standard ones.
fn crate_names() -> Vec<String> {
    let mut names: BTreeSet<String> = ["std", "core", "alloc"].map(str::to_owned).into();
    for package in metadata().packages {
        names.insert(package.name.replace('-', "_"));
        names.extend(
            package
                .dependencies
                .iter()
                .map(|d| d.name.replace('-', "_")),
        );
    }
    names.into_iter().collect()
}

fn our_modules() -> Vec<Module> {
    modules(&sources::rust().unwrap(), &crate_names())
}

fn broken(rule: &Rule, modules: &[Module]) -> Vec<String> {
    let mut found = Vec::new();
    for module in modules.iter().filter(|m| m.is_under(rule.module)) {
        for import in &module.imports {
            let excused = rule.except.iter().any(|prefix| import.is_under(prefix));
            if !excused && rule.forbidden.iter().any(|prefix| import.is_under(prefix)) {
                let (file, line, what) = (&module.file, import.line, import.text());
                found.push(format!("{file}:{line}: {} may not use {what}", rule.module));
            }
        }
    }
    found
}

fn core_rank(module: &str) -> Option<usize> {
    CORE_ORDER.iter().position(|row| row.contains(&module))
}

fn core_order_broken(modules: &[Module]) -> Vec<String> {
    let mut found = Vec::new();
    for module in modules
        .iter()
        .filter(|m| m.is_under("vmcp_core") && m.path.len() > 1)
    {
        let own = &module.path[1];
        let Some(rank) = core_rank(own) else {
            found.push(format!("{}: {own} has no place in CORE_ORDER", module.file));
            continue;
        };
        for import in module.imports.iter().filter(|i| i.is_under("vmcp_core")) {
            let Some(used) = import.path.get(1) else {
                continue;
            };
            if used != own && core_rank(used).is_none_or(|other| other >= rank) {
                found.push(format!(
                    "{}:{}: {own} may not use {used}",
                    module.file, import.line
                ));
            }
        }
    }
    found
}

/// The module of ours that a path leads into: the longest module path that it starts with.
fn resolve<'a>(import: &Import, modules: &'a [Module]) -> Option<&'a Module> {
    modules
        .iter()
        .filter(|module| module.path.len() > 1 && import.is_under(&module.path.join("::")))
        .max_by_key(|module| module.path.len())
}

/// What makes one file impure by itself.
fn impurities(module: &Module) -> Vec<String> {
    let forbidden = [HTTP, EFFECTS, CLIENTS].concat();
    let imports = module
        .imports
        .iter()
        .filter(|i| forbidden.iter().any(|f| i.is_under(f)));
    let mut found: Vec<String> = imports
        .map(|i| format!("{}:{}: {}", module.file, i.line, i.text()))
        .collect();
    if module
        .code
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| word == "async")
    {
        found.push(format!("{}: async", module.file));
    }
    found
}

/// What makes a controller's pure steps impure, themselves or through a module that they use.
fn impure_steps(modules: &[Module]) -> Vec<String> {
    let mut found = BTreeMap::new();
    for step in modules.iter().filter(|m| m.is_pure_step()) {
        let mut seen = BTreeSet::from([step.file.as_str()]);
        let mut open = vec![step];
        while let Some(module) = open.pop() {
            for impurity in impurities(module) {
                found.entry(impurity).or_insert(&step.file);
            }
            let used = module
                .imports
                .iter()
                .filter_map(|import| resolve(import, modules));
            open.extend(used.filter(|m| m.is_under("vmcp_operator") && seen.insert(&m.file)));
        }
    }
    found
        .into_iter()
        .map(|(what, step)| format!("{what}, reached from {step}"))
        .collect()
}

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
