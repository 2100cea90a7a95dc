//! What a backend says beside the answer to a call: requests of its own, news of its list.

use std::time::Duration;

use anyhow::{Result, ensure};

use vmcp::gateway::port::UpstreamError;
use vmcp_core::health::CallOutcome;
use vmcp_tests::backend::{Backend, Behaviour, Era, Fault, ReplyFormat, Script, Tool};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE};

const ERAS: [Era; 4] = [
    Era::LegacyStateful,
    Era::LegacyStateless,
    Era::ModernOnly,
    Era::Sse2024,
];

/// Messages to a backend, beside its calls, that may be under way at once.
const ASIDE: usize = 8;

fn announcement(list: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications\/{list}\/list_changed"}}"#)
}

fn talkative(era: Era, messages: &[String]) -> Script {
    let tool = messages
        .iter()
        .fold(Tool::new("talk", Behaviour::Echo), |tool, message| {
            tool.with_notification(message)
        });
    Script::new(era)
        .with_tools(vec![tool])
        .with_reply(ReplyFormat::Sse)
}

/// R4.8: a backend that asks without restraint on the stream of a call costs a bounded number of
/// connections, and the call is answered.
#[tokio::test]
async fn requests_of_a_server_open_a_bounded_number_of_connections() -> Result<()> {
    let asks: Vec<_> = (0..50)
        .map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#))
        .collect();
    let backend = Backend::start(talkative(Era::LegacyStateful, &asks)).await?;
    let caller = Caller::new(&backend).await;
    // Our answers have no method of JSON-RPC and are known by that of HTTP. Held, each keeps its
    // connection.
    backend.set(Fault::on("POST", Fault::Hold)).await?;

    caller.result(&Ask::tool("talk", "{}")).await;

    eventually("the answers have arrived", PATIENCE, || async {
        let answers = backend.requests("POST").len();
        ensure!(answers == ASIDE, "{answers} answers");
        Ok(())
    })
    .await?;
    // The one that is left lies idle after the call.
    eventually("the answers are given up", PATIENCE, || async {
        let open = backend.connections_open();
        ensure!(open <= 1, "{open} connections open");
        Ok(())
    })
    .await?;
    assert_eq!(backend.requests("POST").len(), ASIDE);
    Ok(())
}

/// T15, R4.11: news of a list on the stream of a call goes to the registry and not to the client;
/// many at once are told twice at most, at the first and after the last.
#[tokio::test]
async fn a_changed_list_is_told_to_the_registry_and_not_to_the_client() -> Result<()> {
    for era in ERAS {
        for (times, told) in [(1, 1), (2, 2), (40, 2)] {
            let news = vec![announcement("tools"); times];
            let backend = Backend::start(talkative(era, &news)).await?;
            let mut caller = Caller::new(&backend).await;

            let (notifications, _) = caller.call(&Ask::tool("talk", "{}")).await?;

            assert!(notifications.is_empty(), "{era:?}: {notifications:?}");
            // The observation follows the last announcement.
            caller.observations.recv().await;
            let announced: Vec<_> =
                std::iter::from_fn(|| caller.announced.try_recv().ok()).collect();
            assert_eq!(
                announced,
                vec![caller.target.generation; told],
                "{era:?}, {times} times"
            );
        }
    }
    Ok(())
}

/// T15: news of prompts and resources goes the same way as that of tools.
#[tokio::test]
async fn news_of_every_kind_of_list_is_told() -> Result<()> {
    for list in ["prompts", "resources"] {
        let backend = Backend::start(talkative(Era::ModernOnly, &[announcement(list)])).await?;
        let mut caller = Caller::new(&backend).await;

        let (notifications, _) = caller.call(&Ask::tool("talk", "{}")).await?;

        assert!(notifications.is_empty(), "{notifications:?}");
        caller.observations.recv().await;
        assert!(caller.announced.try_recv().is_ok(), "{list}");
    }
    Ok(())
}

/// T18, T19: a ping that is refused for another reason than the session loses none, and the call
/// is not sent again.
#[tokio::test]
async fn a_ping_that_meets_another_trouble_loses_no_session() -> Result<()> {
    for status in [401, 429, 503] {
        let backend = Backend::start(Script::legacy()).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo()).await;
        let own = Fault::JsonRpcError {
            code: -32_602,
            http_status: 400,
        };
        let faults = vec![
            Fault::on("tools/call", own),
            Fault::on("ping", Fault::http_status(status)),
        ];
        backend.set(Fault::Any(faults)).await?;
        backend.clear_log();

        let error = caller.call(&Ask::echo()).await.map(drop);

        assert!(error.is_err(), "{status}");
        assert_eq!(backend.requests("tools/call").len(), 1, "{status}");
        assert_eq!(backend.requests("ping").len(), 1, "{status}");
        assert!(backend.requests("initialize").is_empty(), "{status}");
    }
    Ok(())
}

/// T11: a modern backend that refuses our version is no answer for the client, which would think
/// that the gateway lacks it; health learns of it.
#[tokio::test]
async fn a_refused_version_is_a_broken_protocol_and_health_learns_it() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let mut caller = Caller::new(&backend).await;
    let fault = Fault::UnsupportedVersion(vec!["2027-01-01".to_owned()]);
    backend.set(Fault::on("tools/call", fault)).await?;

    let error = caller
        .error(&Ask::echo().within(Duration::from_secs(5)))
        .await;

    assert!(
        matches!(&error, UpstreamError::Protocol(failure) if failure.message.contains("-32022")),
        "{error:?}"
    );
    let learnt = caller.observations.recv().await.map(|seen| seen.outcome);
    assert!(matches!(learnt, Some(CallOutcome::Failed(_))), "{learnt:?}");
    Ok(())
}
