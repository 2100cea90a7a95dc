//! The extension for tasks: from modern clients to modern backends, and nowhere else.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::stack::{Local, SOON};

use crate::kit::{gateway, legacy_client, received};
use vmcp_tests::talk as client;

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

fn able() -> Value {
    json!({ "roots": {}, "extensions": { EXTENSION: {}, "x/y": {} } })
}

fn server(name: &str) -> Script {
    let tools = vec![Tool::new("long", Behaviour::Task("task/1".to_owned()))];
    Script::modern().named(name).with_tools(tools)
}

async fn ask(local: &Local, method: &str, params: Value) -> Result<Value> {
    let able = able();
    let answer = client::modern_request(local.gateway.listen, (method, params), &able);
    answer.await?.json()
}

/// A task that this tool begins; its id towards clients.
async fn begun(local: &Local, tool: &str) -> Result<String> {
    let answer = ask(
        local,
        "tools/call",
        json!({ "name": tool, "arguments": {} }),
    )
    .await?;
    ensure!(answer["result"]["resultType"] == "task", "{answer}");
    ensure!(answer["result"]["status"] == "working", "{answer}");
    let id = answer["result"]["taskId"].as_str().context("no id")?;
    Ok(id.to_owned())
}

/// Two backends that call their tasks the same: each request reaches the one that began the task,
/// under its own id, and nothing but the id changes.
#[tokio::test]
async fn a_task_is_asked_for_where_it_was_begun() -> Result<()> {
    let (one, two) = (
        Backend::start(server("one")).await?,
        Backend::start(server("two")).await?,
    );
    let local = Local::start(&[("a", one.url()), ("b", two.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;

    for (tool, name, backend) in [("a_long", "one", &one), ("b_long", "two", &two)] {
        let id = begun(&local, tool).await?;
        ensure!(!id.contains("task/1"), "{id}");

        let params = ("tasks/get", json!({ "taskId": id }));
        let answer = client::modern_request(local.gateway.listen, params, &able()).await?;
        let text = answer.text();
        let got = answer.json()?;
        ensure!(got["result"]["taskId"] == json!(id), "{got}");
        ensure!(got["result"]["result"]["at"] == name, "{got}");
        ensure!(
            text.contains(r#""resultType":"complete", "taskId":"#),
            "{text}"
        );
        ensure!(text.contains(r#""n":1.10"#), "{text}");

        let answers = json!({ "k": { "action": "accept" } });
        let update = json!({ "taskId": id, "inputResponses": answers });
        let done = ask(&local, "tasks/update", update).await?;
        ensure!(
            done["result"] == json!({ "resultType": "complete" }),
            "{done}"
        );
        let done = ask(&local, "tasks/cancel", json!({ "taskId": id })).await?;
        ensure!(
            done["result"] == json!({ "resultType": "complete" }),
            "{done}"
        );

        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let asked = backend.requests(method);
            ensure!(asked.len() == 1, "{method}: {} times", asked.len());
            ensure!(asked[0].json()["params"]["taskId"] == "task/1");
        }
        let updated = &backend.requests("tasks/update")[0].json();
        ensure!(updated["params"]["inputResponses"] == answers, "{updated}");
    }
    Ok(())
}

/// Who does not declare the extension is told so; an id that is not ours is nobody's.
#[tokio::test]
async fn a_task_is_for_those_that_know_tasks_and_have_its_id() -> Result<()> {
    let backend = Backend::start(server("one")).await?;
    let local = gateway(&backend).await?;
    let id = begun(&local, "s_long").await?;
    let needed = json!({ "requiredCapabilities": { "extensions": { EXTENSION: {} } } });
    let listen = json!({ "notifications": { "taskIds": [id] } });
    let unable = json!({});

    for (method, params) in [
        ("tasks/get", json!({ "taskId": id })),
        (
            "tasks/update",
            json!({ "taskId": id, "inputResponses": {} }),
        ),
        ("tasks/cancel", json!({ "taskId": id })),
        ("subscriptions/listen", listen.clone()),
    ] {
        let bare = client::modern_request(local.gateway.listen, (method, params), &unable);
        let refused = bare.await?;
        ensure!(refused.status == 400, "{method}: {}", refused.status);
        let error = refused.json()?["error"].clone();
        ensure!(
            error["code"] == -32021 && error["data"] == needed,
            "{error}"
        );
    }
    for (id, code) in [(json!("task/1"), -32602), (json!(format!("{id}x")), -32602)] {
        let refused = ask(&local, "tasks/get", json!({ "taskId": id })).await?;
        ensure!(refused["error"]["code"] == code, "{refused}");
    }
    ensure!(backend.requests("tasks/get").is_empty());
    let call = json!({ "name": "s_long" });
    let end = client::modern(local.gateway.listen, call, &unable);
    ensure!(end.await?.text().contains("at once"));
    Ok(())
}

/// In the other pairs of eras nobody hears of the extension; what is announced is what there is.
#[tokio::test]
async fn tasks_are_announced_and_declared_only_between_modern_sides() -> Result<()> {
    let old = Backend::start(Script::legacy()).await?;
    let new = Backend::start(server("one")).await?;
    let local = Local::start(&[("old", old.url()), ("s", new.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;

    let found = ask(&local, "server/discover", json!({})).await?;
    let announced = &found["result"]["capabilities"]["extensions"];
    ensure!(*announced == json!({ EXTENSION: {} }), "{found}");
    let echo = json!({ "name": "old_echo", "arguments": { "text": "x" } });
    let end = ask(&local, "tools/call", echo).await?;
    ensure!(end["result"]["resultType"] == "complete", "{end}");
    ensure!(received(&old, r#""capabilities":{"roots":{}}"#), "not less");
    ensure!(!received(&old, EXTENSION));

    let client = legacy_client(&local, &able()).await?;
    let end = client.begin(7, "long").await?.next().await?;
    ensure!(end["result"]["content"][0]["text"] == "at once", "{end}");
    let params = json!({ "taskId": "task/1" });
    let refused = client.ask(8, "tasks/get", &params).await?.next().await?;
    ensure!(refused["error"]["code"] == -32601, "{refused}");

    let filter = json!({ "notifications": { "taskIds": ["x"], "toolsListChanged": true } });
    let listening = ("subscriptions/listen", filter);
    let stream = client::modern_listen(local.gateway.listen, listening, &able()).await?;
    client::heard(&stream, r#""notifications":{"toolsListChanged":true}"#).await
}
