//! Everything that a client may do, by clients and servers that nobody here wrote, through the
//! gateway: tools, resources, prompts, progress, and the questions of a server to its client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use vmcp_tests::conformance::Era;
use vmcp_tests::conformance::suite;
use vmcp_tests::peers::{self, Plan, Server, Tester, Verdicts};
use vmcp_tests::sources;
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// Runs of clients at a time: each is a Node or Python process on a machine of two cores.
const AT_A_TIME: usize = 3;

/// What the gateway or a peer cannot do: (client, server, feature, reason). A line that passes
/// after all fails the test.
const CANNOT: &[(Tester, &str, &str, &str)] = &[];

/// Where the tables stand for readers.
const DOCUMENT: &str = "docs/peers.md";

const FEATURES: [&str; 7] = [
    "tools",
    "resources",
    "prompts",
    "progress",
    "elicitation",
    "sampling",
    "roots",
];

/// What is called at the conformance backend. Its tools ask in the way of either era.
fn suite_plan() -> Plan {
    plan(json!({
        "tools": {"name": "test_simple_text", "arguments": {}, "answer": "simple text response"},
        "resources": {"uri": "test://static-text", "answer": "content of the static text"},
        "prompts": {
            "name": "test_prompt_with_arguments",
            "arguments": {"arg1": "hello", "arg2": "world"},
            "answer": "arg1='hello'",
        },
        "progress": {
            "name": "test_tool_with_progress",
            "arguments": {},
            "steps": 3,
            "answer": "finished",
        },
        "elicitation": {
            "name": "test_input_required_result_elicitation",
            "arguments": {},
            "answer": "Hello, Alice!",
        },
        "sampling": {
            "name": "test_input_required_result_sampling",
            "arguments": {},
            "answer": "Paris",
        },
        "roots": {"name": "test_list_roots", "arguments": {}, "answer": "file:///home/alice"},
    }))
}

/// What is called at the reference server.
fn everything_plan() -> Plan {
    plan(json!({
        "tools": {"name": "echo", "arguments": {"message": "ann"}, "answer": "Echo: ann"},
        "resources": {
            "uri": "demo://resource/static/document/features.md",
            "answer": "text/markdown",
        },
        "prompts": {
            "name": "args-prompt",
            "arguments": {"city": "Oslo", "state": "Oslo"},
            "answer": "Oslo",
        },
        "progress": {
            "name": "trigger-long-running-operation",
            // One more step than is wanted: mcp-remote lets the result overtake the last one,
            // without a gateway, too.
            "arguments": {"duration": 1, "steps": 4},
            "steps": 3,
            "answer": "completed",
        },
        "elicitation": {
            "name": "trigger-elicitation-request",
            "arguments": {},
            "answer": "Alice",
        },
        "sampling": {
            "name": "trigger-sampling-request",
            "arguments": {"prompt": "capital?", "maxTokens": 20},
            "answer": "Paris",
        },
        "roots": {"name": "get-roots-list", "arguments": {}, "answer": "file:///home/alice"},
    }))
}

/// What is called at the servers of `tests/peers/scripts`, which are one on four libraries.
fn asking_plan() -> Plan {
    plan(json!({
        "tools": {"name": "greet", "arguments": {"name": "ann"}, "answer": "Hello, ann!"},
        "resources": {"uri": "note://static", "answer": "a static note"},
        "prompts": {
            "name": "visit",
            "arguments": {"city": "Oslo"},
            "answer": "Plan a visit to Oslo.",
        },
        "progress": {
            "name": "count",
            "arguments": {"steps": 4},
            "steps": 3,
            "answer": "counted to 4",
        },
        "elicitation": {"name": "ask_name", "arguments": {}, "answer": "You are Alice."},
        "sampling": {"name": "ask_model", "arguments": {}, "answer": "It says Paris."},
        "roots": {"name": "ask_roots", "arguments": {}, "answer": "At file:///home/alice."},
    }))
}

fn plan(value: Value) -> Plan {
    value.as_object().cloned().unwrap()
}

/// A gateway in front of one server, in whose place the clients see it.
async fn gateway(url: &str, protocol: &str) -> Local {
    let naming = json!({"aggregation": {"conflictResolution": {"strategy": "PrefixOnConflict"}}});
    let mut server = remote("server", url);
    server["spec"]["protocol"] = json!(protocol);
    let objects = [virtual_server("one", naming), server];
    let gateway = Local::of(&objects).await.expect("a gateway");
    gateway.until_phase("Ready", SOON).await.expect("ready");
    gateway
}

/// `ok`, `-` where client or server has no such feature, `no` where that is listed; or what is
/// wrong.
fn cell(
    (server, plan): (&str, &Plan),
    (tester, verdicts): (Tester, &anyhow::Result<Verdicts>),
    feature: &str,
) -> Result<&'static str, String> {
    let listed = CANNOT
        .iter()
        .any(|(who, at, what, _)| *who == tester && *at == server && *what == feature);
    let verdicts = verdicts.as_ref().map_err(|error| format!("{error:#}"))?;
    match (verdicts.get(feature).map(String::as_str), listed) {
        (None, false) if !plan.contains_key(feature) || !tester.tries(feature) => Ok("-"),
        (None, _) => Err("not tried".to_owned()),
        (Some("ok"), false) => Ok("ok"),
        (Some("ok"), true) => Err("listed as impossible, and possible".to_owned()),
        (Some(_), true) => Ok("no"),
        (Some(why), false) => Err(why.chars().take(400).collect()),
    }
}

/// One row a client, and everything that is wrong.
fn table(
    server: &str,
    plan: &Plan,
    rows: &[(Tester, anyhow::Result<Verdicts>)],
) -> (String, String) {
    let mut table = format!("| client | speaks | {} |\n", FEATURES.join(" | "));
    let _ = writeln!(table, "|---|---|{}", "---|".repeat(FEATURES.len()));
    let mut wrong = String::new();
    for (tester, verdicts) in rows {
        let name = format!("{} ({})", tester.name(), tester.version().expect("pinned"));
        let _ = write!(table, "| {name} | {} |", tester.mode());
        for feature in FEATURES {
            let word = cell((server, plan), (*tester, verdicts), feature).unwrap_or_else(|why| {
                let _ = writeln!(wrong, "{tester:?} at {server}, {feature}: {why}");
                "FAILED"
            });
            let _ = write!(table, " {word} |");
        }
        table.push('\n');
    }
    for (tester, at, feature, reason) in CANNOT {
        if *at == server {
            let _ = writeln!(table, "\nNo {feature} for {}: {reason}.", tester.name());
        }
    }
    (table, wrong)
}

/// Tries everything at one server. The table is left in `target/peers`, and must be the one that
/// stands in the document.
async fn compare(server: &str, protocol: &str, url: &str, plan: &Plan) {
    let peers = &peers::installed().expect("the real peers are installed");
    let gateway = gateway(url, protocol).await;
    let url = &gateway.gateway.url();
    let rows = stream::iter(Tester::ALL)
        .map(|tester| async move { (tester, peers.features(tester, url, plan).await) });
    let rows: Vec<_> = rows.buffered(AT_A_TIME).collect().await;

    let (table, wrong) = table(server, plan, &rows);

    let root = sources::root().unwrap();
    let made = root.join("target/peers");
    std::fs::create_dir_all(&made).unwrap();
    std::fs::write(made.join(format!("{server}.md")), &table).unwrap();
    assert!(wrong.is_empty(), "{table}\n{wrong}");
    let document = std::fs::read_to_string(root.join(DOCUMENT)).unwrap();
    let written = document
        .split_once(&format!("<!-- {server} -->\n"))
        .and_then(|(_, rest)| rest.split_once("<!-- end -->"))
        .map(|(written, _)| written);
    assert_eq!(
        written,
        Some(&*table),
        "{DOCUMENT} is not what target/peers/{server}.md says"
    );
}

async fn compare_real(server: Server, name: &str, protocol: &str, plan: &Plan) {
    let peers = peers::installed().expect("the real peers are installed");
    let running = peers.start(server).await.expect("a server");
    compare(name, protocol, &running.url, plan).await;
}

/// A modern client is asked by `input_required`, a legacy client on its stream.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_legacy_rmcp_server() {
    let server = suite::Server::start(Era::Legacy).await.expect("a server");
    compare("legacy-rmcp", "auto", &server.url, &suite_plan()).await;
}

/// `input_required` passes to a modern client, and becomes requests for a legacy one.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_modern_rmcp_server() {
    let server = suite::Server::start(Era::Modern).await.expect("a server");
    compare("modern-rmcp", "auto", &server.url, &suite_plan()).await;
}

/// The reference server, on TypeScript SDK 1.
#[tokio::test]
async fn every_client_uses_every_feature_of_the_reference_server() {
    let plan = everything_plan();
    compare_real(Server::EverythingHttp, "everything", "auto", &plan).await;
}

/// It answers `input_required`, which becomes requests for a legacy client.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_modern_typescript_server() {
    let plan = asking_plan();
    compare_real(Server::FeaturesTs2, "modern-ts2", "auto", &plan).await;
}

/// It asks on the stream of the call, and for roots on that of the session.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_server_of_python_sdk_1() {
    let plan = asking_plan();
    compare_real(Server::FeaturesPy1, "legacy-py1", "auto", &plan).await;
}

/// It answers `input_required`, with a state of its own that every retry brings back.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_modern_server_of_python_sdk_2() {
    let plan = asking_plan();
    compare_real(Server::FeaturesPy2, "modern-py2", "modern", &plan).await;
}

/// The same program in the other era.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_legacy_server_of_python_sdk_2() {
    let plan = asking_plan();
    compare_real(Server::FeaturesPy2, "legacy-py2", "legacy", &plan).await;
}

/// It has neither sampling nor roots, and asks for forms in the legacy era alone.
#[tokio::test]
async fn every_client_uses_every_feature_of_a_fastmcp_4_server() {
    let mut plan = asking_plan();
    plan.retain(|feature, _| !["sampling", "roots"].contains(&feature.as_str()));
    compare_real(Server::FeaturesFastMcp4, "legacy-fastmcp4", "legacy", &plan).await;
}
