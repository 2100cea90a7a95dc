//! What is said outside calls, with two replicas.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;
use vmcp_core::limits::PEER_ASK;
use vmcp_tests::backend::{Backend, Behaviour, Script, Shelf, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient, Listener};
use vmcp_tests::stack::{Replicas, SOON};
use vmcp_tests::talk::heard;

use crate::kit::at;
use crate::streams::listen;

const LIST_CHANGED: &str = "notifications/tools/list_changed";

fn updated(uri: &str) -> String {
    let method = "notifications/resources/updated";
    json!({ "jsonrpc": "2.0", "method": method, "params": { "uri": uri } }).to_string()
}

fn offering(script: Script, scheme: &str) -> Script {
    script.with_get_stream().with_shelf(Shelf::small(scheme))
}

/// The upstream sessions in which something was subscribed to, in order.
fn subscribed(backend: &Backend) -> Vec<String> {
    let requests = backend.requests("resources/subscribe");
    requests.into_iter().filter_map(|one| one.session).collect()
}

/// The upstream session in which it is subscribed now, once it is another than this.
async fn subscribed_anew(backend: &Backend, before: &str) -> Result<String> {
    eventually("it is subscribed anew", SOON, || async {
        let newest = subscribed(backend).pop().context("not subscribed")?;
        ensure!(newest != before, "in a session that is lost");
        Ok(newest)
    })
    .await
}

/// The members of this name in what was asked of the backend in this session, in order.
fn asked(backend: &Backend, session: &str, method: &str, member: &str) -> Vec<String> {
    let requests = backend.requests(method).into_iter();
    let own = requests.filter(|one| one.session.as_deref() == Some(session));
    let params = own.filter_map(|one| serde_json::from_slice::<Value>(&one.body).ok());
    let members = params.filter_map(|body| Some(body["params"][member].as_str()?.to_owned()));
    members.collect()
}

fn levels(backend: &Backend, session: &str) -> Vec<String> {
    asked(backend, session, "logging/setLevel", "level")
}

fn resources(backend: &Backend, session: &str) -> Vec<String> {
    asked(backend, session, "resources/subscribe", "uri")
}

async fn set_level(client: &LegacyClient, level: &str) -> Result<()> {
    let done = client.result("logging/setLevel", json!({ "level": level }));
    ensure!(done.await? == json!({}));
    Ok(())
}

/// Issue 4, Show: subscriptions, in both eras. One replica is asked, another listened at.
#[tokio::test]
async fn subscriptions_are_heard_at_any_replica() -> Result<()> {
    let (old, new) = (
        Backend::start(offering(Script::legacy(), "old")).await?,
        Backend::start(offering(Script::modern(), "new")).await?,
    );
    let backends = [("old", old.url()), ("new", new.url())];
    let replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);

    for (opened, asked, heard_at) in [(x, y, y), (x, x, y), (x, y, x)] {
        let client = LegacyClient::open(opened).await?;
        for uri in ["old://one", "new://one"] {
            let params = json!({ "uri": uri });
            let asked = at(asked, &client);
            let done = asked.result("resources/subscribe", params).await?;
            ensure!(done == json!({}));
        }
        let stream = http::listen(heard_at, &client.session).await?;
        let session = subscribed(&old).pop().context("not subscribed")?;
        old.say(&session, &updated("old://one"));
        new.say_to_listeners(&updated("new://one"));
        heard(&stream, "old://one").await?;
        heard(&stream, "new://one").await?;
    }

    for address in [x, y] {
        let wanted = json!(["old://one", "new://one"]);
        let filter = json!({ "notifications": { "resourceSubscriptions": wanted } });
        let stream = http::modern_stream(address, "subscriptions/listen", filter).await?;
        heard(&stream, "subscriptions/acknowledged").await?;
        let session = subscribed(&old).pop().context("not subscribed")?;
        old.say(&session, &updated("old://one"));
        new.say_to_listeners(&updated("new://one"));
        heard(&stream, r#""uri":"old://one""#).await?;
        heard(&stream, r#""uri":"new://one""#).await?;
    }
    Ok(())
}

/// Decision 8: the subscriptions of a session move with it, and so does what its client has not
/// heard yet.
#[tokio::test]
async fn a_subscription_outlives_the_replica_that_kept_it() -> Result<()> {
    let (old, new) = (
        Backend::start(offering(Script::legacy(), "old")).await?,
        Backend::start(offering(Script::modern(), "new")).await?,
    );
    let backends = [("old", old.url()), ("new", new.url())];
    let mut replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    for uri in ["old://one", "new://one"] {
        let done = client.result("resources/subscribe", json!({ "uri": uri }));
        ensure!(done.await? == json!({}));
    }
    let session = subscribed(&old).pop().context("not subscribed")?;
    let mut stream = listen(y, &client.session, None).await?;
    old.say(&session, &updated("old://one#1"));
    let event = stream.message().await?;
    ensure!(event.data.contains("old://one#1"), "{event:?}");
    let last = event.id.context("no id")?;
    drop(stream);
    old.say(&session, &updated("old://one#2"));

    replicas.retire("x").await?;

    let mut stream = listen(y, &client.session, Some(&last)).await?;
    let event = stream.message().await?;
    ensure!(event.data.contains("old://one#2"), "{event:?}");
    eventually("it is subscribed again", SOON, || async {
        let sessions = subscribed(&old);
        ensure!(sessions.len() == 2, "{sessions:?}");
        ensure!(sessions[1] == session, "in another session");
        Ok(())
    })
    .await?;
    drop(stream);
    let stream = http::listen(y, &client.session).await?;
    for (uri, backend) in [("old://one", &old), ("new://one", &new)] {
        // Again and again, because the stream upstream may be opened at this moment.
        eventually(&format!("hearing of {uri}"), SOON, || {
            backend.say(&session, &updated(uri));
            backend.say_to_listeners(&updated(uri));
            let seen = stream.seen();
            async move {
                ensure!(seen.contains(&format!(r#""uri":"{uri}""#)), "{seen}");
                Ok(())
            }
        })
        .await?;
    }
    Ok(())
}

/// Decision 8: what a session has said since it began outlives the replica that it said it to.
#[tokio::test]
async fn a_killed_replica_costs_no_log_level_and_no_subscription() -> Result<()> {
    let (old, new) = (
        Backend::start(offering(Script::legacy().with_logging(), "old")).await?,
        Backend::start(offering(Script::modern(), "new")).await?,
    );
    let backends = [("old", old.url()), ("new", new.url())];
    let mut replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    for uri in ["old://one", "new://one"] {
        let done = client.result("resources/subscribe", json!({ "uri": uri }));
        ensure!(done.await? == json!({}));
    }
    set_level(&client, "notice").await?;
    let session = subscribed(&old).pop().context("not subscribed")?;

    replicas.kill("x")?;

    let stream = http::listen(y, &client.session).await?;
    let session = subscribed_anew(&old, &session).await?;
    ensure!(levels(&old, &session) == ["notice"]);
    for (uri, backend) in [("old://one", &old), ("new://one", &new)] {
        // Again and again, because the stream upstream may be opened at this moment.
        eventually(&format!("hearing of {uri}"), SOON, || {
            backend.say(&session, &updated(uri));
            backend.say_to_listeners(&updated(uri));
            let seen = stream.seen();
            async move {
                ensure!(seen.contains(&format!(r#""uri":"{uri}""#)), "{seen}");
                Ok(())
            }
        })
        .await?;
    }
    // The client is told, although the gateway has spoken in the new session before it.
    let there = at(y, &client);
    let read = there.result("resources/read", json!({ "uri": "old://one" }));
    let marked = read.await?["_meta"]["vmcp.dev/sessionRestarted"].clone();
    ensure!(marked == json!(true), "{marked}");
    Ok(())
}

/// What a client has taken back does not come to life again, and what it said last is what counts:
/// said to whichever replica, also by a successor that was killed in its turn.
#[tokio::test]
async fn successors_go_on_with_what_was_said_last() -> Result<()> {
    let old = Backend::start(offering(Script::legacy().with_logging(), "old")).await?;
    let backends = [("old", old.url())];
    let mut replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    for uri in ["old://one", "old://two"] {
        let done = client.result("resources/subscribe", json!({ "uri": uri }));
        ensure!(done.await? == json!({}));
    }
    set_level(&client, "notice").await?;
    let gone = json!({ "uri": "old://one" });
    ensure!(at(y, &client).result("resources/unsubscribe", gone).await? == json!({}));
    set_level(&at(y, &client), "error").await?;
    let session = subscribed(&old).pop().context("not subscribed")?;

    replicas.kill("x")?;
    let there = at(y, &client);
    there.result("tools/list", json!({})).await?;
    let session = subscribed_anew(&old, &session).await?;
    ensure!(levels(&old, &session) == ["error"]);
    ensure!(resources(&old, &session) == ["old://two"]);

    // A replica that comes afterwards is told by the successor.
    replicas.forget("x");
    replicas.add("z").await?;
    replicas.settled().await?;
    let (z, admin) = (replicas.replica("z")?.listen, replicas.replica("z")?.admin);
    eventually("z can restore it", SOON, || async {
        let metrics = http::get(admin, "/metrics").await?.text();
        ensure!(metrics.contains("\nvmcp_foreign_sessions 1\n"), "not yet");
        Ok(())
    })
    .await?;
    replicas.kill("y")?;
    at(z, &client).result("tools/list", json!({})).await?;
    let session = subscribed_anew(&old, &session).await?;
    ensure!(levels(&old, &session) == ["error"]);
    ensure!(resources(&old, &session) == ["old://two"]);
    Ok(())
}

/// Whoever serves a session next asks the others what it wants: a replica that came after the crash,
/// or the same one, started anew under its name.
#[tokio::test]
async fn a_successor_that_was_told_nothing_asks_the_others() -> Result<()> {
    for newcomer in ["z", "x"] {
        let old = Backend::start(offering(Script::legacy().with_logging(), "old")).await?;
        let backends = [("old", old.url())];
        let mut replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
        let x = replicas.replica("x")?.listen;
        let mut clients = Vec::new();
        // So many that each of the two is the successor of some.
        for _ in 0..12 {
            let client = LegacyClient::open(x).await?;
            set_level(&client, "notice").await?;
            clients.push(client);
        }

        replicas.kill("x")?;
        replicas.forget("x");
        replicas.add(newcomer).await?;
        replicas.settled().await?;

        let address = replicas.replica(newcomer)?.listen;
        for client in &clients {
            let read = json!({ "uri": "old://one" });
            at(address, client).result("resources/read", read).await?;
        }
        let told = old.requests("logging/setLevel").len();
        ensure!(
            told == 12,
            "{told} of 12 have their level, beside {newcomer}"
        );
    }
    Ok(())
}

/// A replica that does not answer holds up the first request that changes something, for a bounded
/// time, and none after it.
#[tokio::test]
async fn a_hung_replica_holds_up_one_request_at_most() -> Result<()> {
    let old = Backend::start(offering(Script::legacy(), "old")).await?;
    let backends = [("old", old.url())];
    let replicas = Replicas::start(&backends, json!({}), &["x", "y"]).await?;
    let client = LegacyClient::open(replicas.replica("x")?.listen).await?;
    set_level(&client, "notice").await?;

    replicas.freeze("y")?;

    timeout(PEER_ASK * 2, set_level(&client, "error")).await??;
    // Within this time each of them would have waited for it.
    let many = timeout(PEER_ASK, async {
        for _ in 0..20 {
            set_level(&client, "notice").await?;
        }
        anyhow::Ok(())
    });
    many.await??;
    Ok(())
}

/// R4.11: a session hears of each change once, from its owner, and whichever replica it asks then
/// shows the new list.
#[tokio::test]
async fn a_session_hears_of_each_change_once_and_sees_it_at_any_replica() -> Result<()> {
    const CHANGES: usize = 5;
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let client = LegacyClient::open(x).await?;
    let stream = http::listen(y, &client.session).await?;
    let told = |stream: &Listener| stream.seen().matches(LIST_CHANGED).count();

    for change in 1..=CHANGES {
        let name = format!("t{change}");
        backend.set_tools(vec![Tool::new(&name, Behaviour::Echo)]);
        eventually("the client is told", SOON, || {
            let told = told(&stream);
            async move {
                ensure!(told == change, "{told} of {change}");
                Ok(())
            }
        })
        .await?;
        for address in [x, y] {
            let tools = at(address, &client).tools().await?;
            ensure!(tools == [format!("a_{name}")], "{change}: {tools:?}");
        }
    }
    ensure!(told(&stream) == CHANGES, "{}", stream.seen());
    Ok(())
}

/// A modern listener is told by the replica that it listens at, and that one shows the new list at
/// once; the others as soon as they have looked themselves.
#[tokio::test]
async fn a_modern_listener_sees_a_change_where_it_was_told_of_it() -> Result<()> {
    let backend = Backend::start(Script::modern().with_get_stream()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let (x, y) = (replicas.replica("x")?.listen, replicas.replica("y")?.listen);
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let stream = http::modern_stream(x, "subscriptions/listen", filter).await?;
    heard(&stream, "subscriptions/acknowledged").await?;

    backend.set_tools(vec![Tool::new("fresh", Behaviour::Echo)]);
    heard(&stream, LIST_CHANGED).await?;

    let names = |answer: Value| answer["result"]["tools"][0]["name"].clone();
    let list = http::modern(x, "tools/list", json!({})).await?.json()?;
    ensure!(names(list.clone()) == "a_fresh", "{list}");
    eventually("the other replica shows it too", SOON, || async {
        let list = http::modern(y, "tools/list", json!({})).await?.json()?;
        ensure!(names(list.clone()) == "a_fresh", "{list}");
        Ok(())
    })
    .await
}
