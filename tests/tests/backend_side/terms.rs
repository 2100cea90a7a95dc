//! What an upstream session is opened with, and what passes in it.

use anyhow::{Context, Result, ensure};
use std::sync::Arc;

use vmcp::gateway::port::{BackendPort, UpstreamEvent, UpstreamRequest};
use vmcp_core::mcp::ProtocolVersion;
use vmcp_tests::backend::{Backend, Behaviour, Era, ReplyFormat, Script, Tool};
use vmcp_tests::eventually::eventually;

use crate::kit::{Ask, Caller, PATIENCE};

async fn finish(caller: &Caller, request: UpstreamRequest) -> Result<Vec<String>> {
    let mut events = caller.upstream.send(Arc::new(request)).await?;
    let mut notifications = Vec::new();
    loop {
        match events.recv().await {
            Some(Ok(UpstreamEvent::Notification(text))) => notifications.push(text.to_string()),
            Some(Ok(UpstreamEvent::Response(Ok(_)))) => return Ok(notifications),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

fn as_client(caller: &Caller, ask: &Ask<'_>, capabilities: &str) -> UpstreamRequest {
    UpstreamRequest {
        client_capabilities: Some(capabilities.into()),
        ..caller.request(ask)
    }
}

/// T12: the backend is told what the client can, never what we can, in the client's version.
#[tokio::test]
async fn a_session_declares_what_its_client_can() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era)).await?;
        let caller = Caller::new(&backend).await;
        let raw = r#"{"sampling":{"tools":{}},"x-vendor":1.0}"#;
        let mut request = as_client(&caller, &Ask::echo(), raw);
        request.client_version = ProtocolVersion::V2025_06_18;

        finish(&caller, request).await?;

        let initialize = &backend.requests("initialize")[0];
        let body = String::from_utf8_lossy(&initialize.body);
        ensure!(body.contains(&format!(r#""capabilities":{raw}"#)), "{body}");
        let params = &initialize.json()["params"];
        assert_eq!(params["protocolVersion"], "2025-06-18");
        assert_eq!(params["clientInfo"]["name"], "vmcp");
    }
    Ok(())
}

/// T12: a lease is used again only by a client that can the same, in the same version.
#[tokio::test]
async fn leases_are_kept_apart_by_what_their_clients_can() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;
    let ask = Ask::echo().leased();
    let (plain, able) = ("{}", r#"{"elicitation":{}}"#);
    let old = || UpstreamRequest {
        client_version: ProtocolVersion::V2025_03_26,
        ..as_client(&caller, &ask, plain)
    };

    for _ in 0..3 {
        finish(&caller, as_client(&caller, &ask, plain)).await?;
        finish(&caller, as_client(&caller, &ask, able)).await?;
        finish(&caller, old()).await?;
    }

    let mut opened = backend.sessions();
    opened.retain(|session| session.client_name == "vmcp");
    assert_eq!(opened.len(), 3);
    assert_eq!(opened[0].client_capabilities, plain);
    assert_eq!(opened[1].client_capabilities, able);
    Ok(())
}

/// T12: a lease is used again only by the same principal; those without one share theirs.
#[tokio::test]
async fn leases_are_kept_apart_by_principal() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;

    for principal in [Some("a"), Some("b"), None, Some("b"), Some("a"), None] {
        let request = UpstreamRequest {
            principal: principal.map(Into::into),
            ..caller.request(&Ask::echo().leased())
        };
        finish(&caller, request).await?;
    }

    let calls = backend.requests("tools/call");
    let used: Vec<_> = calls.iter().map(|call| call.session.clone()).collect();
    assert_eq!(backend.sessions_open(), 3);
    assert_eq!(
        (&used[0], &used[1], &used[2]),
        (&used[4], &used[3], &used[5])
    );
    Ok(())
}

/// T12: what a server says late in a lease is not for the next client, so that there is none.
#[tokio::test]
async fn a_lease_whose_server_spoke_to_nobody_is_not_used_again() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let caller = Caller::new(&backend).await;
    let ask = Ask::echo().leased();
    let able = || as_client(&caller, &ask, r#"{"roots":{}}"#);
    finish(&caller, able()).await?;
    finish(&caller, able()).await?;
    let first = backend.requests("tools/call")[1].session.clone();
    let first = first.context("a session")?;
    assert_eq!(backend.requests("initialize").len(), 1);

    let late = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"secret"}}"#;
    backend.say(&first, late);

    eventually("the lease is ended", PATIENCE, || async {
        let ended = backend.sessions().into_iter().find(|one| one.id == first);
        ensure!(ended.is_some_and(|one| one.ended.is_some()));
        Ok(())
    })
    .await?;
    let heard = finish(&caller, able()).await?;
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!(backend.requests("initialize").len(), 2);
    Ok(())
}

/// The stream on which many servers ask stands before the first call; a session whose client can be
/// asked nothing holds none.
#[tokio::test]
async fn the_stream_of_a_session_stands_before_its_first_call() -> Result<()> {
    let backend = Backend::start(Script::legacy().with_get_stream()).await?;
    let caller = Caller::new(&backend).await;

    finish(&caller, as_client(&caller, &Ask::echo(), "{}")).await?;
    assert!(backend.requests("GET").is_empty());
    let ask = Ask::echo().by("client-b");
    finish(&caller, as_client(&caller, &ask, r#"{"roots":{}}"#)).await?;

    let methods: Vec<_> = backend
        .log()
        .iter()
        .map(|one| one.method().to_owned())
        .collect();
    let order = [
        "initialize",
        "notifications/initialized",
        "GET",
        "tools/call",
    ];
    assert_eq!(methods[methods.len() - 4..], order);
    Ok(())
}

/// T2: a server without such a stream is asked for it once, not by every session.
#[tokio::test]
async fn a_server_without_a_stream_is_asked_once() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&backend).await;

    for client in ["a", "b", "c"] {
        let ask = Ask::echo().by(client);
        finish(&caller, as_client(&caller, &ask, r#"{"roots":{}}"#)).await?;
    }

    assert_eq!(backend.requests("GET").len(), 1);
    assert_eq!(backend.sessions_open(), 3);
    Ok(())
}

/// Progress tokens upstream are ours; the client gets its own back as it spelled it, and progress
/// that it did not ask for never.
#[tokio::test]
async fn progress_tokens_are_ours_upstream_and_the_clients_here() -> Result<()> {
    for era in [
        Era::LegacyStateful,
        Era::LegacyStateless,
        Era::ModernOnly,
        Era::Sse2024,
    ] {
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":0.50}}"#;
        let tool = Tool::new("talk", Behaviour::Echo).with_notification(progress);
        let script = Script::new(era)
            .with_tools(vec![tool])
            .with_reply(ReplyFormat::Sse);
        let backend = Backend::start(script).await?;
        let caller = Caller::new(&backend).await;
        let theirs = r#""a\u00e9\/""#;
        let ask = Ask::tool("talk", "{}");
        let mut request = caller.request(&ask);
        let params = format!(r#"{{"name":"talk","_meta":{{"progressToken":{theirs},"x":1.0}}}}"#);
        request.params = Some(params.into());

        let heard = finish(&caller, request).await?;
        let unasked = finish(&caller, caller.request(&ask)).await?;

        assert_eq!(heard, [progress.replace("$TOKEN", theirs)], "{era:?}");
        assert!(unasked.is_empty(), "{era:?}: {unasked:?}");
        let call = &backend.requests("tools/call")[0];
        let body = call.json();
        assert_eq!(
            body["params"]["_meta"]["progressToken"], body["id"],
            "{era:?}"
        );
        assert_eq!(body["params"]["_meta"]["x"], 1.0, "{era:?}");
    }
    Ok(())
}

/// A session is told the log level before the call, once, and again after it was lost; a server
/// that declares no logging never.
#[tokio::test]
async fn a_log_level_is_told_where_the_session_has_another() -> Result<()> {
    for era in [Era::LegacyStateful, Era::Sse2024] {
        let backend = Backend::start(Script::new(era).with_logging()).await?;
        let caller = Caller::new(&backend).await;
        let at = |level: &str| UpstreamRequest {
            log_level: Some(level.into()),
            ..caller.request(&Ask::echo())
        };

        finish(&caller, caller.request(&Ask::echo())).await?;
        for level in [r#""debug""#, r#""debug""#, r#""error""#] {
            finish(&caller, at(level)).await?;
        }

        let told = || {
            let requests = backend.requests("logging/setLevel");
            let level = |one: &vmcp_tests::backend::Recorded| one.json()["params"]["level"].clone();
            requests.iter().map(level).collect::<Vec<_>>()
        };
        assert_eq!(told(), ["debug", "error"], "{era:?}");
        if era == Era::LegacyStateful {
            backend.forget_sessions();
            finish(&caller, at(r#""error""#)).await?;
            assert_eq!(told().last(), Some(&"error".into()));
        }
    }
    let silent = Backend::start(Script::legacy()).await?;
    let caller = Caller::new(&silent).await;
    let request = UpstreamRequest {
        log_level: Some(r#""debug""#.into()),
        ..caller.request(&Ask::echo())
    };
    finish(&caller, request).await?;
    assert!(silent.requests("logging/setLevel").is_empty());
    Ok(())
}

/// A modern backend gets the log level with each request.
#[tokio::test]
async fn a_modern_backend_gets_the_log_level_with_the_request() -> Result<()> {
    let backend = Backend::start(Script::modern()).await?;
    let caller = Caller::new(&backend).await;
    let request = UpstreamRequest {
        log_level: Some(r#""debug""#.into()),
        ..caller.request(&Ask::echo())
    };

    finish(&caller, request).await?;

    let meta = &backend.requests("tools/call")[0].json()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/logLevel"], "debug");
    Ok(())
}
