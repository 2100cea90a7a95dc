//! What takes long, and how much of it there may be, through a gateway process in real time.

use std::time::Duration;

use ::http::Request;
use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vmcp_tests::backend::{Backend, Behaviour, Fault, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient, Listener};
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// Longer than any time-out of ours but that of a call, and than the two minutes after which an
/// idle connection of a client is closed.
const LONG: Duration = Duration::from_secs(125);

/// Of one backend (shared limits); half of it for one principal.
const IN_FLIGHT: usize = 100;

/// A call whose answer may come as a stream.
async fn long_call(client: &LegacyClient, tool: &str) -> Result<Listener> {
    let arguments = json!({ "ms": u64::try_from(LONG.as_millis())? });
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": tool, "arguments": arguments },
    });
    let request = Request::post("/mcp")
        .header("host", client.address.to_string())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-session-id", &client.session)
        .body(Full::<Bytes>::from(body.to_string()))?;
    http::stream(client.address, request).await
}

/// Calls of minutes are answered, in both eras at backends of both, and streams that stand for
/// minutes still tell.
#[tokio::test]
async fn calls_and_streams_last_for_minutes() -> Result<()> {
    let legacy = Backend::start(Script::legacy().with_get_stream()).await?;
    let modern = Backend::start(Script::modern().with_get_stream()).await?;
    let backends = [("legacy", legacy.url()), ("modern", modern.url())];
    let local = Local::start(&backends, json!({})).await?;
    let client = local.ready_client().await?;
    let address = local.gateway.listen;

    let started = Instant::now();
    let standing = http::listen(address, &client.session).await?;
    let wish = json!({ "notifications": { "toolsListChanged": true } });
    let listening = http::modern_stream(address, "subscriptions/listen", wish).await?;
    let mut calls = Vec::new();
    for tool in ["legacy_slow", "modern_slow"] {
        calls.push(long_call(&client, tool).await?);
        let arguments = json!({ "ms": u64::try_from(LONG.as_millis())? });
        let params = json!({ "name": tool, "arguments": arguments });
        calls.push(http::modern_stream(address, "tools/call", params).await?);
    }

    eventually("every call is answered", LONG + SOON, || async {
        for call in &calls {
            ensure!(call.seen().contains("\"slept\""), "{}", call.seen());
        }
        Ok(())
    })
    .await?;
    ensure!(started.elapsed() >= LONG, "{:?}", started.elapsed());

    let schema = r#"{"name":"echo","inputSchema":{"type":"object","properties":{"new":{}}}}"#;
    modern.set_tools(vec![Tool::raw("echo", schema, Behaviour::Echo)]);
    eventually("both listeners are told", SOON, || async {
        for stream in [&standing, &listening] {
            let seen = stream.seen();
            ensure!(seen.contains("notifications/tools/list_changed"), "{seen}");
        }
        Ok(())
    })
    .await
}

/// Shared limits: 100 calls under way at a backend, half of them for one client at most; the next
/// waits a second in the queue and is told that it is too much and when to come back.
#[tokio::test]
async fn calls_above_the_bound_are_refused_with_the_documented_error() -> Result<()> {
    let busy = Backend::start(Script::stateless()).await?;
    let other = Backend::start(Script::stateless()).await?;
    let backends = [("busy", busy.url()), ("other", other.url())];
    let local = Local::start(&backends, json!({})).await?;
    let client = local.ready_client().await?;
    busy.set(Fault::on("tools/call", Fault::Hold)).await?;
    let mut running = JoinSet::new();
    for _ in 0..2 {
        let greedy = LegacyClient::open(local.gateway.listen).await?;
        for _ in 0..IN_FLIGHT / 2 {
            let greedy = greedy.clone();
            running.spawn(async move { greedy.call("busy_echo", json!({ "text": "x" })).await });
        }
    }
    eventually("all places are taken", SOON, || async {
        let taken = busy.requests("tools/call").len();
        ensure!(taken == IN_FLIGHT, "{taken} under way");
        Ok(())
    })
    .await?;

    let started = Instant::now();
    let refused = client.call("busy_echo", json!({ "text": "y" })).await?;
    ensure!(started.elapsed() >= Duration::from_millis(900), "it queued");
    overloaded(&refused, -32001)?;
    let params = json!({ "name": "busy_echo", "arguments": { "text": "y" } });
    let refused = http::modern(local.gateway.listen, "tools/call", params).await?;
    ensure!(refused.status == 200);
    overloaded(&refused.json()?, -31001)?;
    ensure!(busy.requests("tools/call").len() == IN_FLIGHT, "it left");
    let fine = client.call("other_echo", json!({ "text": "y" })).await?;
    ensure!(fine["result"].is_object(), "{fine}");

    busy.heal().await?;
    while let Some(done) = running.join_next().await {
        let answer = done??;
        ensure!(answer["result"].is_object(), "{answer}");
    }
    Ok(())
}

fn overloaded(answer: &Value, code: i64) -> Result<()> {
    let error = &answer["error"];
    ensure!(error["code"] == json!(code), "{answer}");
    ensure!(error["data"]["reason"] == json!("Overloaded"), "{answer}");
    ensure!(error["data"]["server"] == json!("busy"), "{answer}");
    ensure!(error["data"]["retryAfterMs"].is_u64(), "{answer}");
    Ok(())
}

/// `timeouts.callSeconds` covers the whole body: one that stops in the middle of it has no more time
/// than one that never begins.
#[tokio::test]
async fn the_deadline_of_a_call_covers_all_of_its_body() -> Result<()> {
    let chatty = Backend::start(Script::legacy()).await?;
    let mut object = remote("chatty", &chatty.url());
    object["spec"]["timeouts"] = json!({ "connectSeconds": 1, "callSeconds": 3 });
    let local = Local::of(&[virtual_server("local", json!({})), object]).await?;
    let client = local.ready_client().await?;
    let warm = client.call("chatty_echo", json!({ "text": "x" })).await?;
    ensure!(warm["result"].is_object(), "{warm}");
    for fault in [
        Fault::on("tools/call", Fault::StallMidBody),
        Fault::on("tools/call", Fault::Slow(Duration::from_secs(20))),
    ] {
        chatty.set(fault.clone()).await?;
        let started = Instant::now();

        let answer = client.call("chatty_echo", json!({ "text": "x" })).await?;

        let took = started.elapsed();
        ensure!(answer["error"]["code"] == json!(-32002), "{answer}");
        ensure!(
            took > Duration::from_secs(2) && took < Duration::from_secs(8),
            "{fault:?}: {took:?}"
        );
    }
    Ok(())
}
