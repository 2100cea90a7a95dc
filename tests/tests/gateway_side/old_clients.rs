//! Clients of revision 2024-11-05.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use vmcp::gateway::message::{Answer, Messages};
use vmcp_core::limits;
use vmcp_core::mcp::Era;

use crate::kit::{World, facts, request, shut};

const SOON: Duration = Duration::from_secs(10);

/// A stream, and the session that it is.
struct Old {
    stream: Messages,
    session: String,
}

impl Old {
    async fn connect(world: &World) -> Result<Self> {
        let Answer::Events(mut stream) = world.gateway.events() else {
            bail!("no stream");
        };
        let first = stream.next().await.context("no event")?;
        let place = String::from_utf8(first.data.to_vec())?;
        let (_, session) = place.split_once("sessionId=").context(place.clone())?;
        let old = Self {
            session: session.to_owned(),
            stream,
        };
        let params = json!({
            "protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": { "name": "old", "version": "1" },
        });
        ensure!(old.say(world, &request(0, "initialize", &params)) == 202);
        Ok(old)
    }

    /// The status.
    fn say(&self, world: &World, body: &Bytes) -> u16 {
        match Arc::clone(&world.gateway).message(&facts(Some(&self.session)), body) {
            Answer::Empty { status }
            | Answer::Json { status, .. }
            | Answer::Error { status, .. } => status,
            Answer::Events(_) => 200,
        }
    }

    async fn next(&mut self) -> Result<Value> {
        loop {
            let event = timeout(SOON, self.stream.next()).await?;
            let event = event.context("the stream ended")?;
            if !event.data.is_empty() {
                return Ok(serde_json::from_slice(&event.data)?);
            }
        }
    }
}

/// A client whose calls all wait can still answer, take back and ping: that may be all that they
/// wait for.
#[tokio::test]
async fn a_client_whose_calls_wait_is_still_heard() -> Result<()> {
    let world = World::new(Era::Legacy).await;
    let mut old = Old::connect(&world).await?;
    ensure!(old.next().await?["id"] == 0);
    shut(&world.port.sends);
    let read = json!({ "uri": "x:1" });

    for id in 1..=limits::EVENTS_IN_FLIGHT {
        let body = request(u64::try_from(id)?, "resources/read", &read);
        ensure!(old.say(&world, &body) == 202, "call {id}");
    }
    ensure!(old.say(&world, &request(200, "resources/read", &read)) == 503);

    let answer = json!({ "jsonrpc": "2.0", "id": "vmcp-1", "result": {} });
    ensure!(old.say(&world, &answer.to_string().into()) == 202);
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": { "requestId": 7 } });
    ensure!(old.say(&world, &cancel.to_string().into()) == 202);
    ensure!(old.say(&world, &request(201, "ping", &json!({}))) == 202);
    let mut heard = vec![old.next().await?, old.next().await?];
    heard.sort_by_key(|message| message["id"].as_u64());
    ensure!(heard[0]["id"] == 7, "the call was taken back: {heard:?}");
    ensure!(heard[1]["id"] == 201, "the ping was answered: {heard:?}");
    Ok(())
}

/// Nobody would be answered on it any more: the client has to see that, and begins anew.
#[tokio::test]
async fn the_stream_ends_with_its_session() -> Result<()> {
    let age = Duration::from_secs(1);
    let world = World::with(Era::Legacy, |sessions| sessions.with_max_age(age)).await;
    let gateway = Arc::clone(&world.gateway);
    let sweep = tokio::spawn(async move { gateway.sweep().await });
    let mut old = Old::connect(&world).await?;
    ensure!(old.next().await?["id"] == 0);

    let rest = timeout(SOON, async { while old.stream.next().await.is_some() {} });
    rest.await.context("the stream outlives its session")?;
    sweep.abort();
    Ok(())
}

/// What is refused for its session is refused to the request, not to nobody.
#[tokio::test]
async fn a_request_without_a_session_is_answered_by_its_id() -> Result<()> {
    let world = World::new(Era::Legacy).await;
    let list = request(5, "tools/list", &json!({}));

    let Answer::Error { status, body } = world.gateway.post(&facts(Some("none")), &list).await
    else {
        bail!("served");
    };

    let answer: Value = serde_json::from_slice(&body)?;
    ensure!(status == 404 && answer["id"] == 5, "{status} {answer}");
    Ok(())
}
