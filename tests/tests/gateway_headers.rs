//! What headers decide at a real gateway process: which request it is, and which form its answer has.

use anyhow::{Result, ensure};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::http::{self as plain, Answer, LegacyClient};
use vmcp_tests::stack::{Local, SOON};

async fn running() -> Result<(Backend, Local)> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("one", backend.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    Ok((backend, local))
}

async fn post(local: &Local, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
    let listen = local.gateway.listen;
    let mut request = Request::post("/mcp")
        .header("host", listen.to_string())
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    plain::send(listen, request.body(Full::from(body.to_string()))?).await
}

/// Two headers that contradict each other could be read by two readers as two different requests.
#[tokio::test]
async fn a_header_that_stands_twice_is_refused() -> Result<()> {
    let (_backend, local) = running().await?;
    let client = LegacyClient::open(local.gateway.listen).await?;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });

    for (headers, code) in [
        (
            vec![
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-name", "one_echo"),
                ("mcp-name", "one_fail"),
            ],
            -32_020,
        ),
        (
            vec![
                ("mcp-protocol-version", "2025-11-25"),
                ("mcp-protocol-version", "2026-07-28"),
            ],
            -32_020,
        ),
        (
            vec![
                ("mcp-session-id", client.session.as_str()),
                ("mcp-session-id", "another"),
            ],
            -32_600,
        ),
    ] {
        let answer = post(&local, &headers, &ping).await?;
        ensure!(answer.status == 400, "{headers:?}: {answer:?}");
        let said = answer.json()?;
        ensure!(said["error"]["code"] == json!(code), "{headers:?}: {said}");
    }
    let once = [("mcp-session-id", client.session.as_str())];
    ensure!(post(&local, &once, &ping).await?.status == 200);
    Ok(())
}

/// A client gets the form that it accepts, or none.
#[tokio::test]
async fn answers_have_the_form_that_is_accepted() -> Result<()> {
    let (_backend, local) = running().await?;
    let client = LegacyClient::open(local.gateway.listen).await?;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "_meta": meta, "notifications": { "toolsListChanged": true } });
    let listen = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
        "params": params });
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
        ("accept", "application/json"),
    ];
    let refused = post(&local, &headers, &listen).await?;
    ensure!(refused.status == 406, "{refused:?}");

    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "no_such", "arguments": {} } });
    let headers = [
        ("mcp-session-id", client.session.as_str()),
        ("accept", "text/html, application/xml"),
    ];
    let refused = post(&local, &headers, &call).await?;
    ensure!(refused.status == 406, "{refused:?}");
    ensure!(
        refused.json()?["error"]["code"] == json!(-32600),
        "{refused:?}"
    );
    for (accept, form) in [
        ("text/event-stream", "text/event-stream"),
        ("application/json", "application/json"),
    ] {
        let headers = [
            ("mcp-session-id", client.session.as_str()),
            ("accept", accept),
        ];
        let answer = post(&local, &headers, &call).await?;
        ensure!(answer.header("content-type") == form, "{answer:?}");
        ensure!(
            answer.json()?["error"]["code"] == json!(-32602),
            "{answer:?}"
        );
    }
    Ok(())
}
