//! Everything that a client may do, by clients and servers that nobody here wrote, through the
//! gateway: tools, resources, prompts, progress, and the questions of a server to its client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::fmt::Write as _;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use vmcp_tests::conformance::Era;
use vmcp_tests::conformance::suite;
use vmcp_tests::peers::{self, Peers, Plan, Server, Tester, Verdicts};
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// Runs of clients at a time: each is a Node or Python process on a machine of two cores.
const AT_A_TIME: usize = 3;

/// What the gateway or a peer cannot do: (clients, server, feature, reason). A line that passes
/// after all fails the test.
const CANNOT: &[(&[Tester], &str, &str, &str)] = &[];

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

fn plan(value: Value) -> Plan {
    value.as_object().cloned().unwrap()
}

/// A gateway in front of one server, in whose place the clients see it.
async fn gateway(url: &str) -> Local {
    let naming = json!({"aggregation": {"conflictResolution": {"strategy": "PrefixOnConflict"}}});
    let objects = [virtual_server("one", naming), remote("server", url)];
    let gateway = Local::of(&objects).await.expect("a gateway");
    gateway.until_phase("Ready", SOON).await.expect("ready");
    gateway
}

/// One row a client: `ok`, `-` where it has no such feature, `no` where that is listed, `FAILED`.
fn judge(server: &str, rows: &[(Tester, anyhow::Result<Verdicts>)]) -> (String, String) {
    let (mut table, mut wrong) = (format!("{server:<18}"), String::new());
    for feature in FEATURES {
        let _ = write!(table, " {feature:>11}");
    }
    for (tester, verdicts) in rows {
        let _ = write!(table, "\n{:<18}", format!("{tester:?}"));
        for feature in FEATURES {
            let listed = CANNOT.iter().find(|(testers, at, what, _)| {
                testers.contains(tester) && *at == server && *what == feature
            });
            let said = match verdicts {
                Ok(verdicts) => verdicts.get(feature).map(String::as_str),
                Err(_) => None,
            };
            let word = match (said, listed) {
                (None, None) if verdicts.is_ok() && !tester.tries(feature) => "-",
                (Some("ok"), None) => "ok",
                (Some("ok"), Some(_)) => "STALE",
                (Some(_), Some(_)) => "no",
                (Some(_) | None, _) => "FAILED",
            };
            if matches!(word, "STALE" | "FAILED") {
                let why = match verdicts {
                    Ok(_) => said.unwrap_or("not tried").to_owned(),
                    Err(error) => format!("{error:#}"),
                };
                let why: String = why.chars().take(400).collect();
                let _ = writeln!(wrong, "{tester:?} at {server}, {feature}: {word}: {why}");
            }
            let _ = write!(table, " {word:>11}");
        }
    }
    for (testers, at, feature, reason) in CANNOT {
        if *at == server {
            let _ = write!(table, "\n  no {feature} for {testers:?}: {reason}");
        }
    }
    (table, wrong)
}

async fn tried(peers: &Peers, url: &str, plan: &Plan) -> Vec<(Tester, anyhow::Result<Verdicts>)> {
    let runs = stream::iter(Tester::ALL)
        .map(|tester| async move { (tester, peers.features(tester, url, plan).await) });
    runs.buffered(AT_A_TIME).collect().await
}

/// Every feature in all four combinations of eras, on clients and servers that nobody here wrote:
/// a modern client that is asked gets `input_required`, a legacy client a request on its stream.
#[tokio::test]
async fn every_client_uses_every_feature_of_servers_of_both_eras_through_the_gateway() {
    let peers = peers::installed().expect("the real peers are installed");
    let old = suite::Server::start(Era::Legacy).await.expect("a server");
    let new = suite::Server::start(Era::Modern).await.expect("a server");
    let reference = peers.start(Server::EverythingHttp).await.expect("a server");
    let servers = [
        ("legacy rmcp", &old.url, suite_plan()),
        ("modern rmcp", &new.url, suite_plan()),
        ("everything", &reference.url, everything_plan()),
    ];

    let (mut tables, mut wrong) = (String::new(), String::new());
    for (name, url, plan) in servers {
        let gateway = gateway(url).await;
        let rows = tried(&peers, &gateway.gateway.url(), &plan).await;
        let (table, failures) = judge(name, &rows);
        tables.push_str(&table);
        tables.push_str("\n\n");
        wrong.push_str(&failures);
    }

    println!("{tables}");
    assert!(wrong.is_empty(), "{tables}\n{wrong}");
}
