//! One backend alone at its own endpoint, and news of the lists of all.

use std::net::SocketAddr;

use ::http::Request;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, GetStream, Script, Shelf};
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON};

/// `/mcp/{backend}`: that backend alone under its own names; a session is of one path only, and a
/// backend that there is not is 404.
#[tokio::test]
async fn one_backend_alone_has_an_endpoint_of_its_own() -> Result<()> {
    let shelf = |script: Script, scheme: &str| script.with_shelf(Shelf::small(scheme));
    let old = Backend::start(shelf(Script::legacy(), "old")).await?;
    let new = Backend::start(shelf(Script::modern(), "new")).await?;
    let backends = [("old", old.url()), ("new", new.url())];
    let local = Local::start(&backends, json!({})).await?;
    let client = local.ready_client().await?;
    let address = local.gateway.listen;

    let page = http::modern_at(address, "/mcp/new", ("tools/list", json!({})), &[]).await?;
    let page = page.json()?;
    let names: Vec<_> = page["result"]["tools"]
        .as_array()
        .context(page.to_string())?
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    ensure!(names.contains(&"echo") && names.len() == 4, "{names:?}");
    let call = json!({ "name": "echo", "arguments": { "text": "alone" } });
    let answer = http::modern_at(address, "/mcp/new", ("tools/call", call), &[]).await?;
    ensure!(answer.text().contains("alone"), "{}", answer.text());
    let read = json!({ "uri": "old://one" });
    let answer = http::modern_at(address, "/mcp/new", ("resources/read", read), &[]).await?;
    ensure!(answer.json()?["error"]["code"] == json!(-32602));
    let answer = http::modern_at(address, "/mcp/nobody", ("tools/list", json!({})), &[]).await?;
    ensure!(answer.status == 404, "{}", answer.status);

    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    let opened = legacy_at(address, "/mcp/old", ("initialize", hello), "").await?;
    let session = opened.header("mcp-session-id").to_owned();
    ensure!(!session.is_empty(), "{}", opened.text());
    let get = ("prompts/get", json!({ "name": "greet" }));
    let here = legacy_at(address, "/mcp/old", get.clone(), &session).await?;
    ensure!(here.text().contains("hello"), "{}", here.text());
    for elsewhere in ["/mcp", "/mcp/new"] {
        let answer = legacy_at(address, elsewhere, get.clone(), &session).await?;
        ensure!(answer.status == 404, "{elsewhere}: {}", answer.status);
    }
    let answer = legacy_at(address, "/mcp/old", get, &client.session).await?;
    ensure!(answer.status == 404, "{}", answer.status);
    Ok(())
}

async fn legacy_at(
    address: SocketAddr,
    path: &str,
    (method, params): (&str, Value),
    session: &str,
) -> Result<http::Answer> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut builder = Request::post(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if !session.is_empty() {
        builder = builder.header("mcp-session-id", session);
    }
    http::send(
        address,
        builder.body(Full::<Bytes>::from(body.to_string()))?,
    )
    .await
}

/// R4.11: a backend's own news of prompts and resources reaches listeners, each list for itself.
#[tokio::test]
async fn a_changed_shelf_is_told_list_by_list() -> Result<()> {
    let script = Script::legacy().with_get_stream();
    ensure!(script.get_stream == GetStream::Offered);
    let backend = Backend::start(script.with_shelf(Shelf::small("old"))).await?;
    let local = Local::start(&[("old", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    let stream = http::listen(local.gateway.listen, &client.session).await?;
    let filter = json!({ "notifications": { "promptsListChanged": true } });
    let modern = http::modern_stream(local.gateway.listen, "subscriptions/listen", filter).await?;

    backend.update(|script| script.shelf.prompts.clear());
    backend.announce_tools_changed();

    vmcp_tests::eventually::eventually("both are told", SOON, || {
        let (seen, listened) = (stream.seen(), modern.seen());
        async move {
            let told = "notifications/prompts/list_changed";
            ensure!(seen.contains(told), "legacy: {seen}");
            ensure!(listened.contains(told), "modern: {listened}");
            Ok(())
        }
    })
    .await?;
    for other in ["tools/list_changed", "resources/list_changed"] {
        ensure!(!stream.seen().contains(other), "{}", stream.seen());
        ensure!(!modern.seen().contains(other), "{}", modern.seen());
    }
    let acknowledged = r#""notifications":{"promptsListChanged":true}"#;
    ensure!(modern.seen().contains(acknowledged), "{}", modern.seen());
    Ok(())
}
