//! What is said outside calls reaches exactly those that asked for it, for every pair of eras.

use ::http::{Request, StatusCode};
use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Fault, Script, Shelf};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self as client, LegacyClient, Listener};
use vmcp_tests::stack::{Local, SOON};
use vmcp_tests::talk::heard;

const UPDATED: &str = "notifications/resources/updated";

fn updated(uri: &str) -> String {
    json!({ "jsonrpc": "2.0", "method": UPDATED, "params": { "uri": uri } }).to_string()
}

fn offering(script: Script, scheme: &str) -> Script {
    script.with_get_stream().with_shelf(Shelf::small(scheme))
}

/// The session of the newest request of this method.
fn session_of(backend: &Backend, method: &str) -> Result<String> {
    let requests = backend.requests(method);
    let newest = requests.last().context(method.to_owned())?;
    newest.session.clone().context("no session")
}

/// Says it again and again, because the stream may be opened anew at this moment.
async fn says_until_heard(
    backend: &Backend,
    session: &str,
    stream: &Listener,
    uri: &str,
) -> Result<()> {
    eventually(&format!("hearing of {uri}"), SOON, || {
        backend.say(session, &updated(uri));
        let seen = stream.seen();
        async move {
            ensure!(seen.contains(uri), "{seen}");
            Ok(())
        }
    })
    .await
}

/// Legacy to legacy: in the client's own upstream session; another client hears nothing, and a lost
/// upstream session is subscribed anew.
#[tokio::test]
async fn a_subscription_at_a_legacy_backend_reaches_its_subscriber_alone() -> Result<()> {
    let backend = Backend::start(offering(Script::legacy(), "old")).await?;
    let local = Local::start(&[("old", backend.url())], json!({})).await?;
    let subscriber = local.ready_client().await?;
    let other = LegacyClient::open(local.gateway.listen).await?;
    let stream = client::listen(local.gateway.listen, &subscriber.session).await?;
    let silent = client::listen(local.gateway.listen, &other.session).await?;
    other.call("old_echo", json!({ "text": "x" })).await?;

    let uri = json!({ "uri": "old://one" });
    let done = subscriber
        .result("resources/subscribe", uri.clone())
        .await?;
    ensure!(done == json!({}), "{done}");
    let session = session_of(&backend, "resources/subscribe")?;
    backend.say(&session, &updated("old://one"));
    heard(&stream, "old://one").await?;
    let strangers = session_of(&backend, "tools/call")?;
    ensure!(strangers != session);
    backend.say(&strangers, &updated("old://items/1"));

    backend.forget_sessions();
    backend.stop().await;
    backend.restart().await?;
    eventually("it is subscribed again", SOON, || async {
        let again = session_of(&backend, "resources/subscribe")?;
        ensure!(again != session, "still {session}");
        Ok(())
    })
    .await?;
    let session = session_of(&backend, "resources/subscribe")?;
    says_until_heard(&backend, &session, &stream, "old://one#again").await?;
    ensure!(!silent.seen().contains(UPDATED), "{}", silent.seen());

    subscriber.result("resources/unsubscribe", uri).await?;
    ensure!(backend.requests("resources/unsubscribe").len() == 1);
    Ok(())
}

/// A stream that is opened again says the level that its client wants now, not the one it wanted
/// when the stream was first held.
#[tokio::test]
async fn a_stream_that_is_opened_again_asks_for_the_level_of_today() -> Result<()> {
    let backend = Backend::start(offering(Script::legacy().with_logging(), "old")).await?;
    let local = Local::start(&[("old", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;
    let _stream = client::listen(local.gateway.listen, &client.session).await?;
    let level = "logging/setLevel";
    client.result(level, json!({ "level": "debug" })).await?;
    let uri = json!({ "uri": "old://one" });
    client.result("resources/subscribe", uri).await?;
    client.result(level, json!({ "level": "error" })).await?;
    client.call("old_echo", json!({ "text": "x" })).await?;

    backend.stop().await;
    backend.clear_log();
    backend.restart().await?;
    eventually("it is subscribed again", SOON, || async {
        let asked = backend.requests("resources/subscribe");
        ensure!(asked.iter().any(|one| one.status == Some(200)));
        Ok(())
    })
    .await?;

    let told = backend.requests(level);
    let levels: Vec<_> = told
        .iter()
        .map(|one| one.json()["params"].clone())
        .collect();
    let wanted = json!({ "level": "error" });
    ensure!(
        !levels.is_empty() && levels.iter().all(|level| *level == wanted),
        "{levels:?}"
    );
    Ok(())
}

/// Legacy to modern: one `subscriptions/listen` with all of them, asked for anew at each change.
#[tokio::test]
async fn a_subscription_at_a_modern_backend_is_a_listen_of_the_gateways() -> Result<()> {
    let backend = Backend::start(offering(Script::modern(), "new")).await?;
    let local = Local::start(&[("new", backend.url())], json!({})).await?;
    let subscriber = local.ready_client().await?;
    let stream = client::listen(local.gateway.listen, &subscriber.session).await?;

    for uri in ["new://one", "new://items/1"] {
        let done = subscriber.result("resources/subscribe", json!({ "uri": uri }));
        ensure!(done.await? == json!({}));
    }
    let wanted = listened(&backend);
    let last = wanted.last().context("no listen")?;
    ensure!(*last == json!(["new://items/1", "new://one"]), "{wanted:?}");
    let message = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"new://one","_meta":{"io.modelcontextprotocol/subscriptionId":"theirs"}}}"#;
    backend.say_to_listeners(message);
    heard(&stream, UPDATED).await?;
    ensure!(
        !stream.seen().contains("subscriptionId"),
        "{}",
        stream.seen()
    );

    let gone = json!({ "uri": "new://one" });
    subscriber.result("resources/unsubscribe", gone).await?;
    eventually("the rest is asked for anew", SOON, || async {
        let wanted = listened(&backend);
        ensure!(
            wanted.last() == Some(&json!(["new://items/1"])),
            "{wanted:?}"
        );
        Ok(())
    })
    .await
}

/// The `resourceSubscriptions` of each listen, where it has any.
fn listened(backend: &Backend) -> Vec<Value> {
    let requests = backend.requests("subscriptions/listen");
    let wanted = requests.iter().map(|sent| {
        let body = sent.json();
        body["params"]["notifications"]["resourceSubscriptions"].clone()
    });
    wanted.filter(Value::is_array).collect()
}

/// A modern backend that takes no subscription is an error for a legacy client, not a silence.
#[tokio::test]
async fn a_subscription_that_no_backend_takes_is_an_error() -> Result<()> {
    let script = Script::modern().with_shelf(Shelf::small("new"));
    let backend = Backend::start(script).await?;
    let local = Local::start(&[("new", backend.url())], json!({})).await?;
    let subscriber = local.ready_client().await?;

    for (uri, code) in [("new://one", -32001), ("nobody://x", -32002)] {
        let params = json!({ "uri": uri });
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params });
        let answer = subscriber.post(&body).await?.json()?;
        ensure!(answer["error"]["code"] == json!(code), "{uri}: {answer}");
    }
    Ok(())
}

/// Modern to both: acknowledged is what was taken; each update carries the listener's own id; when
/// the listener leaves, its upstream session ends.
#[tokio::test]
async fn a_listener_hears_of_resources_at_backends_of_both_eras() -> Result<()> {
    let old = Backend::start(offering(Script::legacy(), "old")).await?;
    let new = Backend::start(offering(Script::modern(), "new")).await?;
    let backends = [("old", old.url()), ("new", new.url())];
    let local = Local::start(&backends, json!({})).await?;
    local.until_phase("Ready", SOON).await?;

    let wanted = json!(["old://one", "new://one", "nobody://x"]);
    let filter = json!({ "notifications": { "resourceSubscriptions": wanted } });
    let stream =
        client::modern_stream(local.gateway.listen, "subscriptions/listen", filter).await?;
    heard(&stream, "subscriptions/acknowledged").await?;
    let taken = r#""notifications":{"resourceSubscriptions":["new://one","old://one"]}"#;
    ensure!(stream.seen().contains(taken), "{}", stream.seen());

    let session = session_of(&old, "resources/subscribe")?;
    old.say(&session, &updated("old://one"));
    new.say_to_listeners(&updated("new://one"));
    new.say_to_listeners(&updated("new://items/9"));
    for uri in ["old://one", "new://one"] {
        let tagged = format!(
            r#""params":{{"uri":"{uri}","_meta":{{"io.modelcontextprotocol/subscriptionId":1}}}}"#
        );
        heard(&stream, &tagged).await?;
    }
    ensure!(!stream.seen().contains("items/9"), "{}", stream.seen());

    drop(stream);
    ended(&old, &session).await
}

async fn ended(backend: &Backend, session: &str) -> Result<()> {
    eventually("the upstream session is ended", SOON, || async {
        let sessions = backend.sessions();
        let found = sessions.iter().find(|one| one.id == session);
        ensure!(found.is_some_and(|one| one.ended.is_some()), "{found:?}");
        Ok(())
    })
    .await
}

/// A backend that does not answer holds up the acknowledgement for a bounded time and is left out.
#[tokio::test]
async fn a_backend_that_hangs_is_left_out_of_the_acknowledgement() -> Result<()> {
    let hung = Backend::start(offering(Script::legacy(), "old")).await?;
    let new = Backend::start(offering(Script::modern(), "new")).await?;
    let backends = [("old", hung.url()), ("new", new.url())];
    let local = Local::start(&backends, json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    hung.set(Fault::on("resources/subscribe", Fault::AcceptAndHang))
        .await?;

    let wanted = json!(["old://one", "new://one"]);
    let filter = json!({
        "notifications": { "toolsListChanged": true, "resourceSubscriptions": wanted }
    });
    let started = std::time::Instant::now();
    let stream =
        client::modern_stream(local.gateway.listen, "subscriptions/listen", filter).await?;
    heard(&stream, "subscriptions/acknowledged").await?;

    let taken = r#"{"toolsListChanged":true,"resourceSubscriptions":["new://one"]}"#;
    ensure!(stream.seen().contains(taken), "{}", stream.seen());
    let waited = started.elapsed();
    ensure!(waited.as_secs() < 8, "{waited:?}");
    Ok(())
}

/// Every upstream stream and session of a client ends with its session, and its news of roots
/// reach them before.
#[tokio::test]
async fn standing_streams_end_with_their_session() -> Result<()> {
    let backend = Backend::start(offering(Script::legacy(), "old")).await?;
    let local = Local::start(&[("old", backend.url())], json!({})).await?;
    let subscriber = local.ready_client().await?;
    let stream = client::listen(local.gateway.listen, &subscriber.session).await?;
    let uri = json!({ "uri": "old://one" });
    subscriber.result("resources/subscribe", uri).await?;
    let session = session_of(&backend, "resources/subscribe")?;
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1.10}}"#;
    backend.say(&session, log);
    heard(&stream, r#""data":1.10"#).await?;

    let roots = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    let told = subscriber.post(&roots).await?;
    ensure!(told.status == StatusCode::ACCEPTED);
    eventually("the backend hears of the roots", SOON, || async {
        let heard = session_of(&backend, "notifications/roots/list_changed")?;
        ensure!(heard == session);
        Ok(())
    })
    .await?;

    let delete = Request::delete("/mcp")
        .header("host", local.gateway.listen.to_string())
        .header("mcp-session-id", &subscriber.session)
        .body(Full::default())?;
    let deleted = client::send(local.gateway.listen, delete).await?;
    ensure!(deleted.status == 204, "{}", deleted.status);
    ended(&backend, &session).await
}
