//! Requests for input: asked by one replica, answered at the other.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::Backend;
use vmcp_tests::stack::Replicas;
use vmcp_tests::talk::{self, Client};

use crate::kit::{able, asked, asking, needing, retry, text};

/// Issue 4, Show: what a legacy client is asked on the stream of its call it may answer at any
/// replica, whatever the era of the backend.
#[tokio::test]
async fn a_legacy_client_is_asked_and_answers_at_any_replica() -> Result<()> {
    let (old, new) = (
        Backend::start(asking()).await?,
        Backend::start(needing()).await?,
    );
    let backends = [("old", old.url()), ("new", new.url())];
    let replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = Client::open(x, &able()).await?;

    for tool in ["old_form", "new_form"] {
        for (id, (called, answered)) in [(x, y), (y, x), (y, y)].into_iter().enumerate() {
            let id = u64::try_from(id)? + 1;
            let mut call = client.at(called).begin_call(id, tool).await?;
            let question = call.next().await?;
            ensure!(question["method"] == "elicitation/create", "{question}");
            let said = format!(r#""result":{{"action":"accept","content":{{"n":{id}}}}}"#);
            client.at(answered).answer(&question, &said).await?;

            let end = call.next().await?;
            ensure!(end["id"] == id, "{end}");
            let heard = format!(r#""content":{{"n":{id}}}"#);
            ensure!(text(&end).contains(&heard), "{tool}: {end}");
        }
    }
    let calls = old.requests("tools/call").len();
    ensure!(calls == 3, "{calls} calls for three");
    // Each is asked first and made again with the answer.
    let calls = new.requests("tools/call").len();
    ensure!(calls == 6, "{calls} calls for three");
    Ok(())
}

/// Issue 4, Show: a call of a modern client that waits at one replica goes on from any of them,
/// round after round, and is made once.
#[tokio::test]
async fn a_modern_client_continues_its_call_at_any_replica() -> Result<()> {
    let (old, new) = (
        Backend::start(asking()).await?,
        Backend::start(needing()).await?,
    );
    let backends = [("old", old.url()), ("new", new.url())];
    let replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let say = |address, params: Value| async move {
        talk::modern(address, params, &able()).await?.json()
    };

    for (first, second, third) in [(x, y, x), (y, x, x), (x, y, y)] {
        let call = json!({ "name": "old_in-turn", "arguments": {} });
        let (key, state) = asked(&say(first, call.clone()).await?)?;
        let next = retry(&call, &state, &json!({ key: { "action": "decline" } }));
        let (key, state) = asked(&say(second, next).await?)?;
        let last = retry(&call, &state, &json!({ key: { "action": "accept" } }));
        let end = say(third, last.clone()).await?;

        let heard: Value = serde_json::from_str(text(&end))?;
        ensure!(heard[0]["result"]["action"] == "decline", "{end}");
        ensure!(heard[1]["result"]["action"] == "accept", "{end}");
        let again = say(first, last).await?;
        ensure!(again["error"]["code"] == -31004, "continued twice: {again}");
    }
    let calls = old.requests("tools/call").len();
    ensure!(calls == 3, "{calls} calls for three");

    let call = json!({ "name": "new_form", "arguments": {} });
    let (key, state) = asked(&say(x, call.clone()).await?)?;
    let said = json!({ key: { "action": "accept" } });
    let end = say(y, retry(&call, &state, &said)).await?;
    ensure!(serde_json::from_str::<Value>(text(&end))? == said, "{end}");
    Ok(())
}
