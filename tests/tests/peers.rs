//! Clients and servers that nobody here wrote, with and without the gateway between them.
//!
//! The direct matrix proves the harness; the matrix through the gateway proves the gateway. Every
//! cell is a `tools/list` that names the tool and a `tools/call` whose content is checked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use vmcp_tests::eventually::eventually;
use vmcp_tests::peers::{self, Client, ClientReport, PeerServer, Peers, Server, Transport};
use vmcp_tests::process::{Launch, Program};
use vmcp_tests::raw::RawClient;

/// Runs of clients at a time: each is a Node or Python process on a machine of two cores.
const AT_A_TIME: usize = 3;
/// From the start of the gateway until all backends are in its list.
const READY: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// A server, what it lists, and one call with its answer.
struct Case {
    /// Name of the MCPServer.
    backend: &'static str,
    server: Server,
    tools: &'static [&'static str],
    tool: &'static str,
    arguments: Value,
    /// Part of the text of the first content block.
    answer: &'static str,
}

fn cases() -> Vec<Case> {
    let echo = |backend, server| Case {
        backend,
        server,
        tools: &[
            "echo",
            "get-sum",
            "get-structured-content",
            "get-tiny-image",
        ],
        tool: "echo",
        arguments: json!({"message": "ann"}),
        answer: "Echo: ann",
    };
    vec![
        echo("everything", Server::EverythingHttp),
        Case {
            backend: "modern",
            server: Server::ModernOnlyTs,
            tools: &["greet", "multiply", "refuse"],
            tool: "multiply",
            arguments: json!({"a": 6, "b": 7}),
            answer: "42",
        },
        Case {
            backend: "sse",
            server: Server::SsePy1,
            tools: &["shout", "reverse"],
            tool: "shout",
            arguments: json!({"text": "ann"}),
            answer: "ANN",
        },
        echo("everything-sse", Server::EverythingSse),
        Case {
            backend: "stateless",
            server: Server::Stateless,
            tools: &["count", "repeat"],
            tool: "repeat",
            arguments: json!({"text": "ab", "times": 3}),
            answer: "ababab",
        },
        echo("supergateway", Server::SupergatewayStateless),
        Case {
            backend: "time",
            server: Server::TimeAndGit,
            tools: &["get_current_time", "convert_time"],
            tool: "get_current_time",
            arguments: json!({"timezone": "UTC"}),
            answer: r#""timezone": "UTC""#,
        },
    ]
}

/// `None` where client and server have no era in common.
type Cell = Option<Result<()>>;

fn check(tools: &[String], result: &Value, case: &Case, prefix: &str) -> Result<()> {
    for tool in case.tools {
        let name = format!("{prefix}{tool}");
        ensure!(tools.contains(&name), "{name} is not among {tools:?}");
    }
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    ensure!(
        text.contains(case.answer),
        "expected {:?}, got {result}",
        case.answer
    );
    ensure!(result["isError"] != true, "isError: {result}");
    if case.tool == "multiply" {
        ensure!(
            result["structuredContent"] == json!({"product": 42}),
            "{result}"
        );
    }
    Ok(())
}

fn common_era(client: Client, server: Server) -> bool {
    match server {
        Server::EverythingSse | Server::SsePy1 => Client::SSE.contains(&client),
        Server::ModernOnlyTs => client.speaks_modern(),
        _ => client.speaks_legacy() && !Client::SSE.contains(&client),
    }
}

async fn started(peers: &Peers, cases: &[Case]) -> Vec<PeerServer> {
    let starting = stream::iter(cases).map(|case| peers.start(case.server));
    let servers: Vec<Result<PeerServer>> = starting.buffered(AT_A_TIME).collect().await;
    servers
        .into_iter()
        .map(|server| server.expect("a real server starts"))
        .collect()
}

/// Prints the matrix and fails with the reason of every cell that failed.
fn judge(title: &str, cases: &[Case], rows: &[(Client, Vec<Cell>)], took: Duration) {
    let mut table = format!("{title} ({} s)\n{:<16}", took.as_secs(), "");
    for case in cases {
        let _ = write!(table, " {:>14}", case.backend);
    }
    let mut failures = String::new();
    for (client, cells) in rows {
        let _ = write!(table, "\n{:<16}", format!("{client:?}"));
        for (case, cell) in cases.iter().zip(cells) {
            let word = match cell {
                None => "-",
                Some(Ok(())) => "ok",
                Some(Err(error)) => {
                    let _ = writeln!(failures, "{client:?} at {}: {error:#}", case.backend);
                    "FAILED"
                }
            };
            let _ = write!(table, " {word:>14}");
        }
    }
    println!("{table}");
    assert!(failures.is_empty(), "{table}\n{failures}");
}

/// Proves the harness: each client reaches each server that shares an era with it, and a pin to an
/// era that the server does not speak fails.
#[tokio::test]
async fn every_client_talks_to_every_server_of_its_era_directly() {
    let peers = peers::installed().expect("the real peers are installed");
    let cases = cases();
    let begun = Instant::now();
    let servers = started(&peers, &cases).await;

    let clients = Client::HTTP.into_iter().chain(Client::SSE);
    let cells =
        clients.flat_map(|client| cases.iter().zip(&servers).map(move |cell| (client, cell)));
    let runs = stream::iter(cells).map(|(client, (case, server))| {
        let peers = &peers;
        async move {
            if !common_era(client, case.server) {
                return (client, None);
            }
            let run = peers
                .client(client, &server.url, case.tool, &case.arguments)
                .await;
            (
                client,
                Some(run.and_then(|got| check(&got.tools, got.result(), case, ""))),
            )
        }
    });
    let cells: Vec<(Client, Cell)> = runs.buffered(AT_A_TIME).collect().await;
    let wrong_era = peers
        .client(Client::TsV2Modern, &servers[0].url, "", &json!({}))
        .await;

    let mut rows: Vec<(Client, Vec<Cell>)> = Vec::new();
    for (client, cell) in cells {
        match rows.last_mut() {
            Some((last, cells)) if *last == client => cells.push(cell),
            _ => rows.push((client, vec![cell])),
        }
    }
    assert!(
        wrong_era.is_err(),
        "a pin to 2026-07-28 fails at a legacy server"
    );
    judge("direct", &cases, &rows, begun.elapsed());
}

/// Both eras in all four combinations, and T21, T22 on real data: each client lists and calls the
/// tools of every server through one gateway, whatever era and transport the server speaks.
#[tokio::test]
async fn every_client_lists_and_calls_every_server_through_the_gateway() {
    let peers = peers::installed().expect("the real peers are installed");
    let cases = cases();
    let begun = Instant::now();
    let servers = started(&peers, &cases).await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), &cases, &servers)
        .await
        .expect("a ready gateway");

    let exposed: Vec<String> = cases
        .iter()
        .map(|case| format!("{}_{}", case.backend, case.tool))
        .collect();
    let calls: Vec<(&str, Value)> = cases
        .iter()
        .zip(&exposed)
        .map(|(case, name)| (name.as_str(), case.arguments.clone()))
        .collect();
    let runs = stream::iter(Client::HTTP).map(|client| {
        let (peers, url, calls) = (&peers, &gateway.url, &calls);
        async move { (client, peers.client_calls(client, url, calls).await) }
    });
    let reports: Vec<(Client, Result<ClientReport>)> = runs.buffered(AT_A_TIME).collect().await;

    let rows: Vec<(Client, Vec<Cell>)> = reports
        .into_iter()
        .map(|(client, report)| {
            let cells = cases.iter().enumerate().map(|(index, case)| {
                let prefix = format!("{}_", case.backend);
                Some(match &report {
                    Err(error) => Err(anyhow::anyhow!("{error:#}")),
                    Ok(got) => check(&got.tools, &got.results[index], case, &prefix),
                })
            });
            (client, cells.collect())
        })
        .collect();
    judge("through the gateway", &cases, &rows, begun.elapsed());
    gateway
        .program
        .terminate(STOP)
        .await
        .expect("the gateway ends on SIGTERM");
}

struct Gateway {
    url: String,
    program: Program,
}

impl Gateway {
    /// Starts `vmcp serve -f` in front of the servers and waits until it lists all of them.
    async fn start(
        folder: &std::path::Path,
        cases: &[Case],
        servers: &[PeerServer],
    ) -> Result<Self> {
        let (config, ready) = (folder.join("gateway.yaml"), folder.join("ready.json"));
        std::fs::write(&config, objects(cases, servers))?;
        let program = Launch::ours("vmcp")?
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("-f")
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .start(folder.join("gateway.log"))?;
        let url = eventually("the gateway lists every backend", READY, || async {
            ensure!(
                program.exited()?.is_none(),
                "it ended: {}",
                program.log_tail()
            );
            let bound: Value = serde_json::from_slice(&std::fs::read(&ready)?)?;
            let url = format!(
                "http://{}/mcp",
                bound["listen"].as_str().unwrap_or_default()
            );
            let tools = RawClient::connect(&url)
                .await?
                .modern("tools/list", json!({}))
                .await?;
            let names = tools.tool_names();
            for case in cases {
                let name = format!("{}_{}", case.backend, case.tool);
                ensure!(
                    names.contains(&name),
                    "{name} is missing, {}",
                    program.log_tail()
                );
            }
            Ok(url)
        })
        .await?;
        Ok(Self { url, program })
    }
}

/// The objects that a person would apply, as one file.
fn objects(cases: &[Case], servers: &[PeerServer]) -> String {
    let mut objects = vec![json!({
        "apiVersion": "vmcp.dev/v1alpha1",
        "kind": "VirtualMCPServer",
        "metadata": {"name": "all"},
        "spec": {"backends": {"selector": {"matchLabels": {"test": "peers"}}}},
    })];
    for (case, server) in cases.iter().zip(servers) {
        let transport = match server.transport {
            Transport::StreamableHttp => "streamable-http",
            Transport::Sse => "sse",
        };
        objects.push(json!({
            "apiVersion": "vmcp.dev/v1alpha1",
            "kind": "MCPServer",
            "metadata": {"name": case.backend, "labels": {"test": "peers"}},
            "spec": {
                "transport": transport,
                "remote": {"url": server.url, "allowInsecure": true},
            },
        }));
    }
    // JSON is YAML.
    objects
        .iter()
        .map(|object| format!("---\n{object}\n"))
        .collect()
}
