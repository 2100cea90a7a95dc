//! Each fault of the scriptable backend, and of the fault proxy, really is what its name says.
//!
//! Every other test leans on it: a fault that does nothing would make their assertions true for
//! the wrong reason. Clients here are a bare HTTP client and rmcp, never code of the gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, CallFailure, Fault, FaultProxy, Passage, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::raw::{Answer, End, RawClient, initialize_request, ping, request};

async fn raw(backend: &Backend) -> RawClient {
    RawClient::connect(&backend.url())
        .await
        .expect("connect to the backend")
}

async fn stateless() -> Backend {
    Backend::start(Script::stateless())
        .await
        .expect("start a backend")
}

async fn broken_by(fault: Fault) -> anyhow::Result<Answer> {
    let backend = stateless().await;
    assert_eq!(
        ping(&backend.url()).await?.message()["result"],
        json!({}),
        "healthy before the fault"
    );
    backend.set(fault).await?;
    ping(&backend.url()).await
}

async fn until(condition: impl Fn() -> bool) {
    let ask = || async {
        condition()
            .then_some(())
            .ok_or_else(|| anyhow::anyhow!("not yet"))
    };
    eventually("the condition", Duration::from_secs(5), ask)
        .await
        .unwrap();
}

/// R2.1: a refused port is closed, open connections too, and the same port opens again.
#[tokio::test]
async fn refuse_closes_the_port_and_heal_opens_the_same_one() {
    let backend = stateless().await;
    let mut kept = raw(&backend).await;
    let port = backend.port();

    backend.set(Fault::Refuse).await.unwrap();
    let error = RawClient::connect(&backend.url())
        .await
        .expect_err("the port is closed");
    let on_old = kept.post(&[], &request(1, "ping", json!({}))).await;
    let open = backend.connections_open();
    backend.heal().await.unwrap();

    let kind = error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionRefused));
    assert!(on_old.is_err(), "an open connection is closed too");
    assert_eq!((open, backend.port()), (0, port));
    assert_eq!(ping(&backend.url()).await.unwrap().status, 200);
}

/// R0.1, R2.3, T3: plain HTTP failures.
#[tokio::test]
async fn http_failures_have_the_status_and_headers_that_the_script_says() {
    let failed = broken_by(Fault::http_status(500)).await.unwrap();
    let denied = broken_by(Fault::unauthorized()).await.unwrap();
    let moved = broken_by(Fault::Http307 {
        location: "/mcp/".to_owned(),
    })
    .await
    .unwrap();
    let limited = broken_by(Fault::RateLimited {
        retry_after: Some(3),
    })
    .await
    .unwrap();
    let host = broken_by(Fault::HostCheck {
        allowed: vec!["mcp.example".to_owned()],
    })
    .await
    .unwrap();
    let own = broken_by(Fault::HostCheck {
        allowed: vec!["127.0.0.1".to_owned()],
    })
    .await
    .unwrap();

    assert_eq!(failed.status, 500);
    assert_eq!(
        (denied.status.as_u16(), denied.header("www-authenticate")),
        (401, "Bearer")
    );
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (307, "/mcp/")
    );
    assert_eq!(
        (limited.status.as_u16(), limited.header("retry-after")),
        (429, "3")
    );
    assert_eq!((host.status.as_u16(), own.status.as_u16()), (403, 200));
}

/// R1.14: a hang is a hang, a hold ends with the fault.
#[tokio::test]
async fn a_hang_never_answers_and_a_hold_answers_when_it_is_lifted() {
    let backend = stateless().await;
    backend.set(Fault::AcceptAndHang).await.unwrap();
    let hung = tokio::time::timeout(Duration::from_millis(300), ping(&backend.url())).await;
    assert!(hung.is_err(), "connected, but nothing answered");
    assert_eq!(backend.log()[0].status, None);
    until(|| backend.connections_open() == 0).await;

    let url = backend.url();
    backend.set(Fault::Hold).await.unwrap();
    let asking = ping(&url);
    tokio::pin!(asking);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    backend.heal().await.unwrap();
    let held = asking.await;

    assert!(early.is_err(), "held while the fault lasts");
    assert_eq!(held.unwrap().message()["result"], json!({}));
}

/// T11, T20: broken bodies.
#[tokio::test]
async fn broken_bodies_break_as_named() {
    let reset = broken_by(Fault::Reset).await;
    let html = broken_by(Fault::NonJson200).await.unwrap();
    let garbage = broken_by(Fault::GarbageJson).await.unwrap();
    let empty = broken_by(Fault::EmptyBody200).await.unwrap();
    let truncated = broken_by(Fault::TruncatedBody).await.unwrap();
    let stalled = broken_by(Fault::StallMidBody).await.unwrap();
    let huge = broken_by(Fault::HugeBody(3_000_000)).await.unwrap();

    assert!(reset.is_err(), "closed without an answer");
    assert_eq!(
        (html.status.as_u16(), html.header("content-type")),
        (200, "text/html")
    );
    assert!(html.text().starts_with("<!doctype html>"));
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());
    assert_eq!(
        (garbage.status.as_u16(), garbage.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(
        (empty.status.as_u16(), empty.body.len(), empty.end),
        (200, 0, End::Whole)
    );
    assert_eq!(
        (truncated.status.as_u16(), truncated.end),
        (200, End::Broken)
    );
    let promised: usize = truncated.header("content-length").parse().unwrap();
    assert!(
        !truncated.body.is_empty() && truncated.body.len() < promised,
        "{truncated:?}"
    );
    assert_eq!((stalled.status.as_u16(), stalled.end), (200, End::Stalled));
    assert!(!stalled.body.is_empty(), "half of it came");
    assert!(huge.body.len() > 3_000_000 && huge.message()["result"].is_object());
}

/// T11: answers that are JSON-RPC and wrong all the same.
#[tokio::test]
async fn wrong_messages_are_wrong_as_named() {
    let id = broken_by(Fault::WrongId).await.unwrap();
    let error = broken_by(Fault::json_rpc_error(-32603)).await.unwrap();
    let version = broken_by(Fault::UnsupportedVersion(vec!["2099-01-01".to_owned()]))
        .await
        .unwrap();
    let started = Instant::now();
    let slow = broken_by(Fault::Slow(Duration::from_millis(200)))
        .await
        .unwrap();

    assert_ne!(id.message()["id"], 7);
    assert_eq!(id.message()["result"], json!({}));
    assert_eq!(
        (error.status.as_u16(), &error.message()["error"]["code"]),
        (200, &json!(-32603))
    );
    assert_eq!(version.status, 400);
    assert_eq!(
        version.message()["error"]["data"]["supported"],
        json!(["2099-01-01"])
    );
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(slow.status, 200);
}

/// T1: a strict server refuses what comes without a session, and nothing else.
#[tokio::test]
async fn a_strict_server_rejects_probes_without_a_session() {
    let backend = Backend::start(Script::dual()).await.unwrap();
    backend
        .set(Fault::RejectProbesWithoutSession)
        .await
        .unwrap();
    let mut client = raw(&backend).await;

    let discover = client.modern("server/discover", json!({})).await.unwrap();
    let session = client.initialize().await.map_err(|error| error.to_string());
    let pinged = client
        .legacy(session.as_ref().unwrap(), "ping", json!({}))
        .await
        .unwrap();

    assert_eq!(
        (discover.status.as_u16(), pinged.status.as_u16()),
        (400, 200)
    );
}

/// R1.11, R4.9: one operation fails while the others work.
#[tokio::test]
async fn list_and_call_fail_alone() {
    let backend = stateless().await;
    let list = request(1, "tools/list", json!({}));
    let call = request(
        2,
        "tools/call",
        json!({"name": "echo", "arguments": {"text": "hi"}}),
    );
    let fail = request(3, "tools/call", json!({"name": "fail"}));
    let mut client = raw(&backend).await;

    backend.set(Fault::ListFails).await.unwrap();
    assert_eq!(
        client.post(&[], &list).await.unwrap().message()["error"]["code"],
        -32603
    );
    assert_eq!(client.post(&[], &call).await.unwrap().content_text(), "hi");
    assert_eq!(
        ping(&backend.url()).await.unwrap().message()["result"],
        json!({})
    );

    backend
        .set(Fault::CallFails(CallFailure::ToolError))
        .await
        .unwrap();
    assert_eq!(
        client.post(&[], &call).await.unwrap().message()["result"]["isError"],
        true
    );
    assert_eq!(client.post(&[], &list).await.unwrap().tool_names().len(), 4);

    backend
        .set(Fault::CallFails(CallFailure::RpcError(-32000)))
        .await
        .unwrap();
    assert_eq!(
        client.post(&[], &call).await.unwrap().message()["error"]["code"],
        -32000
    );

    backend
        .set(Fault::on("tools/list", Fault::http_status(503)))
        .await
        .unwrap();
    assert_eq!(client.post(&[], &list).await.unwrap().status, 503);
    assert_eq!(client.post(&[], &call).await.unwrap().content_text(), "hi");
    assert_eq!(
        client.post(&[], &fail).await.unwrap().message()["result"]["isError"],
        true
    );
}

/// R2.1: cycles are counted by what a probe sends, however many requests it takes.
#[tokio::test]
async fn the_first_cycles_fail_and_later_ones_do_not() {
    let backend = stateless().await;
    backend
        .set(Fault::first_cycles(2, Fault::http_status(404)))
        .await
        .unwrap();

    let mut statuses = Vec::new();
    for _cycle in 0..3 {
        let mut client = raw(&backend).await;
        let discover = client.modern("server/discover", json!({})).await.unwrap();
        let initialize = client.post(&[], &initialize_request()).await.unwrap();
        statuses.push((discover.status.as_u16(), initialize.status.as_u16()));
    }

    assert_eq!(statuses, [(404, 404), (404, 404), (404, 200)]);
    assert_eq!(backend.cycles(), 3);
}

/// The proxy passes, refuses, freezes, cuts and delays below HTTP.
#[tokio::test]
async fn the_proxy_breaks_the_network_as_named() {
    let backend = stateless().await;
    let target = std::net::SocketAddr::from(([127, 0, 0, 1], backend.port()));
    let proxy = FaultProxy::start(target).await.unwrap();
    let url = proxy.url("/mcp");
    assert_eq!(ping(&url).await.unwrap().status, 200);

    proxy.set(Passage::Refused).await.unwrap();
    assert!(
        RawClient::connect(&url).await.is_err(),
        "the port is closed"
    );

    proxy.set(Passage::Cut).await.unwrap();
    let mut cut = RawClient::connect(&url).await.unwrap();
    assert!(cut.post(&[], &request(1, "ping", json!({}))).await.is_err());

    proxy.set(Passage::Frozen).await.unwrap();
    let mut frozen = RawClient::connect(&url).await.unwrap();
    let message = request(2, "ping", json!({}));
    let asking = frozen.post(&[], &message);
    tokio::pin!(asking);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    assert!(early.is_err(), "no answer passes");
    assert_eq!(backend.log().len(), 1, "no request passes");
    proxy.set(Passage::Open).await.unwrap();
    assert_eq!(
        asking.await.unwrap().status,
        200,
        "what waited passes later"
    );

    proxy
        .set(Passage::Delayed(Duration::from_millis(100)))
        .await
        .unwrap();
    let started = Instant::now();
    assert_eq!(ping(&url).await.unwrap().status, 200);
    assert!(
        started.elapsed() >= Duration::from_millis(200),
        "there and back"
    );
}

/// R2.8, T18: a restart keeps the port and loses the sessions.
#[tokio::test]
async fn a_restart_keeps_the_port_and_loses_the_sessions() {
    let backend = Backend::late(Script::legacy()).await.unwrap();
    assert!(
        RawClient::connect(&backend.url()).await.is_err(),
        "late means not there yet"
    );
    backend.restart().await.unwrap();
    let session = raw(&backend).await.initialize().await.unwrap();

    backend.restart().await.unwrap();
    let lost = raw(&backend)
        .await
        .legacy(&session, "ping", json!({}))
        .await
        .unwrap();

    assert_eq!(lost.status, 404);
    assert_eq!(backend.sessions_open(), 0);
}
