//! The scriptable backend speaks each era as its script says and records what arrived.
//!
//! Every other test leans on it, its faults are proven in harness_faults.rs. Clients here are a bare HTTP client and rmcp, never code of the gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use http::Method;
use serde_json::json;
use vmcp_tests::backend::{
    Backend, Behaviour, ReplyFormat, Script, SessionEnd, Tool, UnknownSession,
};
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

/// T10, T18: both flavours of refusing an unknown session, and 400 without any.
#[tokio::test]
async fn a_stateful_server_knows_its_sessions_and_refuses_others() {
    for (flavour, status) in [
        (UnknownSession::NotFound404, 404),
        (UnknownSession::BadRequest400, 400),
    ] {
        let backend = Backend::start(Script::legacy().with_unknown_session(flavour))
            .await
            .unwrap();
        let mut client = raw(&backend).await;
        let session = client.initialize().await.unwrap();

        let listed = client
            .legacy(&session, "tools/list", json!({}))
            .await
            .unwrap();
        let sessionless = client
            .post(&[], &request(1, "ping", json!({})))
            .await
            .unwrap();
        backend.forget_sessions();
        let lost = client.legacy(&session, "ping", json!({})).await.unwrap();

        assert_eq!(listed.tool_names(), ["echo", "add", "slow", "fail"]);
        assert_eq!(sessionless.status, 400);
        assert_eq!(lost.status, status);
        assert_eq!(backend.sessions_open(), 0);
        assert_eq!(
            backend.sessions()[0].ended.unwrap().1,
            SessionEnd::Forgotten
        );
    }
}

/// T7: a session that is deleted counts as closed, one that is not counts as open.
#[tokio::test]
async fn sessions_are_counted_and_delete_ends_one() {
    let backend = Backend::start(Script::legacy()).await.unwrap();
    let mut client = raw(&backend).await;
    let kept = client.initialize().await.unwrap();
    let ended = client.initialize().await.unwrap();

    let headers = [("mcp-session-id", ended.as_str())];
    let deleted = client.send(Method::DELETE, &headers, "").await.unwrap();
    let again = client.send(Method::DELETE, &headers, "").await.unwrap();

    assert_eq!((deleted.status.as_u16(), again.status.as_u16()), (200, 404));
    assert_eq!(backend.sessions_open(), 1);
    assert!(
        backend
            .sessions()
            .iter()
            .any(|known| known.id == kept && known.ended.is_none())
    );
    assert_eq!(backend.sessions()[0].client_name, "raw-client");
}

/// T2: GET answers 405 unless a stream is offered.
#[tokio::test]
async fn get_answers_405_or_a_stream_that_tells_of_changed_tools() {
    let closed = stateless().await;
    let mut client = raw(&closed).await;
    assert_eq!(client.send(Method::GET, &[], "").await.unwrap().status, 405);

    let open = Backend::start(Script::legacy().with_get_stream())
        .await
        .unwrap();
    let mut client = raw(&open).await;
    let session = client.initialize().await.unwrap();
    let headers = [("mcp-session-id", session.as_str())];
    let change = async {
        while open.requests("GET").iter().all(|get| get.status.is_none()) {
            tokio::task::yield_now().await;
        }
        open.set_tools(vec![Tool::new("fresh", Behaviour::Echo)]);
    };
    let (stream, ()) = tokio::join!(client.send(Method::GET, &headers, ""), change);

    let stream = stream.unwrap();
    assert_eq!(stream.end, End::Stalled, "the stream stays open");
    assert_eq!(
        stream.message()["method"],
        "notifications/tools/list_changed"
    );
    assert_eq!(raw_list(&open, &session).await.tool_names(), ["fresh"]);
}

async fn raw_list(backend: &Backend, session: &str) -> Answer {
    raw(backend)
        .await
        .legacy(session, "tools/list", json!({}))
        .await
        .unwrap()
}

/// Era detection needs a server that truly knows only 2026-07-28.
#[tokio::test]
async fn a_modern_only_server_refuses_initialize_and_checks_headers() {
    let backend = Backend::start(Script::modern()).await.unwrap();
    let mut client = raw(&backend).await;

    let discovered = client.modern("server/discover", json!({})).await.unwrap();
    let called = client
        .modern(
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "hi"}}),
        )
        .await;
    let refused = client.post(&[], &initialize_request()).await.unwrap();
    let params = json!({"name": "echo", "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}}});
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "other"),
    ];
    let mismatch = client
        .post(&headers, &request(3, "tools/call", params))
        .await
        .unwrap();

    assert_eq!(
        discovered.message()["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    assert_eq!(called.unwrap().content_text(), "hi");
    assert_eq!(
        (refused.status.as_u16(), &refused.message()["error"]["code"]),
        (400, &json!(-32022))
    );
    assert_eq!(
        (
            mismatch.status.as_u16(),
            &mismatch.message()["error"]["code"]
        ),
        (400, &json!(-32020))
    );
}

/// T22: keys of the other era in `_meta` are not overlooked by a strict legacy server.
#[tokio::test]
async fn a_legacy_server_refuses_modern_keys_in_meta() {
    let backend = Backend::start(Script::stateless()).await.unwrap();
    let params = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});

    let refused = raw(&backend)
        .await
        .legacy("", "tools/list", params)
        .await
        .unwrap();

    assert_eq!(
        (refused.status.as_u16(), &refused.message()["error"]["code"]),
        (400, &json!(-32020))
    );
}

/// A dual server answers both eras side by side.
#[tokio::test]
async fn a_dual_server_answers_both_eras() {
    let backend = Backend::start(Script::dual()).await.unwrap();
    let mut client = raw(&backend).await;

    let session = client.initialize().await.unwrap();
    let legacy = client
        .legacy(&session, "tools/list", json!({}))
        .await
        .unwrap();
    let modern = client.modern("tools/list", json!({})).await.unwrap();

    assert_eq!(legacy.tool_names(), modern.tool_names());
    assert_eq!(modern.message()["result"]["resultType"], "complete");
    assert_eq!(legacy.message()["result"].get("resultType"), None);
}

/// 2024-11-05: the answer to a POST comes on the stream that a GET opened.
#[tokio::test]
async fn an_sse_server_answers_on_the_stream() {
    let backend = Backend::start(Script::sse()).await.unwrap();
    let mut stream = raw(&backend).await;
    let post = async {
        while backend.sessions_open() == 0 {
            tokio::task::yield_now().await;
        }
        let path = format!("/messages?sessionId={}", backend.sessions()[0].id);
        let url = backend.url().replace("/sse", &path);
        let mut poster = RawClient::connect(&url).await.unwrap();
        poster.post(&[], &initialize_request()).await.unwrap()
    };
    let (stream_answer, posted) = tokio::join!(stream.send(Method::GET, &[], ""), post);
    let stream_answer = stream_answer.unwrap();

    assert_eq!(posted.status, 202);
    assert!(
        stream_answer
            .text()
            .starts_with("event: endpoint\ndata: /messages?sessionId=")
    );
    assert_eq!(
        stream_answer.message()["result"]["protocolVersion"],
        "2025-11-25"
    );
    assert_eq!(
        raw(&backend)
            .await
            .post(&[], &initialize_request())
            .await
            .unwrap()
            .status,
        405
    );
    drop(stream);
    until(|| backend.sessions_open() == 0).await;
    assert_eq!(
        backend.sessions()[0].ended.unwrap().1,
        SessionEnd::StreamClosed
    );
}

/// T21: pages are cut where the script says and a foreign cursor is an error.
#[tokio::test]
async fn pages_of_tools_are_linked_by_cursors() {
    let backend = Backend::start(Script::stateless().with_page_size(3))
        .await
        .unwrap();
    let mut client = raw(&backend).await;

    let first = client
        .post(&[], &request(1, "tools/list", json!({})))
        .await
        .unwrap();
    let cursor = first.message()["result"]["nextCursor"].clone();
    let rest = client
        .post(&[], &request(2, "tools/list", json!({"cursor": cursor})))
        .await
        .unwrap();
    let bad = client
        .post(&[], &request(3, "tools/list", json!({"cursor": "x"})))
        .await
        .unwrap();

    assert_eq!(
        (first.tool_names().len(), rest.tool_names()),
        (3, vec!["fail".to_owned()])
    );
    assert_eq!(rest.message()["result"].get("nextCursor"), None);
    assert_eq!(bad.message()["error"]["code"], -32602);
}

/// T22: definitions and results given raw arrive byte for byte, in each framing.
#[tokio::test]
async fn raw_definitions_and_results_arrive_byte_for_byte() {
    let definition =
        r#"{"name":"odd", "inputSchema":{"type":"object","maximum":1.50e+3},"x-v":[1e2]}"#;
    let result = r#"{"content":[],  "structuredContent":{"n":0.10,"big":12345678901234567890}}"#;
    let tool = Tool::raw("odd", definition, Behaviour::Raw(result.to_owned()));
    for format in [ReplyFormat::Json, ReplyFormat::Sse, ReplyFormat::SsePrimed] {
        let script = Script::stateless()
            .with_tools(vec![tool.clone()])
            .with_reply(format);
        let backend = Backend::start(script).await.unwrap();
        let mut client = raw(&backend).await;

        let listed = client
            .post(&[], &request(1, "tools/list", json!({})))
            .await
            .unwrap();
        let called = client
            .post(&[], &request(1, "tools/call", json!({"name": "odd"})))
            .await
            .unwrap();

        assert_eq!(
            listed.header("content-type").contains("event-stream"),
            format != ReplyFormat::Json
        );
        assert!(listed.text().contains(definition), "{}", listed.text());
        assert!(called.text().contains(result), "{}", called.text());
    }
}

/// T16: what a load balancer would add comes with every answer.
#[tokio::test]
async fn extra_headers_come_with_every_answer() {
    let script = Script::stateless().with_header("set-cookie", "affinity=1");
    let backend = Backend::start(script).await.unwrap();

    let answer = ping(&backend.url()).await.unwrap();

    assert_eq!(answer.header("set-cookie"), "affinity=1");
}

/// Multi-line `data` is one message.
#[tokio::test]
async fn a_multi_line_event_spreads_one_message_over_several_data_lines() {
    let script = Script::stateless().with_reply(ReplyFormat::SseMultiLine);
    let backend = Backend::start(script).await.unwrap();

    let answer = ping(&backend.url()).await.unwrap();

    assert!(
        answer.text().matches("data: ").count() >= 3,
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.message(),
        json!({"jsonrpc": "2.0", "id": 7, "result": {}})
    );
}

/// R2.2: the record tells connections apart and knows when they end.
#[tokio::test]
async fn connections_are_recorded_with_port_count_and_end() {
    let backend = stateless().await;
    let mut first = raw(&backend).await;
    first
        .post(&[], &request(1, "ping", json!({})))
        .await
        .unwrap();
    first
        .post(&[], &request(2, "ping", json!({})))
        .await
        .unwrap();
    let mut second = raw(&backend).await;
    second
        .post(&[("x-test", "yes")], &request(3, "ping", json!({})))
        .await
        .unwrap();
    let (port, other) = (first.local_port, second.local_port);
    drop(first);
    until(|| backend.connections_open() == 1).await;

    let connections = backend.connections();

    assert_ne!(port, other);
    assert_eq!(
        (connections[0].peer_port, connections[0].requests),
        (port, 2)
    );
    assert!(connections[0].closed.is_some() && connections[1].closed.is_none());
    assert_eq!(
        (connections[1].peer_port, connections[1].requests),
        (other, 1)
    );
    let log = backend.log();
    assert_eq!(
        log.iter().map(|entry| entry.peer_port).collect::<Vec<_>>(),
        [port, port, other]
    );
    assert_eq!(
        (log[2].header("x-test"), log[2].method(), log[2].status),
        ("yes", "ping", Some(200))
    );
    assert_eq!(log[2].json()["id"], 3);
}
