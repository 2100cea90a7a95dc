//! `make demo` shows what it promises.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vmcp_tests::process::Launch;

/// With its own control plane, four servers and two of them late.
const DEADLINE: Duration = Duration::from_secs(240);

/// R2.1, R2.5, R2.10: Pending, then Degraded or Failed while servers are late, then Ready, and a tool call.
#[tokio::test]
async fn the_demo_goes_from_pending_through_degraded_to_ready_and_calls_a_tool() -> Result<()> {
    let demo = Launch::ours("demo")?.args(["--once", "--listen", "127.0.0.1:0"]);

    let output = demo.run(DEADLINE).await?;

    ensure!(output.success(), "{}{}", output.stdout, output.stderr);
    let text = &output.stdout;
    let pending = text
        .find(" Pending ")
        .with_context(|| format!("no Pending: {text}"))?;
    let degraded = text
        .find(" Degraded ")
        .with_context(|| format!("no Degraded: {text}"))?;
    let ready = text
        .find("4/4")
        .with_context(|| format!("no 4/4: {text}"))?;
    ensure!(pending < degraded && degraded < ready, "{text}");
    ensure!(text.contains("Europe/Berlin"), "no tool call: {text}");
    Ok(())
}
