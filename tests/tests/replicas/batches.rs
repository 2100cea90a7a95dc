//! A batch whose replica is killed.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::drip::Drip;
use vmcp_tests::events::EventStream;
use vmcp_tests::eventually::eventually;
use vmcp_tests::stack::{Replicas, SOON};

use crate::kit::echo;

/// T19: a batch is executed once as well, and each of its requests gets its one error.
#[tokio::test]
async fn a_batch_at_a_killed_owner_is_never_executed_again() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let mut replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let session = batching(x).await?;

    let batch = json!([
        call(1, "a_slow", &json!({ "ms": 20_000 })),
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        call(2, "a_echo", &echo("once")),
    ]);
    let posted = tokio::spawn(async move {
        let headers = [("mcp-session-id", session.as_str())];
        let answer = EventStream::post(y, "/mcp", &headers, &batch).await?;
        answer.text().await
    });
    eventually("the calls run", SOON, || async {
        let calls = backend.requests("tools/call").len();
        ensure!(calls == 2, "{calls} calls");
        Ok(())
    })
    .await?;
    replicas.kill("x")?;

    let answers: Value = serde_json::from_str(&posted.await??)?;
    let answers = answers.as_array().cloned().unwrap_or_default();
    let mut lost: Vec<_> = answers.iter().map(|answer| &answer["id"]).collect();
    lost.sort_by_key(|id| id.as_u64());
    ensure!(lost == [&json!(1), &json!(2)], "{answers:?}");
    for answer in &answers {
        let data = &answer["error"]["data"];
        ensure!(data["reason"] == "ReplicaLost", "{answer}");
        ensure!(
            data["server"] == "local" && data["detail"].is_string(),
            "{answer}"
        );
    }
    let calls = backend.requests("tools/call").len();
    ensure!(calls == 2, "a lost batch ran again: {calls} calls");
    Ok(())
}

/// A batch whose stream has begun ends with an error for what was not answered on it, and for
/// nothing else.
#[tokio::test]
async fn a_batch_that_breaks_off_ends_with_what_is_missing() -> Result<()> {
    let drip = Drip::start().await?;
    let mut replicas = Replicas::start(&[("a", drip.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let session = batching(x).await?;
    let headers = [("mcp-session-id", session.as_str())];
    let batch = json!([
        call(1, "a_drip", &json!({ "count": 2, "gap": 10_000 })),
        call(2, "a_drip", &json!({ "count": 1, "gap": 10 })),
    ]);

    let mut stream = EventStream::post(y, "/mcp", &headers, &batch).await?;
    let mut ended = Vec::new();
    while ended.is_empty() {
        let message = stream.message().await?.json()?;
        ended.extend(message.get("id").cloned());
    }
    replicas.kill("x")?;
    while let Some(event) = stream.next().await? {
        if !event.data.is_empty() {
            let message = event.json()?;
            // The batch's stream begins when each of its calls has said something: the long one's
            // first word may be on it.
            if message["method"] == "notifications/message" {
                continue;
            }
            ensure!(
                message["error"]["data"]["reason"] == "ReplicaLost",
                "{message}"
            );
            ended.extend(message.get("id").cloned());
        }
    }

    ensure!(ended == [json!(2), json!(1)], "{ended:?}");
    ensure!(drip.calls() == 2, "{} calls", drip.calls());
    Ok(())
}

/// A session that knows batches.
async fn batching(address: SocketAddr) -> Result<String> {
    let params = json!({
        "protocolVersion": "2025-03-26", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let answer = EventStream::post(address, "/mcp", &[], &body).await?;
    let id = answer.headers.get("mcp-session-id").context("no session")?;
    Ok(id.to_str()?.to_owned())
}

fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}
