//! Questions of a legacy backend outside any call reach its client where that can be asked.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::SOON;
use vmcp_tests::talk::heard;

use crate::kit::{gateway, legacy_client, received};

fn question(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{params}}}"#)
}

/// One table says what a client can be asked, during a call and outside of any: a client that fills
/// in forms is shown a form, and the backend is told of the rest as during a call.
#[tokio::test]
async fn a_question_outside_a_call_is_put_to_a_client_that_can_answer_it() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let local = gateway(&backend).await?;
    let able = json!({ "elicitation": { "form": {} } });
    let client = legacy_client(&local, &able).await?;
    let stream = http::listen(local.gateway.listen, &client.session).await?;
    client.begin(7, "echo").await?.next().await?;
    let calls = backend.requests("tools/call");
    let session = calls.last().and_then(|call| call.session.clone());
    let session = session.context("no session")?;

    let form = r#"{"message":"1.10","requestedSchema":{"type":"object","properties":{}}}"#;
    eventually("the form is shown", SOON, || {
        backend.say(&session, &question("f", "elicitation/create", form));
        let seen = stream.seen();
        async move {
            ensure!(seen.contains(form), "{seen}");
            Ok(())
        }
    })
    .await?;
    let url = r#"{"mode":"url","elicitationId":"e","url":"https://x/","message":"m"}"#;
    backend.say(&session, &question("u", "elicitation/create", url));
    backend.say(&session, &question("s", "sampling/createMessage", "{}"));

    for (id, code) in [("u", -32602), ("s", -32601)] {
        let refused = format!(r#""id":"{id}","error":{{"code":{code}"#);
        eventually(&format!("{id} is refused with {code}"), SOON, || async {
            ensure!(received(&backend, &refused), "not yet");
            Ok(())
        })
        .await?;
    }
    heard(&stream, form).await?;
    ensure!(!stream.seen().contains("https://x/"), "{}", stream.seen());
    Ok(())
}
