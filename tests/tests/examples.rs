//! The examples work as they stand: the very files that the README applies.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmcp_tests::controlplane::shared;
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::LegacyClient;
use vmcp_tests::peers::{self, Server};
use vmcp_tests::sources;
use vmcp_tests::stack::{GatewayProcess, Scope, install};

/// Real servers in Node.js and Python, started together on two cores.
const SERVERS_UP: Duration = Duration::from_secs(60);

fn example(folder: &str) -> Result<PathBuf> {
    Ok(sources::root()?.join("examples").join(folder))
}

/// Build 7: `kubectl apply -f examples/...` passes admission, in one folder as in the other.
#[tokio::test]
async fn the_api_server_accepts_every_example() -> Result<()> {
    let plane = shared().await?;
    let namespace = plane.namespace("examples").await?;
    install(&plane, &namespace.name, Scope::Namespace).await?;

    for folder in ["local", "kubernetes"] {
        let path = example(folder)?;
        let path = path
            .to_str()
            .context("the path of the checkout is not UTF-8")?;
        let apply = [
            "apply",
            "--dry-run=server",
            "-n",
            &namespace.name,
            "-f",
            path,
        ];
        let accepted = plane.kubectl_run(&apply).await?.ok()?;

        ensure!(accepted.lines().count() == 5, "{folder}: {accepted}");
    }
    namespace.finish().await
}

/// Build 7: `vmcp serve -f examples/local` joins the four real servers and routes a call, without
/// Kubernetes and in seconds.
#[tokio::test]
async fn the_local_example_serves_four_real_servers_without_kubernetes() -> Result<()> {
    let peers = peers::installed()?;
    let folder = tempfile::tempdir()?;
    let _everything = peers.start_on(Server::EverythingHttp, 31_010).await?;
    let _bridge = peers.start_on(Server::TimeAndGit, 31_020).await?;
    let _modern = peers.start_on(Server::ModernOnlyTs, 31_030).await?;

    let started = Instant::now();
    let gateway = GatewayProcess::from_files(&example("local")?, &[], folder.path()).await?;
    let tools = eventually("tools of all four servers", SERVERS_UP, || async {
        let tools = LegacyClient::open(gateway.listen).await?.tools().await?;
        let owners = ["everything_", "git_", "modern_", "time_"];
        let missing = owners
            .iter()
            .find(|owner| !tools.iter().any(|t| t.starts_with(**owner)));
        ensure!(missing.is_none(), "no tool of {missing:?} in {tools:?}");
        Ok(tools)
    })
    .await?;
    println!(
        "{} tools of four servers after {:?}",
        tools.len(),
        started.elapsed()
    );

    let client = LegacyClient::open(gateway.listen).await?;
    let answer = client
        .call("everything_echo", json!({ "message": "across" }))
        .await?;
    ensure!(answer.to_string().contains("across"), "{answer}");
    Ok(())
}
