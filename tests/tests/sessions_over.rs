//! How sessions end: forgotten by a backend, unused for too long, too old. What clients are told,
//! and what backends see of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script, SessionEnd, SessionRecord, UnknownSession};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// How the gateway introduces itself for its clients; its checks have another name.
const TRAFFIC: &str = "vmcp";

/// Sessions that were opened for clients.
fn of_clients(backend: &Backend) -> Vec<SessionRecord> {
    let sessions = backend.sessions().into_iter();
    sessions
        .filter(|session| session.client_name == TRAFFIC)
        .collect()
}

/// Waits until the backend has opened `expected` sessions for clients and each got its DELETE.
async fn all_deleted(backend: &Backend, expected: usize) -> Result<()> {
    eventually("every session was deleted", SOON, || async {
        let sessions = of_clients(backend);
        ensure!(sessions.len() == expected, "{sessions:?}");
        for session in &sessions {
            let how = session.ended.map(|(_, how)| how);
            ensure!(how == Some(SessionEnd::Deleted), "{session:?}");
        }
        Ok(())
    })
    .await
}

fn calls(backend: &Backend) -> usize {
    backend.requests("tools/call").len()
}

fn echo(tool: &str) -> Value {
    let params = json!({ "name": tool, "arguments": { "text": "hi" } });
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params })
}

async fn with_loss(loss: &str, forgetful: &Backend, other: &Backend) -> Result<Local> {
    let mut strict = remote("forgetful", &forgetful.url());
    strict["spec"]["sessionLoss"] = json!(loss);
    let objects = [
        virtual_server("local", json!({})),
        strict,
        remote("other", &other.url()),
    ];
    Local::of(&objects).await
}

/// T18, `sessionLoss: Fail`: a client whose session a backend forgot hears 404 with the reason, its
/// session is over everywhere, and a new one works; others and modern clients notice nothing.
#[tokio::test]
async fn a_client_that_is_to_know_of_a_lost_session_begins_anew() -> Result<()> {
    for refusal in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let forgetful = Backend::start(Script::legacy().with_unknown_session(refusal)).await?;
        let other = Backend::start(Script::legacy()).await?;
        let local = with_loss("Fail", &forgetful, &other).await?;
        let client = local.ready_client().await?;
        let bystander = LegacyClient::open(local.gateway.listen).await?;
        for tool in ["forgetful_echo", "other_echo"] {
            let answer = client.post(&echo(tool)).await?;
            ensure!(answer.status == 200, "{}", answer.text());
        }
        ensure!(bystander.post(&echo("other_echo")).await?.status == 200);
        forgetful.forget_sessions();
        let before = calls(&forgetful);

        let answer = client.post(&echo("forgetful_echo")).await?;

        ensure!(answer.status == 404, "{refusal:?}: {}", answer.text());
        let error = &answer.json()?["error"];
        ensure!(error["code"] == json!(-32001), "{error}");
        ensure!(error["data"]["reason"] == json!("SessionLost"), "{error}");
        ensure!(error["data"]["server"] == json!("forgetful"), "{error}");
        ensure!(answer.json()?["id"] == json!(7));
        ensure!(
            calls(&forgetful) == before + 1,
            "it was sent once and refused"
        );
        // Over for everything, not for that backend alone.
        for body in [
            echo("other_echo"),
            json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }),
        ] {
            let answer = client.post(&body).await?;
            ensure!(answer.status == 404, "{}", answer.text());
        }
        eventually("its other session is ended", SOON, || async {
            let ended = of_clients(&other)
                .into_iter()
                .filter(|session| session.ended.is_some());
            ensure!(ended.count() == 1, "{:?}", of_clients(&other));
            Ok(())
        })
        .await?;
        ensure!(bystander.post(&echo("other_echo")).await?.status == 200);
        let anew = LegacyClient::open(local.gateway.listen).await?;
        ensure!(anew.post(&echo("forgetful_echo")).await?.status == 200);

        forgetful.forget_sessions();
        let params = json!({ "name": "forgetful_echo", "arguments": { "text": "hi" } });
        let modern = http::modern(local.gateway.listen, "tools/call", params).await?;
        ensure!(modern.status == 200 && modern.json()?["result"].is_object());
    }
    Ok(())
}

/// T18, `sessionLoss: Reinitialize`: the same loss is mended unseen, and the first result says so.
#[tokio::test]
async fn a_lost_session_is_mended_where_the_spec_does_not_object() -> Result<()> {
    for refusal in [UnknownSession::NotFound404, UnknownSession::BadRequest400] {
        let forgetful = Backend::start(Script::legacy().with_unknown_session(refusal)).await?;
        let other = Backend::start(Script::legacy()).await?;
        let local = with_loss("Reinitialize", &forgetful, &other).await?;
        let client = local.ready_client().await?;
        ensure!(client.post(&echo("forgetful_echo")).await?.status == 200);
        forgetful.forget_sessions();

        let answer = client.post(&echo("forgetful_echo")).await?;

        ensure!(answer.status == 200, "{}", answer.text());
        let result = &answer.json()?["result"];
        ensure!(
            result["_meta"]["vmcp.dev/sessionRestarted"] == json!(true),
            "{result}"
        );
        let again = client
            .call("forgetful_echo", json!({ "text": "hi" }))
            .await?;
        ensure!(again["result"].get("_meta").is_none(), "{again}");
    }
    Ok(())
}

/// T7: what was opened for a client that is gone gets its DELETE, at every backend.
#[tokio::test]
async fn an_unused_session_is_ended_at_every_backend() -> Result<()> {
    let first = Backend::start(Script::legacy()).await?;
    let second = Backend::start(Script::legacy()).await?;
    let backends = [("first", first.url()), ("second", second.url())];
    let local = Local::flagged(&backends, &["--session-idle-seconds", "2"]).await?;
    let client = local.ready_client().await?;
    let other = LegacyClient::open(local.gateway.listen).await?;
    for tool in ["first_echo", "second_echo"] {
        ensure!(client.post(&echo(tool)).await?.status == 200);
    }
    ensure!(other.post(&echo("first_echo")).await?.status == 200);
    ensure!(of_clients(&first).len() == 2 && of_clients(&second).len() == 1);

    all_deleted(&first, 2).await?;
    all_deleted(&second, 1).await?;

    // Idle time ends the state, not the id.
    ensure!(client.post(&echo("first_echo")).await?.status == 200);
    all_deleted(&first, 3).await
}

/// T7: a session that is too old ends in mid-use, and is ended at every backend.
#[tokio::test]
async fn a_session_that_is_too_old_is_ended_at_every_backend() -> Result<()> {
    let first = Backend::start(Script::legacy()).await?;
    let second = Backend::start(Script::legacy()).await?;
    let backends = [("first", first.url()), ("second", second.url())];
    let local = Local::flagged(&backends, &["--session-max-seconds", "4"]).await?;
    let client = local.ready_client().await?;
    for tool in ["first_echo", "second_echo"] {
        ensure!(client.post(&echo(tool)).await?.status == 200);
    }

    // Used all the time: it is not idle.
    let until = Duration::from_secs(10);
    eventually("the id is good no more", until, || async {
        let answer = client.post(&echo("first_echo")).await?;
        ensure!(answer.status == 404, "{}", answer.status);
        Ok(())
    })
    .await?;

    all_deleted(&first, 1).await?;
    all_deleted(&second, 1).await?;
    let anew = LegacyClient::open(local.gateway.listen).await?;
    ensure!(anew.post(&echo("first_echo")).await?.status == 200);
    Ok(())
}
