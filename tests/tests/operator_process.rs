//! The operator as a process: leader election, its end, its admin port, its flags.

mod operator_kit;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use operator_kit::{Kit, QUICK};
use serde_json::json;
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::process::Launch;

/// Build 4, graceful shutdown: it ends with 0 at SIGTERM and lets its Lease go, so that the next one
/// need not wait until it runs out.
#[tokio::test]
async fn an_operator_that_is_told_to_stop_hands_over_at_once() -> Result<()> {
    let mut kit = Kit::start("handover").await?;
    kit.until_leads().await?;

    let status = kit.operator.program.terminate(QUICK).await?;

    ensure!(status.success(), "{status}");
    ensure!(kit.leader().await?.is_empty(), "it still holds the Lease");
    kit.operator = kit.world.operator().await?;
    kit.world.add_virtual("all", json!({})).await?;
    eventually("the next one works", Duration::from_secs(10), || async {
        kit.api::<Deployment>()
            .get("vmcp-all")
            .await
            .context("no Deployment yet")
    })
    .await?;
    Ok(())
}

/// Build 4, leader election: of two operators one works; when it crashes, the other takes over after
/// the Lease has run out, and writes nothing before.
#[tokio::test]
async fn a_second_operator_waits_and_takes_over_from_one_that_crashed() -> Result<()> {
    let kit = Kit::start("leader").await?;
    kit.until_leads().await?;
    let first = kit.leader().await?;
    let second = second_operator(&kit).await?;

    eventually("the second is ready and waits", QUICK, || async {
        let ready = http::get(second.1, "/readyz").await?;
        ensure!(ready.status == 200, "{}", ready.text());
        Ok(())
    })
    .await?;
    let metrics = http::get(second.1, "/metrics").await?.text();
    let waits = metrics.lines().any(|line| line == "vmcp_operator_leader 0");
    ensure!(waits, "two operators lead");
    kit.operator.program.kill()?;

    eventually("the second leads", Duration::from_secs(40), || async {
        let leader = kit.leader().await?;
        ensure!(leader != first, "{leader} still leads");
        Ok(())
    })
    .await?;
    kit.world.add_virtual("all", json!({})).await?;
    kit.until_exists::<Deployment>("vmcp-all").await?;
    Ok(())
}

async fn second_operator(
    kit: &Kit,
) -> Result<(vmcp_tests::process::Program, std::net::SocketAddr)> {
    let dir = kit.world.dir().join("second");
    std::fs::create_dir_all(&dir)?;
    let name = kit.world.name();
    let account = vmcp_tests::stack::RELEASE;
    let kubeconfig = kit.world.plane.kubeconfig_for(name, account, &dir).await?;
    let ready = dir.join("ready.json");
    let program = Launch::ours("vmcp-operator")?
        .args([
            "--admin",
            "127.0.0.1:0",
            "--namespaces",
            name,
            "--ready-file",
        ])
        .arg(&ready)
        .env("KUBECONFIG", kubeconfig)
        .env("POD_NAMESPACE", name)
        .env("POD_NAME", "second")
        .start(dir.join("log"))?;
    let text = eventually("it says where it listens", QUICK, || async {
        std::fs::read(&ready).context("no ready file yet")
    })
    .await?;
    let said: serde_json::Value = serde_json::from_slice(&text)?;
    let admin = said["admin"].as_str().context("an address")?.parse()?;
    Ok((program, admin))
}

/// Build 4, admin endpoints and metrics: what was done is counted.
#[tokio::test]
async fn what_the_operator_does_is_counted() -> Result<()> {
    let kit = Kit::start("metrics").await?;
    kit.world.add_virtual("all", json!({})).await?;
    kit.until_exists::<Deployment>("vmcp-all").await?;

    ensure!(http::get(kit.operator.admin, "/healthz").await?.status == 200);
    ensure!(http::get(kit.operator.admin, "/readyz").await?.status == 200);
    eventually("the counters", QUICK, || async {
        let text = http::get(kit.operator.admin, "/metrics").await?.text();
        for line in [
            "vmcp_operator_api_writes_total{kind=\"Deployment\",verb=\"create\"} 1",
            "vmcp_operator_api_writes_total{kind=\"VirtualMCPServer\",verb=\"apply_status\"}",
            "vmcp_operator_reconcile_total{controller=\"virtualmcpserver\",outcome=\"ok\"}",
            "vmcp_operator_queue_depth{controller=\"virtualmcpserver\"}",
        ] {
            ensure!(text.contains(line), "{line} is missing in\n{text}");
        }
        Ok(())
    })
    .await
}

/// Build 4, RBAC: the rights of the chart are enough; nothing that the operator asks for is refused.
#[tokio::test]
async fn nothing_that_the_operator_asks_for_is_forbidden() -> Result<()> {
    let kit = Kit::start("rights").await?;
    let audit = kit.world.plane.audit();
    let mark = audit.mark();
    kit.world
        .add_virtual("all", json!({ "replicas": 2 }))
        .await?;
    kit.until_exists::<Deployment>("vmcp-all").await?;
    kit.world
        .add_remote("one", "http://127.0.0.1:9/mcp")
        .await?;
    kit.until_virtual("all", "it is listed", |status| status["backendCount"] == 1)
        .await?;
    kit.world.delete_server("one").await?;
    kit.until_virtual("all", "it is gone", |status| status["backendCount"] == 0)
        .await?;
    kit.until_quiet().await?;

    let ours = format!("system:serviceaccount:{}:vmcp-operator", kit.world.name());
    let asked: Vec<_> = audit
        .since(&mark)
        .into_iter()
        .filter(|e| e.user == ours)
        .collect();
    ensure!(asked.len() > 10, "only {} requests seen", asked.len());
    let forbidden: Vec<_> = asked
        .iter()
        .filter(|e| matches!(e.code, 401 | 403))
        .collect();
    ensure!(forbidden.is_empty(), "{forbidden:#?}");
    let read = asked
        .iter()
        .filter(|e| e.resource == "secrets" && e.verb != "create")
        .count();
    ensure!(read == 0, "it asked for Secrets other than to make one");
    Ok(())
}

/// Build 8: wrong flags: usage and exit code 2.
#[tokio::test]
async fn wrong_flags_end_with_usage_and_exit_code_2() -> Result<()> {
    let wrong = Launch::ours("vmcp-operator")?.args(["--namespaces", "Not/One"]);

    let output = wrong.run(QUICK).await?;

    ensure!(output.status.code() == Some(2), "{}", output.status);
    ensure!(output.stderr.contains("--namespaces"), "{}", output.stderr);
    Ok(())
}
