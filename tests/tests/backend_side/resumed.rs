//! Replies whose stream the server ends before the answer (2025-11-25, SEP-1699).

use anyhow::Result;

use vmcp::gateway::port::UpstreamError;
use vmcp_tests::backend::{Backend, Behaviour, Era, Fault, ReplyFormat, Script, Tool};

use crate::kit::{Ask, Caller, LEAST_PAUSE};

fn breaking_off(era: Era) -> Script {
    let tools = vec![
        Tool::new("later", Behaviour::Resumed("here it is".to_owned())),
        Tool::new("echo", Behaviour::Echo),
    ];
    Script::new(era).with_tools(tools)
}

/// The stream is taken up after its last event, in the same session; the call runs once.
#[tokio::test]
async fn a_reply_is_taken_up_where_its_stream_ended() -> Result<()> {
    for era in [Era::LegacyStateful, Era::LegacyStateless] {
        let backend = Backend::start(breaking_off(era)).await?;
        let caller = Caller::new(&backend).await;

        let result = caller.result(&Ask::tool("later", "{}")).await;

        assert!(result.contains("here it is"), "{era:?}: {result}");
        let (call, get) = (
            &backend.requests("tools/call")[0],
            &backend.requests("GET")[0],
        );
        assert_eq!(backend.requests("tools/call").len(), 1, "{era:?}");
        let id = call.json()["id"].to_string();
        assert_eq!(get.header("last-event-id"), format!("event-{id}"));
        assert_eq!(get.session, call.session, "{era:?}");
        // It names 20 ms; a server must not make us knock without end.
        assert!(get.at - call.at >= LEAST_PAUSE, "{era:?}");
    }
    Ok(())
}

/// T11, T19: a server that cannot go on leaves the call broken; nothing is sent again.
#[tokio::test]
async fn a_reply_that_cannot_be_taken_up_is_an_error() -> Result<()> {
    let backend = Backend::start(breaking_off(Era::LegacyStateful)).await?;
    let caller = Caller::new(&backend).await;
    backend
        .set(Fault::on("GET", Fault::http_status(404)))
        .await?;

    let error = caller.error(&Ask::tool("later", "{}").freely()).await;

    assert!(matches!(error, UpstreamError::Protocol(_)), "{error:?}");
    assert_eq!(backend.requests("tools/call").len(), 1);
    Ok(())
}

/// A stream without an event to go on after is not taken up, nor is one of the modern era.
#[tokio::test]
async fn a_stream_that_names_no_event_is_not_taken_up() -> Result<()> {
    for script in [
        Script::legacy().with_reply(ReplyFormat::Sse),
        Script::modern().with_reply(ReplyFormat::SsePrimed),
    ] {
        let backend = Backend::start(script).await?;
        let caller = Caller::new(&backend).await;
        backend
            .set(Fault::on("tools/call", Fault::TruncatedBody))
            .await?;

        let error = caller.error(&Ask::echo()).await;

        assert!(matches!(error, UpstreamError::Protocol(_)), "{error:?}");
        assert!(backend.requests("GET").is_empty());
    }
    Ok(())
}
