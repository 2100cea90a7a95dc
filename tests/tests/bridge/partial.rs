//! Backends that take only a part of what is asked to be told: the client hears which.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script, Shelf};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON};

use vmcp_tests::talk::heard;

/// A server that can be subscribed to `{scheme}://one`, and not to `{scheme}://items/mute`.
fn half_mute(script: Script, scheme: &str) -> Script {
    let mute = vec![format!("{scheme}://items/mute")];
    let shelf = Shelf::small(scheme);
    script.with_get_stream().with_shelf(Shelf { mute, ..shelf })
}

/// Modern to both: acknowledged is what the backends acknowledged, and nothing else.
#[tokio::test]
async fn a_listener_is_acknowledged_what_its_backends_took() -> Result<()> {
    let old = Backend::start(half_mute(Script::legacy(), "old")).await?;
    let new = Backend::start(half_mute(Script::modern(), "new")).await?;
    let local = Local::start(&[("old", old.url()), ("new", new.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;

    let wanted = json!([
        "old://one",
        "old://items/mute",
        "new://one",
        "new://items/mute"
    ]);
    let filter = json!({ "notifications": { "resourceSubscriptions": wanted } });
    let stream = http::modern_stream(local.gateway.listen, "subscriptions/listen", filter).await?;

    heard(&stream, "subscriptions/acknowledged").await?;
    let taken = r#""notifications":{"resourceSubscriptions":["new://one","old://one"]}"#;
    ensure!(stream.seen().contains(taken), "{}", stream.seen());
    Ok(())
}

/// Legacy to both: a subscription that its backend does not take is an error, and those that it
/// took before go on.
#[tokio::test]
async fn a_subscription_that_is_not_taken_is_refused_and_costs_the_others_nothing() -> Result<()> {
    let old = Backend::start(half_mute(Script::legacy(), "old")).await?;
    let new = Backend::start(half_mute(Script::modern(), "new")).await?;
    let local = Local::start(&[("old", old.url()), ("new", new.url())], json!({})).await?;
    let client = local.ready_client().await?;
    let stream = http::listen(local.gateway.listen, &client.session).await?;
    for uri in ["old://one", "new://one"] {
        let done = client.result("resources/subscribe", json!({ "uri": uri }));
        ensure!(done.await? == json!({}), "{uri}");
    }

    let mut refused = Vec::new();
    for uri in ["old://items/mute", "new://items/mute"] {
        let params = json!({ "uri": uri });
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params });
        refused.push(client.post(&body).await?.json()?["error"].clone());
    }

    // The legacy backend's own words.
    ensure!(
        refused[0]["message"] == "nobody hears of that",
        "{refused:?}"
    );
    ensure!(refused[1]["code"] == -32602, "{refused:?}");
    let data = json!({
        "reason": "SubscriptionRefused", "server": "new", "uri": "new://items/mute",
    });
    ensure!(refused[1]["data"] == data, "{refused:?}");
    eventually("what is taken is asked for anew", SOON, || async {
        let requests = new.requests("subscriptions/listen");
        let wanted = requests
            .iter()
            .map(|sent| sent.json()["params"]["notifications"]["resourceSubscriptions"].clone())
            .rfind(Value::is_array);
        ensure!(wanted == Some(json!(["new://one"])), "{wanted:?}");
        Ok(())
    })
    .await?;
    let updated = json!({
        "jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": { "uri": "new://one" },
    });
    new.say_to_listeners(&updated.to_string());
    heard(&stream, "new://one").await
}
