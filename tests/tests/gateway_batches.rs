//! JSON-RPC batches of 2025-03-26 clients, at a real gateway process.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_core::limits;
use vmcp_tests::drip::Drip;
use vmcp_tests::events::{EventStream, initialize, session};

fn ping(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "ping" })
}

fn call(id: &str, arguments: &Value) -> Value {
    let params = json!({ "name": "one_drip", "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

/// Status and body.
async fn post(address: SocketAddr, headers: &[(&str, &str)], body: &Value) -> Result<(u16, Value)> {
    let answer = EventStream::post(address, "/mcp", headers, body).await?;
    let status = answer.status.as_u16();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or_default()))
}

/// Every member is answered as if it had come alone, in one array.
#[tokio::test]
async fn the_responses_of_a_batch_come_in_one_array() -> Result<()> {
    let (drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-03-26").await?;
    let headers = [("mcp-session-id", session.as_str())];

    let batch = json!([
        ping(1),
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        call("two", &json!({})),
        { "jsonrpc": "2.0", "id": 3, "method": "made/up" },
        { "id": 4 },
        call("five", &json!({})),
    ]);
    let (status, answers) = post(address, &headers, &batch).await?;

    ensure!(status == 200, "{status}");
    let answers = answers.as_array().cloned().unwrap_or_default();
    ensure!(answers.len() == 5, "{answers:?}");
    let by_id = |id: Value| answers.iter().find(|answer| answer["id"] == id);
    ensure!(by_id(json!(1)).is_some_and(|answer| answer["result"] == json!({})));
    ensure!(by_id(json!(3)).is_some_and(|answer| answer["error"]["code"] == -32_601));
    ensure!(by_id(Value::Null).is_some_and(|answer| answer["error"]["code"] == -32_600));
    for id in ["two", "five"] {
        let text = by_id(json!(id)).map(|answer| answer["result"]["content"][0]["text"].clone());
        ensure!(text == Some(json!("dripped 0")), "{answers:?}");
    }
    ensure!(drip.calls() == 2);
    Ok(())
}

/// A member that talks makes the answer a stream, which can be taken up again.
#[tokio::test]
async fn a_batch_that_talks_is_answered_on_one_stream() -> Result<()> {
    let (_drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-03-26").await?;
    let headers = [("mcp-session-id", session.as_str())];
    let batch = json!([
        call("a", &json!({ "count": 3, "gap": 30 })),
        ping(2),
        call("c", &json!({ "count": 2, "gap": 30 })),
    ]);

    let mut stream = EventStream::post(address, "/mcp", &headers, &batch).await?;
    let (mut said, mut ended) = (0, Vec::new());
    let mut messages = 0;
    while said < 5 || ended.len() < 3 {
        let event = stream.message().await?;
        let message = event.json()?;
        match message.get("id") {
            Some(id) => ended.push(id.clone()),
            None => said += 1,
        }
        messages += 1;
        if messages == 3 {
            let last = event.id.unwrap_or_default();
            let headers = [headers[0], ("last-event-id", last.as_str())];
            stream = EventStream::get(address, "/mcp", &headers).await?;
        }
    }

    ensure!(said == 5 && ended.len() == 3, "{said} {ended:?}");
    ensure!(stream.next().await?.is_none());
    Ok(())
}

/// Nothing to answer is 202; what is no batch, or not this client's, is refused whole.
#[tokio::test]
async fn a_batch_is_accepted_or_refused_whole() -> Result<()> {
    let (drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let old = session(address, "2025-03-26").await?;
    let new = session(address, "2025-06-18").await?;
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let response = json!({ "jsonrpc": "2.0", "id": 9, "result": {} });
    let most = Value::from(vec![ping(1); limits::BATCH]);
    let more = Value::from(vec![ping(1); limits::BATCH + 1]);
    let old = [("mcp-session-id", old.as_str())];
    let new = [("mcp-session-id", new.as_str())];
    let modern = [("mcp-protocol-version", "2026-07-28")];

    for (headers, body, expected) in [
        (&old[..], json!([notification, response]), 202),
        (&old, most, 200),
        (&old, more, 400),
        (&old, json!([]), 400),
        (&old, json!([initialize("2025-03-26")]), 400),
        (&[], json!([initialize("2025-03-26"), ping(1)]), 400),
        (&[], json!([ping(1)]), 400),
        (&new, json!([call("no", &json!({}))]), 400),
        (&modern, json!([ping(1)]), 400),
        (&[("mcp-session-id", "unknown")], json!([ping(1)]), 404),
    ] {
        let (status, answer) = post(address, headers, &body).await?;
        ensure!(status == expected, "{headers:?}: {status} {answer}");
        let refused = expected != 400 || answer["error"]["code"] == -32_600;
        ensure!(refused, "{answer}");
    }
    ensure!(drip.calls() == 0, "a refused batch does nothing");
    Ok(())
}
