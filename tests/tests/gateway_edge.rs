//! The HTTP edge of a real gateway process: what it refuses, and that its limits are enforced.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self as plain, Answer, LegacyClient};
use vmcp_tests::stack::{Local, SOON};

async fn running() -> Result<(Backend, Local)> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("one", backend.url())], json!({})).await?;
    local.until_phase("Ready", SOON).await?;
    Ok((backend, local))
}

fn ping() -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })
        .to_string()
        .into_bytes()
}

/// A POST of `body` with further headers; a header given here replaces the usual one.
async fn post(local: &Local, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    let listen = local.gateway.listen;
    let host = listen.to_string();
    let usual = [
        ("host", host.as_str()),
        ("content-type", "application/json"),
    ];
    let mut request = Request::post("/mcp");
    for (name, value) in usual {
        if headers.iter().all(|(given, _)| *given != name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    plain::send(listen, request.body(Full::from(body))?).await
}

/// T10: an id that is not ours is 404 for every method, a missing one 400; never 401 or 503.
#[tokio::test]
async fn an_unknown_session_is_not_found() -> Result<()> {
    let (_backend, local) = running().await?;
    let listen = local.gateway.listen;

    ensure!(
        post(&local, &[("mcp-session-id", "unknown")], ping())
            .await?
            .status
            == 404
    );
    ensure!(post(&local, &[], ping()).await?.status == 400);
    for method in [Method::GET, Method::DELETE] {
        let request = Request::builder()
            .method(method.clone())
            .uri("/mcp")
            .header("host", listen.to_string())
            .header("mcp-session-id", "unknown")
            .body(Full::default())?;
        ensure!(
            plain::send(listen, request).await?.status == 404,
            "{method}"
        );
    }

    let client = LegacyClient::open(listen).await?;
    let delete = || {
        Request::delete("/mcp")
            .header("host", listen.to_string())
            .header("mcp-session-id", &client.session)
            .body(Full::default())
    };
    ensure!(plain::send(listen, delete()?).await?.status == 204);
    ensure!(
        plain::send(listen, delete()?).await?.status == 404,
        "deleted is unknown"
    );
    ensure!(
        client
            .post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
            .await?
            .status
            == 404
    );
    Ok(())
}

/// A foreign Host or Origin is refused by name and field; X-Forwarded-Host changes nothing.
#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_by_name_and_field() -> Result<()> {
    let (_backend, local) = running().await?;
    let host = local.gateway.listen.to_string();

    let foreign = post(&local, &[("host", "evil.example")], ping()).await?;
    ensure!(
        foreign.status == 403 && foreign.text().contains("allowedHosts"),
        "{foreign:?}"
    );
    let forwarded = [
        ("host", "evil.example"),
        ("x-forwarded-host", host.as_str()),
    ];
    ensure!(post(&local, &forwarded, ping()).await?.status == 403);
    let foreign = post(&local, &[("origin", "https://evil.example")], ping()).await?;
    ensure!(foreign.status == 403, "{foreign:?}");
    ensure!(foreign.text().contains("evil.example"), "{foreign:?}");
    ensure!(foreign.text().contains("allowedOrigins"), "{foreign:?}");
    let own = post(&local, &[("origin", "http://localhost:6274")], ping()).await?;
    ensure!(
        own.header("access-control-allow-origin") == "http://localhost:6274",
        "{own:?}"
    );
    Ok(())
}

/// Every size limit of the edge is enforced with the status that HTTP has for it.
#[tokio::test]
async fn the_limits_on_requests_are_enforced() -> Result<()> {
    let (_backend, local) = running().await?;

    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    ensure!(post(&local, &[], large).await?.status == 413);
    let fits = vec![b' '; 4 * 1024 * 1024];
    ensure!(
        post(&local, &[], fits).await?.status == 400,
        "within the limit, but no JSON"
    );
    ensure!(
        post(&local, &[("content-type", "text/plain")], ping())
            .await?
            .status
            == 415
    );

    let names: Vec<String> = (0..101).map(|index| format!("x-{index}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    ensure!(post(&local, &many, ping()).await?.status == 431);
    let long = "x".repeat(33 * 1024);
    ensure!(
        post(&local, &[("x-long", long.as_str())], ping())
            .await?
            .status
            == 431
    );

    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{deep}}}}}"#);
    ensure!(post(&local, &[], body.into_bytes()).await?.status == 400);
    let batch = format!(
        "[{},{}]",
        String::from_utf8(ping())?,
        String::from_utf8(ping())?
    );
    ensure!(post(&local, &[], batch.into_bytes()).await?.status == 400);
    Ok(())
}

/// A client that sends its head byte by byte holds its connection for 5 s, not longer.
#[tokio::test]
async fn a_slow_head_is_cut_off() -> Result<()> {
    let (_backend, local) = running().await?;
    let mut stream = TcpStream::connect(local.gateway.listen).await?;
    stream
        .write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n")
        .await?;

    let started = Instant::now();
    let mut rest = Vec::new();
    // Either an orderly end or a reset: both free the connection.
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await?;

    let held = started.elapsed();
    ensure!(
        held >= Duration::from_secs(4) && held < Duration::from_secs(10),
        "{held:?}"
    );
    Ok(())
}

/// The clock of a head ends with its request: an idle connection is kept and can be used again.
#[tokio::test]
async fn an_idle_connection_outlives_the_clock_of_its_last_head() -> Result<()> {
    let (_backend, local) = running().await?;
    let listen = local.gateway.listen;
    let mut stream = TcpStream::connect(listen).await?;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {listen}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{}",
        ping().len(),
        String::from_utf8(ping())?,
    );

    for pause in [7, 0] {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![0_u8; 4096];
        let length = timeout(SOON, stream.read(&mut answer)).await??;
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        ensure!(
            text.starts_with("HTTP/1.1 400"),
            "no session, but an answer: {text}"
        );
        // why: the claim is about time alone: longer than the 5 s that a head may take.
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    Ok(())
}

/// What was refused is counted as refused.
#[tokio::test]
async fn errors_are_not_counted_as_ok() -> Result<()> {
    let (_backend, local) = running().await?;
    let client = LegacyClient::open(local.gateway.listen).await?;

    client
        .post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "no/such" }))
        .await?;
    let metrics = plain::get(local.gateway.admin, "/metrics").await?.text();

    let counted = r#"vmcp_requests_total{method="other",backend="none",code="rpc_other"} 1"#;
    ensure!(metrics.contains(counted), "{metrics}");
    Ok(())
}

/// What is no endpoint or no method says so, in JSON-RPC where a client can show it.
#[tokio::test]
async fn wrong_paths_methods_and_messages_are_told() -> Result<()> {
    let (_backend, local) = running().await?;
    let listen = local.gateway.listen;
    let host = listen.to_string();

    let request = |method: Method, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", &host)
            .body(Full::default())
    };
    ensure!(
        plain::send(listen, request(Method::POST, "/other")?)
            .await?
            .status
            == 404
    );
    let put = plain::send(listen, request(Method::PUT, "/mcp")?).await?;
    ensure!(
        put.status == 405 && put.header("allow").contains("POST"),
        "{put:?}"
    );
    let options = plain::send(listen, request(Method::OPTIONS, "/mcp")?).await?;
    ensure!(options.status == 204, "{options:?}");

    for (body, code) in [
        ("{", -32700),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1}"#, -32600),
    ] {
        let answer = post(&local, &[], body.as_bytes().to_vec()).await?;
        ensure!(
            answer.status == 400 && answer.json()?["error"]["code"] == json!(code),
            "{body}"
        );
    }
    let client = LegacyClient::open(listen).await?;
    let unknown = json!({ "jsonrpc": "2.0", "id": "a\u{e9}", "method": "no/such" });
    let answer = client.post(&unknown).await?.json()?;
    ensure!(
        answer["error"]["code"] == json!(-32601) && answer["id"] == unknown["id"],
        "{answer}"
    );
    let answer = client.call("no_such", json!({})).await?;
    ensure!(answer["error"]["code"] == json!(-32602), "{answer}");
    Ok(())
}

/// The modern envelope: each way of breaking it has the code that the specification names.
#[tokio::test]
async fn a_broken_modern_envelope_is_refused_with_its_code() -> Result<()> {
    let (_backend, local) = running().await?;
    let meta = |version: &str| {
        json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    };
    let body = |meta: Value| {
        let params = json!({ "_meta": meta });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params })
            .to_string()
            .into_bytes()
    };
    const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const METHOD: (&str, &str) = ("mcp-method", "tools/list");
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(Headers, Vec<u8>, i64); 6] = [
        (&[METHOD], body(meta("2026-07-28")), -32020),
        (&[VERSION], body(meta("2026-07-28")), -32020),
        (
            &[VERSION, ("mcp-method", "tools/call")],
            body(meta("2026-07-28")),
            -32020,
        ),
        (
            &[("mcp-protocol-version", "2099-01-01"), METHOD],
            body(meta("2099-01-01")),
            -32022,
        ),
        (&[VERSION, METHOD], body(json!({})), -32602),
        (
            &[VERSION, METHOD],
            body(json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" })),
            -32602,
        ),
    ];

    for (headers, body, code) in cases {
        let answer = post(&local, headers, body).await?;
        ensure!(answer.status == 400, "{headers:?}: {answer:?}");
        ensure!(
            answer.json()?["error"]["code"] == json!(code),
            "{headers:?}: {}",
            answer.text()
        );
    }
    let unknown = plain::modern(local.gateway.listen, "no/such", json!({})).await?;
    ensure!(unknown.status == 404 && unknown.json()?["error"]["code"] == json!(-32601));
    let found = plain::modern(local.gateway.listen, "server/discover", json!({}))
        .await?
        .json()?;
    let versions = found["result"]["supportedVersions"].to_string();
    ensure!(
        versions.contains("2026-07-28") && versions.contains("2025-11-25"),
        "{found}"
    );
    Ok(())
}

/// SIGTERM: a call under way finishes, `/readyz` fails at once, the exit code is 0.
#[tokio::test]
async fn a_call_under_way_survives_sigterm() -> Result<()> {
    let (backend, local) = running().await?;
    let client = LegacyClient::open(local.gateway.listen).await?;

    let call = client.call("one_slow", json!({ "ms": 3_000 }));
    let stop = async {
        eventually("the call reached the backend", SOON, || async {
            ensure!(!backend.requests("tools/call").is_empty());
            Ok(())
        })
        .await?;
        let ended = local.gateway.program.terminate(Duration::from_secs(30));
        let unready = eventually("/readyz fails", Duration::from_secs(2), || async {
            let ready = plain::get(local.gateway.admin, "/readyz").await?;
            ensure!(ready.status == 503, "{ready:?}");
            Ok(())
        });
        let (ended, unready) = tokio::join!(ended, unready);
        unready?;
        ended
    };
    let (answer, ended) = tokio::join!(call, stop);

    let answer = answer?;
    ensure!(
        answer["result"]["content"][0]["text"] == json!("slept"),
        "{answer}"
    );
    ensure!(ended?.success());
    ensure!(backend.sessions_open() == 0, "{:?}", backend.sessions());
    Ok(())
}
