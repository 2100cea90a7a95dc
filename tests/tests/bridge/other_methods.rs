//! `prompts/get` and `resources/read` may ask as `tools/call` may, in every pair of eras.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Item, Script, Shelf};
use vmcp_tests::stack::Local;

use crate::kit::{KINDS, able, asked, gateway, legacy_client, question, received};
use vmcp_tests::talk as client;

/// Raw, with odd spelling.
const ANSWER: &str = r#"{"action":"accept","content":{"n":1.50e2}}"#;

const RESOURCE: &str = "x://asks";

/// A server whose one prompt and one resource do this first.
fn shelf(script: Script, behaviour: &Behaviour) -> Script {
    script.with_shelf(Shelf {
        prompts: vec![Item::new("name", "asks", "{}")],
        resources: vec![Item::new("uri", RESOURCE, "{}")],
        asking: ["asks", RESOURCE]
            .map(|key| (key.to_owned(), behaviour.clone()))
            .to_vec(),
        ..Shelf::default()
    })
}

fn legacy() -> Script {
    let (_, method, params) = KINDS[0];
    shelf(Script::legacy(), &Behaviour::Ask(question(method, params)))
}

fn modern() -> Script {
    let (_, method, params) = KINDS[0];
    let map = format!(r#"{{"k":{{"method":"{method}","params":{params}}}}}"#);
    shelf(Script::modern(), &Behaviour::Rounds(vec![map]))
}

/// The two requests.
fn requests() -> [(&'static str, Value); 2] {
    [
        ("prompts/get", json!({ "name": "s_asks" })),
        ("resources/read", json!({ "uri": RESOURCE })),
    ]
}

/// What the backend said it was told.
fn told(end: &Value) -> Result<&str> {
    let result = &end["result"];
    let said = result["messages"][0]["content"]["text"].as_str();
    let said = said.or_else(|| result["contents"][0]["text"].as_str());
    said.with_context(|| format!("no result: {end}"))
}

async fn modern_request(local: &Local, method: &str, params: Value) -> Result<Value> {
    client::modern_request(local.gateway.listen, (method, params), &able())
        .await?
        .json()
}

/// A modern client: `input_required`, then the answer, whatever the era of the backend.
#[tokio::test]
async fn a_modern_client_is_asked_for_a_prompt_and_for_a_resource() -> Result<()> {
    for script in [legacy(), modern()] {
        let backend = Backend::start(script).await?;
        let local = gateway(&backend).await?;
        for (method, params) in requests() {
            let answer = modern_request(&local, method, params.clone()).await?;
            let (key, request, state) = asked(&answer)?;
            ensure!(request["method"] == KINDS[0].1, "{method}: {answer}");
            let put: Value = serde_json::from_str(KINDS[0].2)?;
            ensure!(request["params"] == put, "{method}: {answer}");

            let mut retry = params;
            retry["requestState"] = json!(state);
            retry["inputResponses"] = json!({ key: serde_json::from_str::<Value>(ANSWER)? });
            let end = modern_request(&local, method, retry).await?;

            ensure!(told(&end)?.contains("150.0"), "{method}: {end}");
            ensure!(end["result"]["resultType"] == "complete", "{method}: {end}");
        }
    }
    Ok(())
}

/// A legacy client: a request on the stream, whatever the era of the backend.
#[tokio::test]
async fn a_legacy_client_is_asked_for_a_prompt_and_for_a_resource() -> Result<()> {
    for script in [legacy(), modern()] {
        let backend = Backend::start(script).await?;
        let local = gateway(&backend).await?;
        let client = legacy_client(&local, &able()).await?;
        for (method, params) in requests() {
            let mut talk = client.ask(7, method, &params).await?;
            let asked = talk.next().await?;
            ensure!(asked["method"] == KINDS[0].1, "{method}: {asked}");
            ensure!(talk.seen().contains(KINDS[0].2), "{}", talk.seen());
            client
                .answer(&asked, &format!(r#""result":{ANSWER}"#))
                .await?;

            let end = talk.next().await?;

            ensure!(end["id"] == 7 && told(&end)?.contains("accept"), "{end}");
            ensure!(end["result"].get("resultType").is_none(), "{end}");
            ensure!(received(&backend, ANSWER), "{method}: bytes changed");
        }
    }
    Ok(())
}

/// What the client has not declared is not asked, and the backend or the client is told exactly.
#[tokio::test]
async fn a_client_that_cannot_is_not_asked_for_a_prompt_or_a_resource() -> Result<()> {
    let backend = Backend::start(legacy()).await?;
    let local = gateway(&backend).await?;
    let bare = json!({});
    for (method, params) in requests() {
        let answer = client::modern_request(local.gateway.listen, (method, params), &bare);
        let end = answer.await?.json()?;
        let heard: Value = serde_json::from_str(told(&end)?)?;
        ensure!(heard["error"]["code"] == -32601, "{method}: {end}");
    }

    let backend = Backend::start(modern()).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &bare).await?;
    for (method, params) in requests() {
        let end = client.ask(7, method, &params).await?.next().await?;
        let error = &end["error"];
        ensure!(error["code"] == -32603, "{method}: {end}");
        ensure!(error["data"]["reason"] == "InputUnsupported", "{end}");
    }
    Ok(())
}
