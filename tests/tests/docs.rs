//! The documents say what exists: every field of the API, every reason, every metric and flag is
//! named, every link and path leads somewhere.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test stops it as the test itself would"
)]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use vmcp_tests::sources::{self, Source};

/// Parts of Kubernetes' own types that only they document.
const EMBEDDED: &[&str] = &[
    "matchExpressions",
    "topologySpreadConstraints",
    "env",
    "envFrom",
    "resources",
    "affinity",
    "tolerations",
    "volumes",
];

fn document(path: &str) -> String {
    std::fs::read_to_string(sources::root().unwrap().join(path)).unwrap()
}

fn documents() -> Vec<Source> {
    let all = sources::all().unwrap();
    all.into_iter()
        .filter(|source| source.path.ends_with(".md"))
        .collect()
}

/// Words between backticks, cut at everything that is no part of a name.
fn quoted_words(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    quoted
        .flat_map(|code| code.split(|c| !is_name(c)))
        .map(str::to_owned)
        .collect()
}

/// Names of our own properties in a schema; not those inside of Kubernetes' own types.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(name.clone());
        if !EMBEDDED.contains(&name.as_str()) && name != "conditions" {
            properties(inner, found);
            properties(&inner["items"], found);
        }
    }
}

fn missing(wanted: &BTreeSet<String>, document: &str) -> Vec<String> {
    let named = quoted_words(document);
    wanted
        .iter()
        .filter(|word| !named.contains(*word))
        .cloned()
        .collect()
}

fn assert_named(what: &str, wanted: &BTreeSet<String>, path: &str) {
    assert!(!wanted.is_empty(), "no {what} found: the reader is broken");
    let missing = missing(wanted, &document(path));
    assert!(missing.is_empty(), "{path} names no {what}: {missing:?}");
}

/// Style 8: every limit is documented under its name, and none that there is not.
#[test]
fn every_limit_is_documented() {
    let constants: BTreeSet<_> = document("vmcp/core/src/limits.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_named("limits", &constants, "docs/api.md");

    let text = document("docs/api.md");
    let table = text.split("\n## Limits\n").nth(1).unwrap();
    let columns = table.lines().filter_map(|line| line.split(" | ").nth(2));
    let named: BTreeSet<_> = columns.flat_map(quoted_words).collect();
    let unknown: Vec<_> = named
        .difference(&constants)
        .filter(|name| !name.is_empty())
        .collect();
    assert!(unknown.is_empty(), "limits that there are not: {unknown:?}");
}

/// Every path of the port for clients is documented.
#[test]
fn every_endpoint_is_documented() {
    let source = document("vmcp/src/server/endpoint.rs");
    let paths = source.split("const PATHS: &str = \"").nth(1).unwrap();
    let paths = paths.split('"').next().unwrap().replace(" and ", ", ");
    let text = document("docs/api.md");
    for path in paths.split(", ") {
        assert!(
            text.contains(&format!("`{path}`")),
            "docs/api.md has no {path}"
        );
    }
}

/// Build 1: every field of both kinds is documented.
#[test]
fn every_field_of_the_api_is_documented() {
    let mut wanted = BTreeSet::new();
    for kind in ["mcpservers", "virtualmcpservers"] {
        let crd: Value =
            serde_saphyr::from_str(&document(&format!("crds/vmcp.dev_{kind}.yaml"))).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        properties(&schema["spec"], &mut wanted);
        properties(&schema["status"], &mut wanted);
    }
    assert!(
        wanted.len() > 60,
        "only {} fields found: the reader is broken",
        wanted.len()
    );

    assert_named("field", &wanted, "docs/api.md");
}

/// Build 1: every condition, phase and state that a status can show is documented.
#[test]
fn every_word_of_a_status_is_documented() {
    let types = vmcp_crds::condition::VIRTUAL_TYPES.iter();
    let mut wanted: BTreeSet<String> = types
        .chain(vmcp_crds::condition::MCP_SERVER_TYPES)
        .map(|t| (*t).to_owned())
        .collect();
    wanted.extend(
        vmcp_crds::phase::McpServerPhase::ALL
            .iter()
            .map(ToString::to_string),
    );
    wanted.extend(
        vmcp_crds::phase::VirtualPhase::ALL
            .iter()
            .map(ToString::to_string),
    );
    wanted.extend(
        vmcp_crds::phase::BackendState::ALL
            .iter()
            .map(ToString::to_string),
    );

    assert_named("word", &wanted, "docs/api.md");
}

/// Words whose feature comes with a later issue: they are in the enumerations, nothing says them.
const RESERVED: &[&str] = &[
    "AllObserversFail",
    "ApiUnavailable",
    "CallsFailing",
    "ConfigMapNotFound",
    "CredentialMissing",
    "Idle",
    "MountFailed",
    "QuotaExceeded",
    "RolloutFinished",
    "SecretKeyMissing",
    "SecretNotFound",
    "ToolCallFailed",
    "ToolError",
];

/// Build 4, T6: every reason that a status, an event or an error can have is documented, and none
/// that nothing says.
#[test]
fn every_reason_is_documented_and_no_reserved_one_is() {
    use vmcp_crds::reason::{EventReason, Reason};

    let mut wanted: BTreeSet<String> = Reason::ALL.iter().map(ToString::to_string).collect();
    wanted.extend(EventReason::ALL.iter().map(ToString::to_string));
    wanted.extend(
        vmcp_core::reason::ProbeReason::ALL
            .iter()
            .map(ToString::to_string),
    );
    wanted.retain(|reason| !RESERVED.contains(&reason.as_str()));

    assert_named("reason", &wanted, "docs/api.md");
    let named = quoted_words(&document("docs/api.md"));
    let promised: Vec<&&str> = RESERVED
        .iter()
        .filter(|word| named.contains(**word))
        .collect();
    assert!(
        promised.is_empty(),
        "docs/api.md describes what nothing says yet: {promised:?}"
    );
}

/// Names in double quotes in the production code below `folders` that start with `prefix`.
fn literals(folders: &[&str], prefix: &str) -> BTreeSet<String> {
    let files = sources::rust().unwrap().into_iter();
    files
        .filter(|source| folders.iter().any(|folder| source.path.starts_with(folder)))
        .filter(|source| !source.path.contains("tests"))
        .flat_map(|source| {
            let quoted = source.text.split('"').skip(1).step_by(2).map(str::to_owned);
            quoted.collect::<Vec<_>>()
        })
        .filter(|word| word.starts_with(prefix))
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

/// Build 5: every metric is documented, and no other one is.
#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let units = [
        "_total",
        "_seconds",
        "_up",
        "_state",
        "_failures",
        "_connections",
        "_info",
    ];
    let others = [
        "_sessions",
        "_tasks",
        "_tools",
        "_phase",
        "_valid",
        "_depth",
        "_leader",
    ];
    let is_metric = |word: &String| units.iter().chain(&others).any(|end| word.ends_with(end));
    let exist: BTreeSet<String> = literals(&["vmcp/src/", "operator/src/"], "vmcp_")
        .into_iter()
        .filter(is_metric)
        .collect();
    let document = document("docs/monitoring.md");

    assert_named("metric", &exist, "docs/monitoring.md");
    let named = quoted_words(&document);
    let stale: Vec<&String> = named
        .iter()
        .filter(|word| word.starts_with("vmcp_") && !exist.contains(*word))
        .collect();
    assert!(
        stale.is_empty(),
        "docs/monitoring.md names what does not exist: {stale:?}"
    );
}

/// The long flags that a program explains.
fn flags(program: &str, arguments: &[&str]) -> BTreeSet<String> {
    let path = vmcp_tests::process::binary(program).unwrap();
    let output = Command::new(path)
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let words = help
        .split([' ', ',', '\n'])
        .filter(|word| word.starts_with("--"));
    let common = ["--help", "--version"];
    words
        .filter(|word| !common.contains(word))
        .map(str::to_owned)
        .collect()
}

/// Build 1: every flag of every program that is shipped is documented.
#[test]
fn every_flag_is_documented() {
    let programs: [(&str, &[&str]); 3] = [
        ("vmcp", &["serve"]),
        ("vmcp", &["probe"]),
        ("vmcp-operator", &[]),
    ];

    for (program, arguments) in programs {
        let wanted = flags(program, arguments);

        assert!(wanted.len() > 3, "{program} {arguments:?}: {wanted:?}");
        assert_named("flag", &wanted, "docs/api.md");
    }
}

/// Build 1: a link in a document leads to a file of the checkout.
#[test]
fn every_relative_link_leads_to_a_file() {
    let root = sources::root().unwrap();

    let mut broken = Vec::new();
    for Source { path, text } in documents() {
        let folder = root.join(&path).parent().unwrap().to_owned();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap();
            let elsewhere = target.is_empty() || target.contains("://");
            if !elsewhere && !folder.join(target).exists() {
                broken.push(format!("{path}: {link}"));
            }
        }
    }

    assert!(
        broken.is_empty(),
        "links to nowhere:\n{}",
        broken.join("\n")
    );
}

/// Build 1: a path that a document names in backticks exists.
#[test]
fn every_path_in_backticks_exists() {
    let root = sources::root().unwrap();
    let tops = [
        "operator/",
        "vmcp/",
        "crds/",
        "tests/",
        "charts/",
        "deploy/",
        "docs/",
        "examples/",
    ];

    let mut broken = Vec::new();
    for Source { path, text } in documents() {
        for code in text.split('`').skip(1).step_by(2) {
            let is_path = tops.iter().any(|top| code.starts_with(top))
                && !code.contains(['*', '<', ' ', '{', '\n']);
            if is_path && !root.join(code).exists() {
                broken.push(format!("{path}: {code}"));
            }
        }
    }

    assert!(
        broken.is_empty(),
        "paths that do not exist:\n{}",
        broken.join("\n")
    );
}
