//! The operator alone loses the API server for a while; the gateway goes on serving.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::Instant;
use vmcp_tests::backend::{Backend, FaultProxy, Passage, Script};
use vmcp_tests::controlplane::AuditEvent;
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::process::{Launch, Program};
use vmcp_tests::stack::{RELEASE, SOON, World, condition};

/// So long that the gateway's Lease looks stale to an operator that saw nothing meanwhile, or
/// soon after, and so short that the operator keeps its own Lease.
const INTERRUPTED: Duration = Duration::from_millis(8_500);

/// Every watch is back, and a take-over that waits for the Lease to look stale happened.
const AFTERWARDS: Duration = Duration::from_secs(12);

const PROBE: Duration = Duration::from_millis(100);

/// An operator that reaches the API server through the proxy alone.
async fn operator_behind(world: &World, proxy: &FaultProxy) -> Result<(Program, String)> {
    let dir = world.dir().join("behind");
    std::fs::create_dir_all(&dir)?;
    let name = world.name();
    let kubeconfig = world.plane.kubeconfig_for(name, RELEASE, &dir).await?;
    let near = format!("https://127.0.0.1:{}", proxy.port());
    let text = std::fs::read_to_string(&kubeconfig)?;
    ensure!(text.contains(world.plane.url()), "the URL of the server");
    std::fs::write(&kubeconfig, text.replace(world.plane.url(), &near))?;
    let ready = dir.join("ready.json");
    let program = Launch::ours("vmcp-operator")?
        .args(["--admin", "127.0.0.1:0", "--namespaces", name])
        .arg("--ready-file")
        .arg(&ready)
        .env("KUBECONFIG", kubeconfig)
        .env("POD_NAMESPACE", name)
        .env("POD_NAME", "behind")
        .start(dir.join("log"))?;
    let text = eventually("it says where it listens", SOON, || async {
        std::fs::read(&ready).context("no ready file yet")
    })
    .await?;
    let said: serde_json::Value = serde_json::from_slice(&text)?;
    let admin = said["admin"].as_str().context("an address")?.to_owned();
    Ok((program, admin))
}

async fn leads(admin: &str) -> Result<()> {
    let text = http::get(admin.parse()?, "/metrics").await?.text();
    ensure!(
        text.lines().any(|line| line == "vmcp_operator_leader 1"),
        "it does not lead"
    );
    Ok(())
}

/// Looks at the status for so long; each look has to be Ready with a gateway.
async fn ready_throughout(world: &World, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let status = world.status("all").await?;
        let phase = status.phase.map(|phase| format!("{phase:?}"));
        let gateway = condition(&status, "GatewayAvailable");
        ensure!(
            phase.as_deref() == Some("Ready") && gateway.starts_with("True "),
            "{}",
            serde_json::to_string(&status)?
        );
        // Sampling: a flap would last seconds.
        tokio::time::sleep(PROBE).await;
    }
    Ok(())
}

/// R0.7, T6, decision 7: what the operator missed is no reason to take a living gateway's place.
#[tokio::test]
async fn an_operator_that_was_cut_off_does_not_fight_a_living_gateway() -> Result<()> {
    let world = World::new("cutoff").await?;
    let backend = Backend::start(Script::legacy()).await?;
    world.add_remote("git", &backend.url()).await?;
    world.add_virtual("all", json!({})).await?;
    let target = world.plane.url().trim_start_matches("https://").parse()?;
    let proxy = FaultProxy::start(target).await?;
    let (operator, admin) = operator_behind(&world, &proxy).await?;
    eventually("the operator leads", SOON, || leads(&admin)).await?;
    let _gateway = world.gateway("all").await?;
    world.until_phase("all", "Ready", SOON).await?;
    world
        .until("all", "the operator sees the gateway", SOON, |status| {
            condition(status, "GatewayAvailable").starts_with("True ")
        })
        .await?;
    let mark = world.plane.audit().mark();

    for passage in [Passage::Refused, Passage::Frozen] {
        proxy.set(passage).await?;
        ready_throughout(&world, INTERRUPTED).await?;
        proxy.set(Passage::Open).await?;
        ready_throughout(&world, AFTERWARDS).await?;
    }

    ensure!(operator.exited()?.is_none(), "{}", operator.log_tail());
    leads(&admin).await?;
    let account = format!("system:serviceaccount:{}:{RELEASE}", world.name());
    let served = |event: &AuditEvent| {
        event.user == account && event.is_write() && event.resource == "virtualmcpservers"
    };
    let mut writes = world.plane.audit().since(&mark);
    writes.retain(served);
    // The end of a hand-over may still come; a fight writes again and again.
    ensure!(writes.len() <= 1, "{writes:#?}");
    Ok(())
}
