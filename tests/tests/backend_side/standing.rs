//! Standing streams: what a backend says outside calls.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use vmcp::backend::probe::Want;
use vmcp::backend::watch::{self, OnChange};
use vmcp::gateway::port::{
    BackendPort, SessionScope, UpstreamError, UpstreamEvent, UpstreamEvents, UpstreamListen,
};
use vmcp::near::Near;
use vmcp_core::mcp::ProtocolVersion;
use vmcp_tests::backend::{Backend, Era, Recorded, Script};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE, Prober, dialect, sessions};

const UPDATED: &str = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:1","n":1.0}}"#;

fn listen(caller: &Caller, scope: SessionScope, resources: &[&str]) -> UpstreamListen {
    UpstreamListen {
        target: Near::of(caller.target.clone()),
        scope,
        resources: resources.iter().map(|uri| (*uri).into()).collect(),
        client_capabilities: None,
        client_info: None,
        client_version: ProtocolVersion::LATEST_LEGACY,
        log_level: None,
        deadline: Instant::now() + PATIENCE,
    }
}

fn client() -> SessionScope {
    SessionScope::Client("client-a".into())
}

async fn notification(events: &mut UpstreamEvents) -> Result<String> {
    match tokio::time::timeout(PATIENCE, events.recv()).await? {
        Some(Ok(UpstreamEvent::Notification(text))) => Ok(text.to_string()),
        other => bail!("a notification was due: {other:?}"),
    }
}

fn of_traffic(backend: &Backend) -> Option<String> {
    let all = backend.sessions();
    let found = all
        .iter()
        .find(|one| one.client_name == "vmcp" && one.ended.is_none());
    found.map(|session| session.id.clone())
}

/// What is said in a client's session outside its calls reaches who listens, and nobody else; the
/// session is that of its calls.
#[tokio::test]
async fn the_stream_of_a_clients_session_is_heard() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era).with_get_stream()).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo()).await;

        let mut events = caller
            .upstream
            .listen(listen(&caller, client(), &[]))
            .await?
            .events;
        let session = of_traffic(&backend).context("a session")?;
        backend.say(&session, UPDATED);
        assert_eq!(notification(&mut events).await?, UPDATED, "{era:?}");

        let ask = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
        backend.say(&session, ask);
        match events.recv().await {
            Some(Ok(UpstreamEvent::Request(request))) => request.answer.answer(Ok("{}".into())),
            other => bail!("{era:?}: {other:?}"),
        }
        eventually("the answer has arrived", PATIENCE, || async {
            let answers = backend.requests("POST");
            ensure!(answers.iter().any(|one| one.json()["id"] == "q"));
            Ok(())
        })
        .await?;
        assert_eq!(backend.requests("initialize").len(), 1, "{era:?}");
    }
    Ok(())
}

/// The end of the session ends the stream, so that whoever listens can begin anew.
#[tokio::test]
async fn a_stream_ends_with_its_session() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era).with_get_stream()).await?;
        let caller = Caller::new(&backend).await;
        let mut events = caller
            .upstream
            .listen(listen(&caller, client(), &[]))
            .await?
            .events;

        caller.upstream.end_session("client-a".into()).await;

        let end = tokio::time::timeout(PATIENCE, events.recv()).await?;
        ensure!(matches!(end, Some(Err(_)) | None), "{era:?}: {end:?}");
        sessions(&backend, 0).await?;
    }
    Ok(())
}

/// R4.3: a runtime that is replaced lets go of its streams, and its calls are waited for no longer
/// than they take.
#[tokio::test]
async fn a_stream_ends_with_its_runtime() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let caller = Caller::new(&backend).await;
    let mut events = caller
        .upstream
        .listen(listen(&caller, client(), &[]))
        .await?
        .events;

    caller
        .upstream
        .detach(&caller.target.id, caller.target.generation);

    let end = tokio::time::timeout(PATIENCE, events.recv()).await?;
    ensure!(
        matches!(end, Some(Err(UpstreamError::Unavailable(_)))),
        "{end:?}"
    );
    sessions(&backend, 0).await
}

/// T2: a server without such a stream says so at once, with the status for whoever asks again.
#[tokio::test]
async fn a_server_without_a_stream_is_told_apart() -> Result<()> {
    for era in [Era::LegacyStateful, Era::LegacyStateless] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;

        let refused = caller.upstream.listen(listen(&caller, client(), &[])).await;

        ensure!(
            matches!(&refused, Err(UpstreamError::Unavailable(failure)) if failure.http_status == Some(405)),
            "{era:?}: {refused:?}"
        );
    }
    Ok(())
}

/// A modern client's subscriptions at a legacy backend have a session of their own, which ends with
/// them.
#[tokio::test]
async fn subscriptions_of_a_modern_client_have_a_session_of_their_own() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let caller = Caller::new(&backend).await;

    let wanted = listen(&caller, SessionScope::Lease, &["x:1", "x:2"]);
    let mut events = caller.upstream.listen(wanted).await?.events;
    let subscribed: Vec<_> = backend
        .requests("resources/subscribe")
        .iter()
        .map(|one: &Recorded| one.json()["params"]["uri"].clone())
        .collect();
    assert_eq!(subscribed, ["x:1", "x:2"]);
    backend.say(&of_traffic(&backend).context("a session")?, UPDATED);
    assert_eq!(notification(&mut events).await?, UPDATED);
    assert_eq!(backend.sessions_open(), 1);

    drop(events);
    sessions(&backend, 0).await
}

/// A modern backend is asked about resources; its acknowledgement is not for the client.
#[tokio::test]
async fn a_modern_backend_is_listened_to() -> Result<()> {
    let backend = Backend::start(Script::modern().with_get_stream()).await?;
    let caller = Caller::new(&backend).await;

    let wanted = listen(&caller, SessionScope::Lease, &["x:1"]);
    let mut events = caller.upstream.listen(wanted).await?.events;
    backend.say_to_listeners(UPDATED);

    assert_eq!(notification(&mut events).await?, UPDATED);
    let asked = &backend.requests("subscriptions/listen")[0];
    assert_eq!(
        asked.json()["params"]["notifications"],
        serde_json::json!({"resourceSubscriptions": ["x:1"]})
    );
    drop(events);
    crate::kit::all_closed(&backend).await
}

/// R4.11: news of a list never crosses; many at once are told together.
#[tokio::test]
async fn news_of_lists_on_a_standing_stream_goes_to_the_registry() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era).with_get_stream()).await?;
        let mut caller = Caller::new(&backend).await;
        let mut events = caller
            .upstream
            .listen(listen(&caller, client(), &[]))
            .await?
            .events;

        for _ in 0..20 {
            backend.announce_tools_changed();
        }
        let told = tokio::time::timeout(PATIENCE, caller.announced.recv()).await?;
        assert_eq!(told, Some(caller.target.generation), "{era:?}");
        backend.say(&of_traffic(&backend).context("a session")?, UPDATED);
        assert_eq!(notification(&mut events).await?, UPDATED, "{era:?}");
        let more = std::iter::from_fn(|| caller.announced.try_recv().ok()).count();
        ensure!(more <= 2, "{era:?}: {more} more");
    }
    Ok(())
}

/// R4.11: servers of 2024-11-05 are followed too.
#[tokio::test]
async fn a_server_of_2024_is_followed() -> Result<()> {
    let backend = Backend::start(Script::sse().with_get_stream()).await?;
    let mut prober = Prober::new(&backend.url());
    let found = dialect(&prober.cycle(Want::Liveness).await.outcome);
    assert!(watch::can_follow(found));
    let (sender, mut told) = tokio::sync::mpsc::channel(64);
    let cancel = tokio_util::sync::CancellationToken::new();
    let changed = OnChange::new(move || sender.try_send(()).expect("room"));
    let endpoint = prober.target.endpoint.clone();
    let following = tokio::spawn(watch::follow(endpoint, found, changed, cancel.clone()));
    sessions(&backend, 1).await?;

    eventually("the announcement is heard", PATIENCE, || {
        backend.announce_tools_changed();
        let heard = told.try_recv();
        async move {
            heard?;
            Ok(())
        }
    })
    .await?;

    cancel.cancel();
    following.await?;
    sessions(&backend, 0).await
}

/// What a client says outside calls reaches every backend where it has a session, and only those.
#[tokio::test]
async fn a_notification_of_a_client_reaches_its_open_sessions() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        caller.result(&Ask::echo()).await;
        caller.result(&Ask::echo().by("client-b")).await;

        let method = "notifications/roots/list_changed";
        caller.upstream.notify("client-a", method, None);
        caller.upstream.notify("client-x", method, None);

        eventually("the notification has arrived", PATIENCE, || async {
            ensure!(!backend.requests(method).is_empty());
            Ok(())
        })
        .await?;
        let told = backend.requests(method);
        assert_eq!(told.len(), 1, "{era:?}");
        assert_eq!(told[0].session, backend.requests("tools/call")[0].session);
    }
    Ok(())
}
