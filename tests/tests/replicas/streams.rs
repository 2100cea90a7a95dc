//! Streams that are lost at one replica and taken up again at another.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmcp_tests::drip::Drip;
use vmcp_tests::events::{Event, EventStream};
use vmcp_tests::http::LegacyClient;
use vmcp_tests::stack::Replicas;

/// GET, behind an event where one is named.
pub async fn listen(address: SocketAddr, session: &str, last: Option<&str>) -> Result<EventStream> {
    let mut headers = vec![("mcp-session-id", session), ("accept", "text/event-stream")];
    headers.extend(last.map(|last| ("last-event-id", last)));
    let stream = EventStream::get(address, "/mcp", &headers).await?;
    ensure!(stream.status == 200, "GET: {}", stream.status);
    Ok(stream)
}

async fn drip(address: SocketAddr, session: &str, count: u64, gap: u64) -> Result<EventStream> {
    let params = json!({ "name": "one_drip", "arguments": { "count": count, "gap": gap } });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    EventStream::post(address, "/mcp", &[("mcp-session-id", session)], &body).await
}

fn number(event: &Event) -> Result<Option<u64>> {
    Ok(event.json()?["params"]["data"]["number"].as_u64())
}

/// Issue 4, Show: resume. The connection breaks again and again, and each time the client comes back
/// to the other replica; it sees every message once, in order, and the call is made once.
#[tokio::test]
async fn a_lost_stream_is_taken_up_again_at_the_other_replica() -> Result<()> {
    const SAID: u64 = 30;
    let backend = Drip::start().await?;
    let replicas = Replicas::start(&[("one", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;

    for begun in [x, y] {
        let before = backend.calls();
        let mut stream = drip(begun, &client.session, SAID, 5).await?;
        let mut last = String::new();
        for expected in 1..=SAID {
            let event = stream.message().await?;
            ensure!(number(&event)? == Some(expected), "{expected}: {event:?}");
            last = event.id.context("no id")?;
            if expected % 6 == 0 {
                drop(stream);
                let other = if expected % 12 == 0 { x } else { y };
                stream = listen(other, &client.session, Some(&last)).await?;
            }
        }
        let end = stream.message().await?.json()?;
        ensure!(end["id"] == 7 && end["result"].is_object(), "{end}");
        ensure!(stream.next().await?.is_none(), "it goes on behind {last}");
        ensure!(backend.calls() == before + 1, "{} calls", backend.calls());
    }
    Ok(())
}

/// A response that its client has not got yet moves with the session when the replica stops, and so
/// does what was said before.
#[tokio::test]
async fn a_response_is_had_from_the_replica_that_took_the_session_over() -> Result<()> {
    let backend = Drip::start().await?;
    let mut replicas = Replicas::start(&[("one", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    let mut stream = drip(x, &client.session, 20, 5).await?;
    let event = stream.message().await?;
    let last = event.id.context("no id")?;
    drop(stream);

    replicas.retire("x").await?;

    let mut stream = listen(y, &client.session, Some(&last)).await?;
    for expected in 2..=20 {
        let event = stream.message().await?;
        ensure!(number(&event)? == Some(expected), "{expected}: {event:?}");
    }
    let end = stream.message().await?.json()?;
    ensure!(end["id"] == 7 && end["result"].is_object(), "{end}");
    ensure!(stream.next().await?.is_none());
    ensure!(backend.calls() == 1, "{} calls", backend.calls());
    Ok(())
}
