//! Calls through a real gateway process: every pair of eras, errors, cancellation, isolation.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;
use vmcp_tests::backend::{Backend, Behaviour, Fault, Script, Tool};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{Local, SOON, remote, virtual_server};

/// "In milliseconds", on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The text that the tool `echo` answers.
fn echoed(answer: &Value) -> String {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// All four pairs of eras, and each kind of legacy backend: lists and calls work, and each client
/// gets the members of its own era. R4.7.
#[tokio::test]
async fn clients_of_both_eras_reach_backends_of_every_kind() -> Result<()> {
    let kinds = [
        ("stateful", Script::legacy()),
        ("stateless", Script::stateless()),
        ("modern", Script::modern()),
        ("dual", Script::dual()),
        ("sse", Script::sse()),
    ];
    let mut running = Vec::new();
    let mut objects = vec![virtual_server("local", json!({}))];
    for (name, script) in kinds {
        let backend = Backend::start(script).await?;
        let mut object = remote(name, &backend.url());
        if name == "sse" {
            object["spec"]["transport"] = json!("sse");
        }
        objects.push(object);
        running.push((name, backend));
    }
    let local = Local::of(&objects).await?;
    let client = local.ready_client().await?;

    let legacy = client.tools().await?;
    let page = http::modern(local.gateway.listen, "tools/list", json!({}))
        .await?
        .json()?;
    let modern: Vec<_> = page["result"]["tools"]
        .as_array()
        .context("no tools")?
        .iter()
        .collect();
    ensure!(
        legacy.len() == modern.len() && legacy.len() >= 5,
        "{legacy:?} {modern:?}"
    );
    ensure!(page["result"]["resultType"] == json!("complete"), "{page}");
    ensure!(page["result"]["ttlMs"].is_u64() && page["result"]["cacheScope"] == json!("public"));

    for (name, _) in &running {
        let tool = format!("{name}_echo");
        let text = format!("through {name}");
        let answer = client.call(&tool, json!({ "text": text })).await?;
        ensure!(
            echoed(&answer).contains(&text),
            "legacy to {name}: {answer}"
        );
        ensure!(
            answer["result"].get("resultType").is_none(),
            "legacy to {name}: {answer}"
        );

        let params = json!({ "name": tool, "arguments": { "text": text } });
        let answer = http::modern(local.gateway.listen, "tools/call", params)
            .await?
            .json()?;
        ensure!(
            echoed(&answer).contains(&text),
            "modern to {name}: {answer}"
        );
        ensure!(
            answer["result"]["resultType"] == json!("complete"),
            "modern to {name}: {answer}"
        );
    }
    Ok(())
}

/// R4.13, R3: a call to a backend that refuses fails in milliseconds, with the code of the client's
/// era, the reason, the server and a hint when to come back; its tools stay listed (R4.5).
#[tokio::test]
async fn a_call_to_a_dead_backend_fails_at_once_with_a_hint() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let other = Backend::start(Script::legacy()).await?;
    let backends = [("dead", backend.url()), ("other", other.url())];
    let local = Local::start(&backends, json!({})).await?;
    let client = local.ready_client().await?;

    backend.stop().await;
    local.until_phase("Degraded", SOON).await?;

    let started = Instant::now();
    let answer = client.call("dead_echo", json!({ "text": "x" })).await?;
    ensure!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    let error = &answer["error"];
    ensure!(error["code"] == json!(-32001), "{answer}");
    ensure!(
        error["data"]["reason"] == json!("ConnectRefused"),
        "{answer}"
    );
    ensure!(error["data"]["server"] == json!("dead"), "{answer}");
    ensure!(error["data"]["retryAfterMs"].is_u64(), "{answer}");
    let params = json!({ "name": "dead_echo", "arguments": {} });
    let answer = http::modern(local.gateway.listen, "tools/call", params).await?;
    ensure!(answer.status == 200 && answer.json()?["error"]["code"] == json!(-31001));
    ensure!(
        client.tools().await?.contains(&"dead_echo".to_owned()),
        "its tools are gone"
    );
    ensure!(echoed(&client.call("other_echo", json!({ "text": "y" })).await?).contains('y'));
    Ok(())
}

/// T11, R4.8: whatever a backend answers instead of an answer becomes a typed error for that call,
/// never a result; the other backend notices nothing.
#[tokio::test]
async fn garbage_of_a_backend_is_an_error_of_that_backend_only() -> Result<()> {
    let bad = Backend::start(Script::legacy()).await?;
    let good = Backend::start(Script::legacy()).await?;
    let backends = [("bad", bad.url()), ("good", good.url())];
    let local = Local::start(&backends, json!({})).await?;
    let client = local.ready_client().await?;
    let faults = [
        Fault::NonJson200,
        Fault::GarbageJson,
        Fault::EmptyBody200,
        Fault::TruncatedBody,
        Fault::WrongId,
        Fault::Reset,
        Fault::HugeBody(17 * 1024 * 1024),
        Fault::http_status(500),
        Fault::http_status(401),
    ];

    for fault in faults {
        bad.set(Fault::on("tools/call", fault.clone())).await?;
        let answer = client.call("bad_echo", json!({ "text": "x" })).await?;
        ensure!(
            answer.get("result").is_none(),
            "{fault:?} became success: {answer}"
        );
        let error = &answer["error"];
        let code = error["code"].as_i64().context("no code")?;
        ensure!([-32001, -32003].contains(&code), "{fault:?}: {answer}");
        ensure!(
            error["data"]["server"] == json!("bad"),
            "{fault:?}: {answer}"
        );
        let answer = client.call("good_echo", json!({ "text": "fine" })).await?;
        ensure!(
            echoed(&answer).contains("fine"),
            "{fault:?} hurt the other: {answer}"
        );
    }
    bad.heal().await?;
    let answer = client.call("bad_echo", json!({ "text": "again" })).await?;
    ensure!(echoed(&answer).contains("again"), "{answer}");
    Ok(())
}

/// T20, R1.14: a backend that stops in the middle of a body, or never answers, stalls no list and no
/// other backend; its call ends at its own deadline with the timeout code.
#[tokio::test]
async fn a_stalled_backend_stalls_nobody_else() -> Result<()> {
    let stalled = Backend::start(Script::legacy()).await?;
    let good = Backend::start(Script::legacy()).await?;
    let mut object = remote("stalled", &stalled.url());
    object["spec"]["timeouts"] = json!({ "connectSeconds": 1, "callSeconds": 2 });
    let objects = [
        virtual_server("local", json!({})),
        object,
        remote("good", &good.url()),
    ];
    let local = Local::of(&objects).await?;
    let client = local.ready_client().await?;

    let warm = client
        .call("stalled_echo", json!({ "text": "warm" }))
        .await?;
    ensure!(echoed(&warm).contains("warm"), "{warm}");
    for fault in [Fault::StallMidBody, Fault::AcceptAndHang] {
        stalled.set(fault.clone()).await?;
        let started = Instant::now();
        let waiting = client.call("stalled_echo", json!({ "text": "x" }));
        let meanwhile = async {
            let started = Instant::now();
            let tools = client.tools().await?;
            ensure!(
                tools.iter().any(|name| name.starts_with("stalled_")),
                "{tools:?}"
            );
            LegacyClient::open(local.gateway.listen).await?;
            let answer = client.call("good_echo", json!({ "text": "fine" })).await?;
            ensure!(echoed(&answer).contains("fine"), "{answer}");
            ensure!(
                started.elapsed() < Duration::from_secs(1),
                "{:?}",
                started.elapsed()
            );
            Ok(())
        };
        let (answer, meanwhile) = tokio::join!(waiting, meanwhile);
        meanwhile?;
        let answer = answer?;
        ensure!(
            answer["error"]["code"] == json!(-32002),
            "{fault:?}: {answer}"
        );
        ensure!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }
    Ok(())
}

/// R4.10: a cancelled call is cancelled at the backend and leaves health alone.
#[tokio::test]
async fn a_cancelled_call_is_cancelled_upstream_and_hurts_no_health() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("one", backend.url())], json!({})).await?;
    let client = local.ready_client().await?;

    let call = client.call("one_slow", json!({ "ms": 20_000 }));
    let cancel = async {
        eventually("the call reached the backend", SOON, || async {
            ensure!(!backend.requests("tools/call").is_empty());
            Ok(())
        })
        .await?;
        let params = json!({ "requestId": 1, "reason": "enough" });
        let body = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params,
        });
        ensure!(client.post(&body).await?.status == 202);
        Ok(())
    };
    let started = Instant::now();
    let (answer, cancelled) = tokio::join!(call, cancel);
    cancelled?;
    ensure!(answer?.get("result").is_none() && started.elapsed() < Duration::from_secs(10));
    eventually("the backend hears of it", SOON, || async {
        ensure!(!backend.requests("notifications/cancelled").is_empty());
        Ok(())
    })
    .await?;

    let status = http::get(local.gateway.admin, "/status").await?.text();
    ensure!(
        status.contains("\"Ready\"") && !status.contains("\"Degraded\""),
        "{status}"
    );
    Ok(())
}

/// T12: two clients have two sessions at a stateful backend, and each ends with its client (T7).
#[tokio::test]
async fn each_client_has_an_upstream_session_of_its_own() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let local = Local::start(&[("one", backend.url())], json!({})).await?;
    let first = local.ready_client().await?;
    let second = LegacyClient::open(local.gateway.listen).await?;

    for client in [&first, &second, &first] {
        client.call("one_echo", json!({ "text": "x" })).await?;
    }

    let sessions: Vec<_> = backend
        .requests("tools/call")
        .into_iter()
        .map(|call| call.session)
        .collect();
    ensure!(
        sessions.len() == 3 && sessions[0] == sessions[2],
        "{sessions:?}"
    );
    ensure!(
        sessions[0] != sessions[1] && sessions[0].is_some(),
        "{sessions:?}"
    );
    let open = backend.sessions_open();
    let request = ::http::Request::delete("/mcp")
        .header("host", local.gateway.listen.to_string())
        .header("mcp-session-id", &first.session)
        .body(Default::default())?;
    ensure!(http::send(local.gateway.listen, request).await?.status == 204);
    eventually("its upstream session is ended", SOON, || async {
        ensure!(
            backend.sessions_open() == open - 1,
            "{:?}",
            backend.sessions()
        );
        Ok(())
    })
    .await
}

/// T22: what a backend of the client's own era says passes byte for byte.
#[tokio::test]
async fn odd_results_and_definitions_pass_byte_for_byte() -> Result<()> {
    let definition = r#"{"title":"Odd \u00e9","name":"odd", "inputSchema":{"type":"object","x":1.10,"max":1e400},"vendor":{"a":[1.0,2E+3,null]},"_meta":{"k":"v"}}"#;
    let result = r#"{ "content":[{"type":"text","text":"\u0041 1.10"}] ,"structuredContent":{"n":123456789012345678901234567890,"f":1.10},"x-vendor":{"deep":[[[{}]]]},"isError":false}"#;
    for (script, modern) in [(Script::legacy(), false), (Script::modern(), true)] {
        let mut result = result.to_owned();
        if modern {
            result = result.replacen('{', "{\"resultType\":\"complete\",", 1);
        }
        let tool = Tool::raw("odd", definition, Behaviour::Raw(result.clone()));
        let backend = Backend::start(script.with_tools(vec![tool])).await?;
        let local = Local::start(&[("one", backend.url())], json!({})).await?;
        let client = local.ready_client().await?;

        let params = json!({ "name": "one_odd", "arguments": {} });
        let (list, call) = if modern {
            let listen = local.gateway.listen;
            (
                http::modern(listen, "tools/list", json!({})).await?.text(),
                http::modern(listen, "tools/call", params).await?.text(),
            )
        } else {
            let message = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
            (
                client.post(&message("tools/list", json!({}))).await?.text(),
                client.post(&message("tools/call", params)).await?.text(),
            )
        };
        let renamed = definition.replace("\"name\":\"odd\"", "\"name\":\"one_odd\"");
        ensure!(list.contains(&renamed), "{list}");
        ensure!(call.contains(&result), "{call}");
    }
    Ok(())
}

/// The ids of two replicas do not begin alike: a session that one hands to the other has used those
/// of the first, and an answer to an old id would be taken for a new one's.
#[tokio::test]
async fn the_ids_of_two_processes_differ() -> Result<()> {
    let backend = Backend::start(Script::stateless()).await?;
    let mut used = Vec::new();
    for _ in 0..2 {
        let local = Local::start(&[("one", backend.url())], json!({})).await?;
        local.until_phase("Ready", SOON).await?;
        let asked = backend.requests("server/discover");
        let first = asked.first().context("no request")?.json()["id"].as_i64();
        used.push(first.context("an id that is no number")?);
        local.gateway.program.terminate(SOON).await?;
        backend.clear_log();
    }

    ensure!(used[0] != used[1], "{used:?}");
    ensure!(used.iter().all(|id| i32::try_from(*id).is_ok()), "{used:?}");
    Ok(())
}
