//! Legacy clients: the gateway asks on the stream of the call.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::SOON;

use crate::kit::{ANSWERS, KINDS, able, asking, gateway, got, legacy_client, needing, received};

const FORM: &str = r#"{"method":"elicitation/create","params":{"message":"?"}}"#;

/// Legacy to legacy: every question and every answer cross byte for byte, an error of the client's
/// too.
#[tokio::test]
async fn a_question_of_a_legacy_backend_and_its_answer_cross() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &able()).await?;

    for (at, (tool, method, params)) in KINDS.iter().enumerate() {
        let mut talk = client.begin(7, tool).await?;
        let asked = talk.next().await?;
        ensure!(asked["method"] == *method, "{asked}");
        ensure!(talk.seen().contains(params), "{tool}: {}", talk.seen());
        let said = ANSWERS[at % ANSWERS.len()];
        client
            .answer(&asked, &format!(r#""result":{said}"#))
            .await?;

        let end = talk.next().await?;
        ensure!(end["id"] == 7, "{end}");
        ensure!(
            got(&end)?["result"] == serde_json::from_str::<Value>(said)?,
            "{end}"
        );
        ensure!(received(&backend, said), "{tool}: bytes changed");
    }

    let mut talk = client.begin(8, "form").await?;
    let asked = talk.next().await?;
    client
        .answer(&asked, r#""error":{"code":-7,"message":"no","data":[1.0]}"#)
        .await?;
    let heard = got(&talk.next().await?)?;
    ensure!(
        heard["error"] == json!({ "code": -7, "message": "no", "data": [1.0] }),
        "{heard}"
    );
    Ok(())
}

/// Several questions of one call are open at once, and answered in any order.
#[tokio::test]
async fn questions_of_one_call_are_open_at_once() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &able()).await?;

    let mut talk = client.begin(7, "together").await?;
    let (one, two) = (talk.next().await?, talk.next().await?);
    client
        .answer(&two, r#""result":{"action":"decline"}"#)
        .await?;
    client
        .answer(&one, r#""result":{"action":"accept"}"#)
        .await?;

    let heard = got(&talk.next().await?)?;
    ensure!(heard[0]["result"]["action"] == "accept", "{heard}");
    ensure!(heard[1]["result"]["action"] == "decline", "{heard}");
    Ok(())
}

/// Nothing is asked that the client did not declare: the backend hears so at once.
#[tokio::test]
async fn a_client_that_cannot_is_never_asked() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &json!({ "elicitation": {} })).await?;

    for (tool, code) in [("url", -32602), ("sampling", -32601), ("roots", -32601)] {
        let end = client.begin(7, tool).await?.next().await?;
        ensure!(got(&end)?["error"]["code"] == code, "{tool}: {end}");
    }
    ensure!(
        received(&backend, r#""capabilities":{"elicitation":{}}"#),
        "not the client's own"
    );
    Ok(())
}

/// A client that takes no stream cannot be asked; the call goes on without.
#[tokio::test]
async fn a_client_without_streams_is_refused_for() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let modern =
        Backend::start(needing(&[("form", &[r#"{"k":{"method":"roots/list"}}"#])])).await?;
    for (backend, is_modern) in [(&backend, false), (&modern, true)] {
        let local = gateway(backend).await?;
        let client = legacy_client(&local, &able()).await?.json_only();

        let end = client.begin(7, "form").await?.next().await?;

        if is_modern {
            ensure!(
                end["error"]["data"]["reason"] == "InputUnsupported",
                "{end}"
            );
        } else {
            ensure!(got(&end)?["error"]["code"] == -32601, "{end}");
        }
    }
    Ok(())
}

/// R4.10: cancelling a call that waits for its client cancels it at the backend.
#[tokio::test]
async fn a_call_is_cancelled_while_its_client_is_asked() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &able()).await?;
    let mut talk = client.begin(7, "form").await?;
    let asked = talk.next().await?;

    let params = json!({ "requestId": 7 });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    client.post(cancel.to_string()).await?;

    ensure!(talk.next().await?["error"]["code"] == -32603);
    eventually("the backend hears of it", SOON, || async {
        ensure!(received(&backend, "notifications/cancelled"));
        Ok(())
    })
    .await?;
    // Late, and harmless.
    client.answer(&asked, r#""result":{}"#).await
}

/// Legacy to modern: all inputs of a round are asked at once, and the same call is made again with
/// the answers and the state, round after round.
#[tokio::test]
async fn a_modern_backend_is_called_again_with_what_it_asked_for() -> Result<()> {
    let both = r#"{"a":{"method":"elicitation/create","params":{"mode":"url","url":"https://x/","message":"m"}},"b":{"method":"roots/list"}}"#;
    let second = format!(r#"{{"c":{FORM}}}"#);
    let backend = Backend::start(needing(&[("two", &[both, &second])])).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &able()).await?;

    let mut talk = client.begin(7, "two").await?;
    let (url, roots) = (talk.next().await?, talk.next().await?);
    // 2025-11-25 demands what 2026-07-28 has no more.
    ensure!(url["params"]["elicitationId"].is_string(), "{url}");
    client
        .answer(&roots, r#""result":{"roots":[],"n":1.10}"#)
        .await?;
    client
        .answer(&url, r#""result":{"action":"decline"}"#)
        .await?;
    let form = talk.next().await?;
    let first = r#""inputResponses":{"a":{"action":"decline"},"b":{"roots":[],"n":1.10}},"requestState":"round-1""#;
    ensure!(received(&backend, first), "not as asked");
    client
        .answer(&form, r#""result":{"action":"accept","content":{"x":1e2}}"#)
        .await?;

    let end = talk.next().await?;
    ensure!(
        end["id"] == 7 && end["result"].get("resultType").is_none(),
        "{end}"
    );
    ensure!(got(&end)?["c"]["action"] == "accept", "{end}");
    let last = r#""inputResponses":{"c":{"action":"accept","content":{"x":1e2}}},"requestState":"round-2""#;
    ensure!(
        received(&backend, last),
        "not as asked, or with the first answers"
    );
    Ok(())
}

/// What cannot be asked or does not end is an exact error, and a client's error is the answer.
#[tokio::test]
async fn a_round_that_cannot_be_made_is_an_exact_error() -> Result<()> {
    let form = format!(r#"{{"k":{FORM}}}"#);
    let sampling = r#"{"k":{"method":"sampling/createMessage","params":{}}}"#;
    let endless = vec![form.as_str(); 12];
    let backend = Backend::start(needing(&[
        ("form", &[&form]),
        ("sampling", &[sampling]),
        ("unheard", &[r#"{"k":{"method":"vendor/ask"}}"#]),
        ("broken", &["[]"]),
        ("endless", &endless),
    ]))
    .await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &json!({ "elicitation": {} })).await?;

    for (tool, reason) in [
        ("sampling", "InputUnsupported"),
        ("unheard", "InputUnsupported"),
        ("broken", "InputMalformed"),
    ] {
        let end = client.begin(7, tool).await?.next().await?;
        ensure!(end["error"]["code"] == -32603, "{tool}: {end}");
        ensure!(end["error"]["data"]["reason"] == reason, "{tool}: {end}");
    }

    let mut talk = client.begin(7, "form").await?;
    let asked = talk.next().await?;
    client
        .answer(&asked, r#""error":{"code":-1,"message":"not now"}"#)
        .await?;
    let end = talk.next().await?;
    ensure!(
        end["error"] == json!({ "code": -1, "message": "not now" }),
        "{end}"
    );

    let mut talk = client.begin(7, "endless").await?;
    for _ in 0..8 {
        let asked = talk.next().await?;
        client
            .answer(&asked, r#""result":{"action":"accept"}"#)
            .await?;
    }
    let end = talk.next().await?;
    ensure!(
        end["error"]["data"]["reason"] == "InputRoundsExceeded",
        "{end}"
    );
    Ok(())
}

/// R3: what a modern backend finds missing is an error of the call; HTTP 400 would look to a legacy
/// client as if its session were lost.
#[tokio::test]
async fn a_capability_that_a_modern_backend_misses_is_an_error_of_the_call() -> Result<()> {
    let data = r#"{"requiredCapabilities":{"sampling":{}}}"#;
    let tool = Tool::new("needs", Behaviour::RpcErrorWith(-32_021, data.to_owned()));
    let backend = Backend::start(Script::modern().with_tools(vec![tool])).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &json!({})).await?;

    let params = json!({ "name": "s_needs", "arguments": {} });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    let answer = client.post(body.to_string()).await?;

    ensure!(answer.status == 200, "{}", answer.status);
    let error = &answer.json()?["error"];
    ensure!(error["code"] == -32_021, "{error}");
    ensure!(
        error["data"] == serde_json::from_str::<Value>(data)?,
        "{error}"
    );
    Ok(())
}

/// A question outside calls follows the rules of one during a call: it is refused in a mode that the
/// client does not have, and taken back where its backend does so.
#[tokio::test]
async fn a_question_outside_calls_is_checked_and_can_be_taken_back() -> Result<()> {
    let tool = Tool::new("echo", Behaviour::Echo);
    let script = Script::legacy().with_get_stream().with_tools(vec![tool]);
    let backend = Backend::start(script).await?;
    let local = gateway(&backend).await?;
    let client = legacy_client(&local, &json!({ "elicitation": {} })).await?;
    let stream = http::listen(local.gateway.listen, client.session()).await?;
    client.begin(1, "echo").await?.next().await?;
    let calls = backend.requests("tools/call");
    let session = calls[0].session.clone().context("no session")?;
    let ask = |id: &str, params: &str| {
        let ask = format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","method":"elicitation/create","params":{params}}}"#
        );
        backend.say(&session, &ask);
    };

    // Refused where nobody listens yet.
    let asked = AtomicUsize::new(0);
    eventually("the client is asked", SOON, || async {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        ask(&format!("q-{number}"), r#"{"message":"?"}"#);
        let seen = stream.seen();
        ensure!(seen.contains("elicitation/create"), "{seen}");
        Ok(())
    })
    .await?;
    for number in 0..asked.into_inner() {
        let back = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": { "requestId": format!("q-{number}") } });
        backend.say(&session, &back.to_string());
    }
    eventually("the client is told", SOON, || async {
        let seen = stream.seen();
        ensure!(seen.contains("notifications/cancelled"), "{seen}");
        ensure!(seen.contains(r#""requestId":"vmcp-1""#), "{seen}");
        Ok(())
    })
    .await?;

    ask(
        "u",
        r#"{"mode":"url","url":"https://example.com/","message":"open"}"#,
    );
    eventually("the backend is refused", SOON, || async {
        let posts = backend.requests("POST");
        let mut answers = posts.iter().map(|post| post.json());
        let refused = answers.find(|answer| answer["id"] == "u");
        let refused = refused.context("no answer")?;
        ensure!(refused["error"]["code"] == -32_602, "{refused}");
        Ok(())
    })
    .await
}
