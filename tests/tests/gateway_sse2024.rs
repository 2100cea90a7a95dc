//! Clients of revision 2024-11-05 at a real gateway process: by hand, and the two that are about.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::drip::Drip;
use vmcp_tests::events::EventStream;
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::peers::{self, Client};
use vmcp_tests::stack::{Local, SOON};

/// A client: a stream, and where to write.
struct Old {
    address: SocketAddr,
    stream: EventStream,
    place: String,
}

impl Old {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let headers = [("accept", "text/event-stream")];
        let mut stream = EventStream::get(address, "/sse", &headers).await?;
        ensure!(stream.status == 200, "{}", stream.status);
        let first = stream.next().await?.context("no first event")?;
        ensure!(first.name == "endpoint", "{first:?}");
        ensure!(first.data.starts_with("/messages?sessionId="), "{first:?}");
        Ok(Self {
            address,
            stream,
            place: first.data,
        })
    }

    async fn say(&self, message: &Value) -> Result<u16> {
        let answer = EventStream::post(self.address, &self.place, &[], message).await?;
        Ok(answer.status.as_u16())
    }

    async fn initialize(&mut self) -> Result<Value> {
        let params = json!({
            "protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": { "name": "old", "version": "1" },
        });
        let message =
            json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        ensure!(self.say(&message).await? == 202);
        let answer = self.stream.message().await?.json()?;
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        ensure!(self.say(&initialized).await? == 202);
        Ok(answer)
    }

    async fn call(&self, id: u64, tool: &str, arguments: Value) -> Result<()> {
        let params = json!({ "name": tool, "arguments": arguments });
        let message =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        ensure!(self.say(&message).await? == 202);
        Ok(())
    }
}

/// Responses and notifications come on the stream, from backends of both eras; the session ends
/// with the stream, and its sessions at backends with it (T7).
#[tokio::test]
async fn everything_comes_on_the_stream_and_the_session_ends_with_it() -> Result<()> {
    let drip = Drip::start().await?;
    let modern = Backend::start(Script::modern()).await?;
    let backends = [("one", drip.url()), ("new", modern.url())];
    let local = Local::start(&backends, json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    let own = drip.sessions_open();
    let mut client = Old::connect(local.gateway.listen).await?;

    let answer = client.initialize().await?;
    ensure!(answer["id"] == 0, "{answer}");
    ensure!(
        answer["result"]["protocolVersion"] == "2024-11-05",
        "{answer}"
    );

    client
        .call(1, "one_drip", json!({ "count": 3, "gap": 20 }))
        .await?;
    for number in 1..=3 {
        let said = client.stream.message().await?.json()?;
        ensure!(said["params"]["data"]["number"] == number, "{said}");
    }
    let response = client.stream.message().await?;
    ensure!(
        response.id.is_none() && response.json()?["id"] == 1,
        "{response:?}"
    );
    client
        .call(2, "new_echo", json!({ "text": "hallo" }))
        .await?;
    let response = client.stream.message().await?.json()?;
    ensure!(
        response["result"]["content"][0]["text"] == "hallo",
        "{response}"
    );
    ensure!(drip.sessions_open() == own + 1, "a session of its own");

    let place = client.place.clone();
    drop(client);
    eventually("the session has ended everywhere", SOON, || async {
        ensure!(drip.sessions_open() == own, "{}", drip.sessions_open());
        let metrics = http::get(local.gateway.admin, "/metrics").await?.text();
        ensure!(metrics.contains("\nvmcp_sessions 0\n"), "still counted");
        Ok(())
    })
    .await?;
    let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
    let late = EventStream::post(local.gateway.listen, &place, &[], &ping).await?;
    ensure!(late.status == 404, "{}", late.status);
    Ok(())
}

/// The same rules as at `/mcp`: host, origin, media type, size, form.
#[tokio::test]
async fn what_is_no_message_is_refused_where_it_is_posted() -> Result<()> {
    let drip = Drip::start().await?;
    let local = Local::start(&[("one", drip.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    let address = local.gateway.listen;
    let client = Old::connect(address).await?;

    let evil = [("origin", "https://evil.example")];
    let refused = EventStream::get(address, "/sse", &evil).await?;
    ensure!(refused.status == 403, "{}", refused.status);
    let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
    let refused = EventStream::post(address, &client.place, &evil, &ping).await?;
    ensure!(refused.status == 403, "{}", refused.status);
    ensure!(client.say(&json!({ "no": "message" })).await? == 400);
    ensure!(client.say(&json!([ping])).await? == 400);
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "x".repeat(5 << 20) });
    ensure!(client.say(&large).await? == 413);
    let nowhere = EventStream::post(address, "/messages", &[], &ping).await?;
    ensure!(nowhere.status == 400, "{}", nowhere.status);
    let nobody = EventStream::post(address, "/messages?sessionId=x", &[], &ping).await?;
    ensure!(nobody.status == 404, "{}", nobody.status);
    let wrong = EventStream::get(address, "/messages", &[]).await?;
    ensure!(wrong.status == 405, "{}", wrong.status);
    Ok(())
}

/// The clients that still speak it: TypeScript 1 and Python 1.
#[tokio::test]
async fn real_clients_list_and_call_over_it() -> Result<()> {
    let peers = peers::installed()?;
    let legacy = Backend::start(Script::legacy()).await?;
    let modern = Backend::start(Script::modern()).await?;
    let backends = [("old", legacy.url()), ("new", modern.url())];
    let local = Local::start(&backends, json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    let url = format!("http://{}/sse", local.gateway.listen);

    for client in Client::SSE {
        let calls = [
            ("old_add", json!({ "a": 2, "b": 3 })),
            ("new_echo", json!({ "text": "hallo" })),
        ];
        let report = peers.client_calls(client, &url, &calls).await?;
        ensure!(report.tools.len() == 8, "{client:?}: {:?}", report.tools);
        let text = |at: usize| report.results[at]["content"][0]["text"].clone();
        ensure!(
            text(0) == "5" && text(1) == "hallo",
            "{client:?}: {report:?}"
        );
    }
    Ok(())
}
