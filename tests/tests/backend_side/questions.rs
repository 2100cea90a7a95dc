//! Questions of a backend's during a call: they cross the port, and the answers go back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use vmcp::gateway::port::{
    BackendPort, EVENT_BUFFER, ServerRequest, UpstreamError, UpstreamEvent, UpstreamEvents,
    UpstreamRequest,
};
use vmcp_core::jsonrpc::RpcError;
use vmcp_tests::backend::{Backend, Behaviour, Era, Over, Question, Script, Tool};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, sessions};

const ELICITS: &str = r#"{"elicitation":{}}"#;

/// Eras and streams on which a server can ask.
const WAYS: [(Era, Over); 4] = [
    (Era::LegacyStateful, Over::Call),
    (Era::LegacyStateful, Over::Session),
    (Era::LegacyStateless, Over::Call),
    (Era::Sse2024, Over::Session),
];

fn asking(era: Era, over: Over, method: &str) -> Script {
    let question = Question {
        method: method.to_owned(),
        params: r#"{"message":"?","n":1.0}"#.to_owned(),
        over,
    };
    let tools = vec![
        Tool::new("ask", Behaviour::Ask(question)),
        Tool::new("echo", Behaviour::Echo),
        Tool::new("slow", Behaviour::Slow),
    ];
    let script = Script::new(era).with_tools(tools);
    match over {
        Over::Call => script,
        Over::Session => script.with_get_stream(),
    }
}

fn able(caller: &Caller, ask: &Ask<'_>) -> UpstreamRequest {
    UpstreamRequest {
        client_capabilities: Some(ELICITS.into()),
        ..caller.request(ask)
    }
}

async fn question(events: &mut UpstreamEvents) -> Result<ServerRequest> {
    match events.recv().await {
        Some(Ok(UpstreamEvent::Request(request))) => Ok(request),
        other => bail!("a question was due: {other:?}"),
    }
}

/// The text of the result, which is the answer that the backend got.
async fn answer(events: &mut UpstreamEvents) -> Result<Value> {
    match events.recv().await {
        Some(Ok(UpstreamEvent::Response(Ok(result)))) => {
            let result: Value = serde_json::from_str(&result)?;
            let text = result["content"][0]["text"].as_str().context("no text")?;
            Ok(serde_json::from_str(text)?)
        }
        other => bail!("a result was due: {other:?}"),
    }
}

/// A question reaches the client raw, and its answer the backend under the backend's own id, in
/// every way that a server may ask.
#[tokio::test]
async fn a_question_crosses_and_its_answer_comes_back() -> Result<()> {
    for (era, over) in WAYS {
        let backend = Backend::start(asking(era, over, "elicitation/create")).await?;
        let caller = Caller::new(&backend).await;
        let request = able(&caller, &Ask::tool("ask", "{}"));

        let mut events = caller.upstream.send(Arc::new(request)).await?;
        let asked = question(&mut events).await?;
        assert_eq!(&*asked.method, "elicitation/create", "{era:?} {over:?}");
        assert_eq!(
            asked.params.as_deref(),
            Some(r#"{"message":"?","n":1.0}"#),
            "{era:?} {over:?}"
        );
        let said = r#"{"action":"accept","content":{"n":1.50e2}}"#;
        asked.answer.answer(Ok(said.into()));

        let got = answer(&mut events).await?;
        assert_eq!(got["result"]["action"], "accept", "{era:?} {over:?}");
        assert!(got["id"].as_str().is_some_and(|id| id.starts_with("ask-")));
        let post = &backend.requests("POST")[0];
        assert!(String::from_utf8_lossy(&post.body).contains(said));
    }
    Ok(())
}

/// What the client answers with an error is an error upstream; what nobody answers is -32601.
#[tokio::test]
async fn a_refused_question_is_an_error_upstream() -> Result<()> {
    for (era, over) in WAYS {
        let backend = Backend::start(asking(era, over, "sampling/createMessage")).await?;
        let caller = Caller::new(&backend).await;

        for (said, code) in [(Some(RpcError::new(-1, "no")), -1), (None, -32_601)] {
            let request = able(&caller, &Ask::tool("ask", "{}"));
            let mut events = caller.upstream.send(Arc::new(request)).await?;
            let asked = question(&mut events).await?;
            match said {
                Some(error) => asked.answer.answer(Err(error)),
                None => drop(asked),
            }
            let got = answer(&mut events).await?;
            assert_eq!(got["error"]["code"], code, "{era:?} {over:?}");
        }
    }
    Ok(())
}

/// A ping of the backend's is answered here and never seen by the client.
#[tokio::test]
async fn a_ping_of_the_backends_is_answered_here() -> Result<()> {
    for (era, over) in WAYS {
        let backend = Backend::start(asking(era, over, "ping")).await?;
        let caller = Caller::new(&backend).await;
        let request = able(&caller, &Ask::tool("ask", "{}"));

        let mut events = caller.upstream.send(Arc::new(request)).await?;

        let got = answer(&mut events).await?;
        assert_eq!(got["result"], serde_json::json!({}), "{era:?} {over:?}");
    }
    Ok(())
}

/// The deadline of a call stands still while its client thinks, and runs on afterwards.
#[tokio::test]
async fn the_deadline_stands_still_while_the_client_is_asked() -> Result<()> {
    let second = Duration::from_secs(1);
    for (era, over) in WAYS {
        let backend = Backend::start(asking(era, over, "roots/list")).await?;
        let caller = Caller::new(&backend).await;
        let request = able(&caller, &Ask::tool("ask", "{}").within(second));

        let mut events = caller.upstream.send(Arc::new(request)).await?;
        let asked = question(&mut events).await?;
        // What is measured is that nothing happens for longer than the call may take.
        let quiet = tokio::time::timeout(second * 3 / 2, events.recv()).await;
        ensure!(quiet.is_err(), "{era:?} {over:?}: {quiet:?}");
        asked.answer.answer(Ok("{}".into()));

        answer(&mut events)
            .await
            .with_context(|| format!("{era:?} {over:?}"))?;
    }
    Ok(())
}

/// R4.10: a client that goes away while it is asked ends the call at the backend: the question is
/// answered with a refusal, the call cancelled, the lease ended.
#[tokio::test]
async fn a_client_that_leaves_while_it_is_asked_leaves_nothing() -> Result<()> {
    let backend = Backend::start(asking(Era::LegacyStateful, Over::Call, "roots/list")).await?;
    let caller = Caller::new(&backend).await;
    let request = able(&caller, &Ask::tool("ask", "{}").leased());

    let mut events = caller.upstream.send(Arc::new(request)).await?;
    let mut asked = question(&mut events).await?;
    drop(events);

    tokio::time::timeout(PATIENCE, asked.answer.withdrawn()).await?;
    eventually("the backend heard of it", PATIENCE, || async {
        let refusals = backend.requests("POST");
        ensure!(refusals.len() == 1, "{} answers", refusals.len());
        ensure!(refusals[0].json()["error"]["code"] == -32_601);
        let cancelled = backend.requests("notifications/cancelled").len();
        ensure!(cancelled == 1, "{cancelled} cancellations");
        Ok(())
    })
    .await?;
    sessions(&backend, 0).await
}

/// A backend that says all that this tool says on the stream of its call.
async fn talking(tool: Tool) -> Result<(Backend, Caller)> {
    let script = Script::legacy()
        .with_tools(vec![tool])
        .with_reply(vmcp_tests::backend::ReplyFormat::Sse);
    let backend = Backend::start(script).await?;
    let caller = Caller::new(&backend).await;
    Ok((backend, caller))
}

/// What comes next is the result.
async fn is_answered(events: &mut UpstreamEvents) -> Result<()> {
    let last = events.recv().await;
    ensure!(
        matches!(last, Some(Ok(UpstreamEvent::Response(Ok(_))))),
        "{last:?}"
    );
    Ok(())
}

/// A backend that takes its question back: the client hears of it, and the call goes on.
#[tokio::test]
async fn a_question_that_is_taken_back_is_withdrawn() -> Result<()> {
    let ask = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
    let back = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#;
    let tool = Tool::new("talk", Behaviour::Echo)
        .with_notification(ask)
        .with_notification(back);
    let (_backend, caller) = talking(tool).await?;

    let mut events = caller
        .upstream
        .send(Arc::new(able(&caller, &Ask::tool("talk", "{}"))))
        .await?;
    let mut asked = question(&mut events).await?;
    asked.answer.withdrawn().await;

    is_answered(&mut events).await
}

/// What a backend takes back of somebody else's questions never reaches the client, which would
/// take it for one of its own.
#[tokio::test]
async fn a_backend_takes_back_no_question_but_its_own() -> Result<()> {
    let strange =
        r#"{"jsonrpc":"2.0","method":"notifications\/cancelled","params":{"requestId":"vmcp-3"}}"#;
    let message = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let tool = Tool::new("talk", Behaviour::Echo)
        .with_notification(strange)
        .with_notification(message);
    let (_backend, caller) = talking(tool).await?;

    let request = able(&caller, &Ask::tool("talk", "{}"));
    let mut events = caller.upstream.send(Arc::new(request)).await?;

    let first = events.recv().await;
    ensure!(
        matches!(&first, Some(Ok(UpstreamEvent::Notification(raw))) if **raw == *message),
        "{first:?}"
    );
    is_answered(&mut events).await
}

/// A backend that talks while its client thinks loses what it says, not the call.
#[tokio::test]
async fn a_call_that_waits_outlives_what_its_backend_says_meanwhile() -> Result<()> {
    let second = Duration::from_secs(1);
    let script = asking(Era::LegacyStateful, Over::Call, "roots/list").with_get_stream();
    let backend = Backend::start(script).await?;
    let caller = Caller::new(&backend).await;
    let request = able(&caller, &Ask::tool("ask", "{}").within(second));
    let message = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

    let mut events = caller.upstream.send(Arc::new(request)).await?;
    let mut asked = question(&mut events).await?;
    let call = backend.requests("tools/call");
    let session = call[0].session.clone().context("no session")?;
    for _ in 0..4 * EVENT_BUFFER {
        backend.say(&session, message);
    }
    // What is measured is that nothing happens for longer than the call may take, unread.
    let quiet = tokio::time::timeout(second * 3 / 2, asked.answer.withdrawn()).await;
    ensure!(quiet.is_err(), "the call is over");
    asked.answer.answer(Ok("{}".into()));

    let mut said = 0;
    loop {
        match events.recv().await {
            Some(Ok(UpstreamEvent::Notification(_))) => said += 1,
            Some(Ok(UpstreamEvent::Response(Ok(_)))) => break,
            other => bail!("{other:?}"),
        }
    }
    ensure!(said > 0, "nothing was said: the test shows nothing");
    Ok(())
}

/// A call that waits for its client takes no place from others.
#[tokio::test]
async fn a_waiting_call_gives_its_place_to_others() -> Result<()> {
    let backend = Backend::start(asking(Era::LegacyStateful, Over::Call, "roots/list")).await?;
    let caller = Caller::new(&backend).await;
    let mut waiting = Vec::new();
    for _ in 0..60 {
        // More than the half that one client may have.
        let request = able(&caller, &Ask::tool("ask", "{}"));
        let mut events = caller.upstream.send(Arc::new(request)).await?;
        let asked = question(&mut events).await?;
        waiting.push((events, asked));
    }

    for (events, asked) in &mut waiting {
        let request = asked.method.clone();
        ensure!(&*request == "roots/list");
        ensure!(events.recv_now().is_none());
    }
    for (mut events, asked) in waiting {
        asked.answer.answer(Ok("{}".into()));
        answer(&mut events).await?;
    }
    Ok(())
}

/// Shared limits: at most half of the places for one client; the queue is short and its wait brief.
#[tokio::test]
async fn one_client_cannot_have_all_places() -> Result<()> {
    let script = asking(Era::LegacyStateless, Over::Call, "roots/list");
    let backend = Backend::start(script).await?;
    let caller = Caller::new(&backend).await;
    let slow = Ask::tool("slow", r#"{"ms":20000}"#).within(Duration::from_secs(30));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..90 {
        let (upstream, request) = (caller.upstream.clone(), caller.request(&slow));
        calls.spawn(async move { upstream.send(Arc::new(request)).await.map(drop) });
    }

    // 50 run, 32 wait for a second, the rest is refused at once.
    let refused = async {
        let mut refused = 0;
        while refused < 40 {
            match calls.join_next().await {
                Some(Ok(Err(UpstreamError::Overloaded { .. }))) => refused += 1,
                other => bail!("{other:?}"),
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, refused).await??;

    let other = caller.result(&Ask::echo().by("client-b")).await;
    assert!(other.contains("hi"), "{other}");
    assert_eq!(backend.requests("tools/call").len(), 51);
    Ok(())
}
