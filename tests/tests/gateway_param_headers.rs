//! `Mcp-Param-*` (2026-07-28): judged where a modern client sends them, made anew for a modern
//! backend, whoever calls.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::http;
use vmcp_tests::stack::Local;

const DEFINITION: &str = r#"{"name":"where","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#;

/// A header that differs from the argument, is missing or is badly coded is -32020 with HTTP 400
/// and reaches no backend; one that nobody knows passes as it is.
#[tokio::test]
async fn headers_of_arguments_agree_with_the_arguments() -> Result<()> {
    let tool = Tool::raw("where", DEFINITION, Behaviour::Echo);
    let backend = Backend::start(Script::modern().with_tools(vec![tool])).await?;
    let local = Local::start(&[("new", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    let address = local.gateway.listen;
    let call = json!({ "name": "new_where", "arguments": { "region": "Zürich" } });

    let wrong: [&[(&str, &str)]; 3] = [
        &[],
        &[("mcp-param-region", "Bern")],
        &[("mcp-param-region", "=?base64?WsO8cmljaA?=")],
    ];
    for headers in wrong {
        let asked = ("tools/call", call.clone());
        let answer = http::modern_at(address, "/mcp", asked, headers).await?;
        ensure!(answer.status == 400, "{headers:?}: {}", answer.status);
        let code = &answer.json()?["error"]["code"];
        ensure!(*code == json!(-32020), "{headers:?}: {code}");
    }
    ensure!(backend.requests("tools/call").is_empty());

    let right = [
        ("mcp-param-region", "=?base64?WsO8cmljaA==?="),
        ("mcp-param-unknown", "as it is"),
    ];
    let answer = http::modern_at(address, "/mcp", ("tools/call", call.clone()), &right).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    client.call("new_where", call["arguments"].clone()).await?;

    let sent = backend.requests("tools/call");
    ensure!(sent.len() == 2, "{}", sent.len());
    for request in &sent {
        let region = request.header("mcp-param-region");
        ensure!(region == "=?base64?WsO8cmljaA==?=", "{region:?}");
    }
    let first = sent.first().context("no call")?;
    ensure!(first.header("mcp-param-unknown") == "as it is");
    Ok(())
}
