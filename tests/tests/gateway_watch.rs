//! What a gateway process does beside calls: it tells listeners of changes, and keeps its log quiet.

use anyhow::{Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{Local, SOON};

/// T15, R4.11, T13: a listener is told once when the content changed, and not when it did not.
#[tokio::test]
async fn a_listener_hears_of_changes_of_content_only() -> Result<()> {
    let backend = Backend::start(Script::stateless()).await?;
    let quick = json!({ "healthCheck": { "periodSeconds": 1, "timeoutSeconds": 1 } });
    let local = Local::start(&[("one", backend.url())], quick).await?;
    let client = local.ready_client().await?;
    let stream = http::listen(local.gateway.listen, &client.session).await?;

    backend.stop().await;
    local.until_phase("Failed", SOON).await?;
    backend.restart().await?;
    local.until_phase("Ready", SOON).await?;
    ensure!(
        !stream.seen().contains("list_changed"),
        "told without a change: {}",
        stream.seen()
    );

    let schema = r#"{"name":"echo","inputSchema":{"type":"object","properties":{"new":{}}}}"#;
    let tool = Tool::raw("echo", schema, Behaviour::Echo);
    backend.set_tools(vec![tool]);
    backend.stop().await;
    local.until_phase("Failed", SOON).await?;
    backend.restart().await?;
    eventually("the listener is told", SOON, || {
        let seen = stream.seen();
        async move {
            ensure!(seen.contains("notifications/tools/list_changed"), "{seen}");
            Ok(())
        }
    })
    .await?;
    let page = client.result("tools/list", json!({})).await?;
    ensure!(
        page.to_string().contains("\"new\""),
        "the new schema is not served: {page}"
    );
    Ok(())
}

/// T17: at the level INFO requests leave no line in the log, whatever their number; R0.5: and a
/// backend that is down for them stops nothing of ours.
#[tokio::test]
async fn requests_leave_no_line_in_the_log() -> Result<()> {
    let backend = Backend::start(Script::stateless()).await?;
    let gone = Backend::late(Script::legacy()).await?;
    let local = Local::start(&[("one", backend.url()), ("gone", gone.url())], json!({})).await?;
    local.until_phase("Degraded", SOON).await?;
    let client = LegacyClient::open(local.gateway.listen).await?;
    let before = local.gateway.program.log().lines().count();
    ensure!(before > 0, "the log is empty: nothing would be seen");

    for _ in 0..200 {
        client.call("one_echo", json!({ "text": "x" })).await?;
        client.call("one_fail", json!({})).await?;
    }

    let after = local.gateway.program.log().lines().count();
    ensure!(
        after < before + 10,
        "{} lines for 400 calls",
        after - before
    );
    ensure!(local.gateway.program.exited()?.is_none());
    Ok(())
}
