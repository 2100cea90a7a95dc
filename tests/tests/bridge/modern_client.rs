//! Modern clients: the call waits at the gateway, and is continued by a retry.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Script, Tool};
use vmcp_tests::conformance::Era;
use vmcp_tests::conformance::suite::Server;
use vmcp_tests::eventually::eventually;
use vmcp_tests::process::Signal;
use vmcp_tests::stack::{Local, SOON};

use crate::kit::{ANSWERS, KINDS, able, asked, asking, call, gateway, got, needing, received};
use vmcp_tests::talk as client;

fn first(tool: &str) -> Value {
    json!({ "name": format!("s_{tool}"), "arguments": { "n": 1, "m": "x" } })
}

fn retry(tool: &str, state: &str, responses: &Value) -> Value {
    let mut params = first(tool);
    params["requestState"] = json!(state);
    params["inputResponses"] = responses.clone();
    params
}

/// Modern to legacy: every question becomes `input_required`, and its answer reaches the backend
/// that has been waiting.
#[tokio::test]
async fn a_question_of_a_legacy_backend_becomes_a_request_for_input() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;

    for (at, (tool, method, params)) in KINDS.iter().enumerate() {
        let answer = call(&local, &able(), first(tool)).await?;
        let (key, request, state) = asked(&answer)?;
        ensure!(request["method"] == *method, "{answer}");
        ensure!(
            request["params"] == serde_json::from_str::<Value>(params)?,
            "{answer}"
        );
        let said: Value = serde_json::from_str(ANSWERS[at])?;

        let responses = json!({ "unheard of": {}, key: said });
        let end = call(&local, &able(), retry(tool, &state, &responses)).await?;

        ensure!(end["result"]["resultType"] == "complete", "{end}");
        ensure!(got(&end)?["result"] == said, "{end}");
    }
    let calls = backend.requests("tools/call").len();
    ensure!(calls == KINDS.len(), "{calls} calls");
    Ok(())
}

/// A client knows progress by the token of its newest request: the retry's, not the first one's.
/// A retry that wants to hear of none hears of none.
#[tokio::test]
async fn progress_after_an_answer_bears_the_token_of_the_retry() -> Result<()> {
    let server = Server::start(Era::Legacy).await?;
    let local = Local::start(&[("s", server.url.clone())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    let tool = "test_progress_after_question";

    for (token, heard) in [(Some("second"), 3), (None, 0)] {
        let mut params = first(tool);
        params["_meta"] = json!({ "progressToken": "first" });
        let (key, _, state) = asked(&call(&local, &able(), params).await?)?;

        let answer = json!({ "action": "accept", "content": { "name": "Ann" } });
        let mut params = retry(tool, &state, &json!({ key: answer }));
        if let Some(token) = token {
            params["_meta"] = json!({ "progressToken": token });
        }
        let end = client::modern(local.gateway.listen, params, &able()).await?;

        let text = end.text();
        ensure!(text.contains("Hello, Ann!"), "{text}");
        ensure!(
            text.matches(r#""progressToken":"second""#).count() == heard,
            "{text}"
        );
        ensure!(!text.contains("first"), "{text}");
    }
    Ok(())
}

/// A state continues its own request, once. Anything else is refused and costs the call nothing.
#[tokio::test]
async fn a_state_is_good_for_its_own_request_and_once() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;
    let answer = call(&local, &able(), first("form")).await?;
    let (key, _, state) = asked(&answer)?;
    let accept = json!({ key: { "action": "accept" } });

    let mut other = retry("form", &state, &accept);
    other["arguments"]["n"] = json!(2);
    let mut broken = retry("form", &state, &accept);
    broken["inputResponses"] = json!(7);
    for (what, params) in [
        ("tampered", retry("form", &format!("{state}x"), &accept)),
        ("another tool", retry("roots", &state, &accept)),
        ("other arguments", other),
        ("no responses", broken),
    ] {
        let refused = call(&local, &able(), params).await?;
        ensure!(refused["error"]["code"] == -32602, "{what}: {refused}");
    }

    let able = able();
    let (one, other) = tokio::join!(
        call(&local, &able, retry("form", &state, &accept)),
        call(&local, &able, retry("form", &state, &accept))
    );
    let answers = [one?, other?];
    let won = answers.iter().filter(|answer| got(answer).is_ok()).count();
    let lost = answers
        .iter()
        .filter(|answer| answer["error"]["code"] == -31004);
    ensure!(won == 1 && lost.count() == 1, "{answers:?}");
    let again = call(&local, &able, retry("form", &state, &accept)).await?;
    ensure!(
        again["error"]["data"]["reason"] == "ParkedCallLost",
        "{again}"
    );
    Ok(())
}

/// Questions that come together are asked together; what is not answered is asked again.
#[tokio::test]
async fn questions_are_asked_together_and_again_until_answered() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;

    let answer = call(&local, &able(), first("together")).await?;
    let requests = answer["result"]["inputRequests"].as_object().cloned();
    let keys: Vec<_> = requests.unwrap_or_default().keys().cloned().collect();
    ensure!(keys.len() == 2, "{answer}");
    let (_, _, state) = asked(&answer)?;
    let responses = json!({ keys[0].clone(): { "action": "accept" }, keys[1].clone(): 12345 });
    let answer = call(&local, &able(), retry("together", &state, &responses)).await?;
    let (key, _, next) = asked(&answer)?;
    ensure!(key == keys[1] && next != state, "{answer}");
    let responses = json!({ key: { "action": "cancel" } });
    let end = call(&local, &able(), retry("together", &next, &responses)).await?;

    let heard = got(&end)?;
    ensure!(heard[0]["result"]["action"] == "accept", "{heard}");
    ensure!(heard[1]["result"]["action"] == "cancel", "{heard}");
    Ok(())
}

/// One call asks eight times at most; the question after that is refused and the call goes on.
#[tokio::test]
async fn a_call_asks_in_turn_and_not_for_ever() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;

    let mut answer = call(&local, &able(), first("often")).await?;
    let mut rounds = 0;
    while let Ok((key, _, state)) = asked(&answer) {
        rounds += 1;
        let responses = json!({ key: { "action": "accept" } });
        answer = call(&local, &able(), retry("often", &state, &responses)).await?;
    }

    ensure!(rounds == 8, "{rounds} rounds");
    let heard = got(&answer)?;
    ensure!(heard[7]["result"]["action"] == "accept", "{heard}");
    ensure!(
        heard[8]["error"]["data"]["reason"] == "InputRoundsExceeded",
        "{heard}"
    );
    Ok(())
}

/// Nothing is asked that the client did not declare.
#[tokio::test]
async fn a_modern_client_that_cannot_is_never_asked() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;

    for (tool, _, _) in KINDS {
        let end = call(&local, &json!({}), first(tool)).await?;
        ensure!(got(&end)?["error"]["code"] == -32601, "{tool}: {end}");
    }
    Ok(())
}

/// A stopping gateway gives its waiting calls up, which cancels them at the backend.
#[tokio::test]
async fn a_waiting_call_is_cancelled_when_the_gateway_stops() -> Result<()> {
    let backend = Backend::start(asking()).await?;
    let local = gateway(&backend).await?;
    asked(&call(&local, &able(), first("form")).await?)?;
    ensure!(!received(&backend, "notifications/cancelled"));

    local.gateway.program.signal(Signal::TERM)?;

    eventually("the backend hears of it", SOON, || async {
        ensure!(received(&backend, "notifications/cancelled"));
        Ok(())
    })
    .await
}

/// Modern to modern: what the backend asks and what it keeps in its state pass untouched.
#[tokio::test]
async fn modern_backends_are_asked_and_answered_untouched() -> Result<()> {
    let map = r#"{"k":{"method":"vendor/ask","params":{"n":1.10}}}"#;
    let backend = Backend::start(needing(&[("ask", &[map])])).await?;
    let local = gateway(&backend).await?;

    let answer = call(&local, &json!({}), first("ask")).await?;
    let (_, _, state) = asked(&answer)?;
    ensure!(state == "round-1", "{answer}");
    let end = call(
        &local,
        &json!({}),
        retry("ask", &state, &json!({ "k": { "x": 1 } })),
    )
    .await?;

    ensure!(got(&end)? == json!({ "k": { "x": 1 } }), "{end}");
    Ok(())
}

/// -32042 of 2025-11-25 and `input_required` say the same; the request is made anew afterwards.
#[tokio::test]
async fn a_url_that_must_be_opened_first_is_asked_for() -> Result<()> {
    let url = json!({ "mode": "url", "elicitationId": "e", "url": "https://x/", "message": "m" });
    let needs = Behaviour::RpcErrorWith(-32042, json!({ "elicitations": [url] }).to_string());
    let backend = Backend::start(Script::legacy().with_tools(vec![Tool::new("t", needs)])).await?;
    let local = gateway(&backend).await?;

    let unable = call(&local, &json!({ "elicitation": {} }), first("t")).await?;
    ensure!(unable["error"]["code"] == -32021, "{unable}");
    let answer = call(&local, &able(), first("t")).await?;
    let (key, request, state) = asked(&answer)?;
    ensure!(
        request == json!({ "method": "elicitation/create", "params": url }),
        "{answer}"
    );

    let declined = json!({ key.clone(): { "action": "decline" } });
    let end = call(&local, &able(), retry("t", &state, &declined)).await?;
    ensure!(
        end["error"]["data"]["reason"] == "ElicitationDeclined",
        "{end}"
    );

    backend.set_tools(vec![Tool::new(
        "t",
        Behaviour::Raw(r#"{"content":[]}"#.to_owned()),
    )]);
    let accepted = json!({ key: { "action": "accept" } });
    let end = call(&local, &able(), retry("t", &state, &accepted)).await?;
    ensure!(end["result"]["resultType"] == "complete", "{end}");
    ensure!(
        !received(&backend, "inputResponses"),
        "not understood by a legacy backend"
    );
    Ok(())
}
