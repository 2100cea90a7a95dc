//! Holds the table against the sources. Returns what it finds; the tests decide.

use std::collections::{BTreeMap, BTreeSet};

use vmcp_tests::imports::{self, Import};
use vmcp_tests::sources::{self, Source};

use super::table::{CLIENTS, CORE_ORDER, EFFECTS, HTTP, PACKAGES, PURE_STEPS, Rule};

/// A file of ours and what it names.
pub struct Module {
    file: String,
    pub path: Vec<String>,
    code: String,
    imports: Vec<Import>,
}

impl Module {
    pub fn is_under(&self, prefix: &str) -> bool {
        Import {
            path: self.path.clone(),
            line: 0,
        }
        .is_under(prefix)
    }

    /// Whether this is a pure step of a controller, or a part of one.
    pub fn is_pure_step(&self) -> bool {
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

pub fn modules(files: &[Source], crates: &[String]) -> Vec<Module> {
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

pub fn metadata() -> cargo_metadata::Metadata {
    let manifest = sources::root().unwrap().join("Cargo.toml");
    cargo_metadata::MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap()
}

/// Every name that can start an external path: our packages, their dependencies, the standard ones.
pub fn crate_names() -> Vec<String> {
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

pub fn our_modules() -> Vec<Module> {
    modules(&sources::rust().unwrap(), &crate_names())
}

pub fn broken(rule: &Rule, modules: &[Module]) -> Vec<String> {
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

pub fn core_order_broken(modules: &[Module]) -> Vec<String> {
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
pub fn impure_steps(modules: &[Module]) -> Vec<String> {
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
