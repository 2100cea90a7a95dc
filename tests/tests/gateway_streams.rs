//! Streams towards clients of a real gateway process: lost, taken up again, long, and not read.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::drip::Drip;
use vmcp_tests::events::{Event, EventStream, session};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http;
use vmcp_tests::stack::{Local, SOON};

async fn call(address: SocketAddr, session: &str, arguments: Value) -> Result<EventStream> {
    let params = json!({ "name": "one_drip", "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    EventStream::post(address, "/mcp", &[("mcp-session-id", session)], &body).await
}

async fn resume(address: SocketAddr, session: &str, last: &str) -> Result<EventStream> {
    let headers = [
        ("mcp-session-id", session),
        ("accept", "text/event-stream"),
        ("last-event-id", last),
    ];
    EventStream::get(address, "/mcp", &headers).await
}

/// Waits until the one call has been answered, whoever read it.
async fn until_over(local: &Local) -> Result<()> {
    eventually("the call is over", SOON * 2, || async {
        let metrics = http::get(local.gateway.admin, "/metrics").await?.text();
        let done = r#"vmcp_requests_total{method="tools/call",backend="one",code="ok"} 1"#;
        ensure!(metrics.contains(done), "not counted");
        Ok(())
    })
    .await
}

fn number(event: &Event) -> Result<Option<u64>> {
    Ok(event.json()?["params"]["data"]["number"].as_u64())
}

/// A client that loses its connection three times in one call sees every message once, in order,
/// and the response; the call is made once (T19).
#[tokio::test]
async fn a_lost_stream_is_taken_up_again_without_a_gap() -> Result<()> {
    let (drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-06-18").await?;

    let mut stream = call(address, &session, json!({ "count": 40, "gap": 20 })).await?;
    let (mut seen, mut ids) = (Vec::new(), Vec::new());
    let response = loop {
        let event = stream.message().await?;
        let id = event.id.clone().unwrap_or_default();
        ids.push(id.clone());
        match number(&event)? {
            Some(number) => seen.push(number),
            None => break event.json()?,
        }
        if seen.len() % 11 == 0 {
            drop(stream);
            stream = resume(address, &session, &id).await?;
        }
    };

    ensure!(seen == (1..=40).collect::<Vec<_>>(), "{seen:?}");
    ensure!(response["id"] == 7 && response["result"]["content"][0]["text"] == "dripped 40");
    ensure!(
        stream.next().await?.is_none(),
        "the stream ends with its response"
    );
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    ensure!(distinct.len() == ids.len(), "{ids:?}");
    ensure!(drip.calls() == 1, "{} calls", drip.calls());
    Ok(())
}

/// A response is not lost because the client was away when it came.
#[tokio::test]
async fn a_response_waits_for_a_client_that_is_away() -> Result<()> {
    let (_drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-11-25").await?;

    let mut stream = call(address, &session, json!({ "count": 3, "gap": 100 })).await?;
    let primed = stream.next().await?.unwrap_or_default();
    ensure!(
        primed.data.is_empty() && primed.retry == Some(1_000),
        "{primed:?}"
    );
    let last = primed.id.unwrap_or_default();
    drop(stream);
    until_over(&local).await?;

    let mut stream = resume(address, &session, &last).await?;
    for expected in 1..=3 {
        ensure!(number(&stream.message().await?)? == Some(expected));
    }
    ensure!(stream.message().await?.json()?["id"] == 7);
    ensure!(stream.next().await?.is_none());
    Ok(())
}

/// More was said than is kept: the client is told how much is lost and from where the rest can be
/// had, and the session lives on.
#[tokio::test]
async fn what_is_not_kept_any_more_is_told_exactly() -> Result<()> {
    let (_drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-06-18").await?;
    let mut stream = call(address, &session, json!({ "count": 400, "gap": 1 })).await?;
    let first = stream.message().await?;
    let last = first.id.clone().unwrap_or_default();
    drop(stream);
    until_over(&local).await?;

    let refused = resume(address, &session, &last).await?;
    ensure!(refused.status == 400, "{}", refused.status);
    let error: Value = serde_json::from_str(&refused.text().await?)?;
    let data = &error["error"]["data"];
    ensure!(
        data["reason"] == "EventsLost" && data["lost"] == 144,
        "{error}"
    );

    let resume_at = data["resumeAt"].as_str().unwrap_or_default();
    let mut rest = resume(address, &session, resume_at).await?;
    for expected in 146..=400 {
        ensure!(number(&rest.message().await?)? == Some(expected));
    }
    ensure!(rest.message().await?.json()?["result"]["content"][0]["text"] == "dripped 400");
    for id in ["", "nonsense", "0-0-0", "ffffffffffffffff-1-1"] {
        let refused = resume(address, &session, id).await?;
        ensure!(refused.status == 400, "{id:?}: {}", refused.status);
    }
    Ok(())
}

/// A client that does not read costs a bounded amount: its stream is cut, and the call goes on.
#[tokio::test]
async fn a_client_that_does_not_read_costs_a_bounded_amount() -> Result<()> {
    let (_drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-06-18").await?;
    let before = memory(&local)?;

    // 256 MB, of which the client's socket takes some.
    let arguments = json!({ "count": 2_048, "gap": 1, "size": 131_072 });
    let stalled = call(address, &session, arguments).await?;
    until_over(&local).await?;

    let grown = memory(&local)?.saturating_sub(before);
    ensure!(
        grown < 48 * 1024,
        "{grown} kB for one client that does not read"
    );
    drop(stalled);
    Ok(())
}

/// The second reader of the standing stream replaces the first, whose connection ends.
#[tokio::test]
async fn a_session_has_one_standing_stream() -> Result<()> {
    let (_drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-11-25").await?;
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("accept", "text/event-stream"),
    ];

    let mut first = EventStream::get(address, "/mcp", &headers).await?;
    let primed = first.next().await?.unwrap_or_default();
    let mut second = EventStream::get(address, "/mcp", &headers).await?;
    ensure!(first.next().await?.is_none(), "replaced");
    ensure!(second.next().await?.unwrap_or_default().id > primed.id);

    let last = primed.id.unwrap_or_default();
    let third = resume(address, &session, &last).await?;
    ensure!(third.status == 200);
    ensure!(
        second.next().await?.is_none(),
        "replaced by the one that came back"
    );
    Ok(())
}

/// What a GET may be, by method and headers.
#[tokio::test]
async fn a_get_gets_a_stream_or_an_exact_refusal() -> Result<()> {
    let (_drip, local) = Drip::behind_a_gateway().await?;
    let address = local.gateway.listen;
    let session = session(address, "2025-11-25").await?;
    let session = ("mcp-session-id", session.as_str());
    let events = ("accept", "text/event-stream");
    for (headers, status) in [
        (&[session, events][..], 200),
        (&[session, ("accept", "application/json")], 405),
        (
            &[session, events, ("mcp-protocol-version", "2026-07-28")],
            405,
        ),
        (
            &[session, events, ("mcp-protocol-version", "1999-01-01")],
            400,
        ),
        (&[events], 400),
        (&[("mcp-session-id", "unknown"), events], 404),
    ] {
        let answer = EventStream::get(address, "/mcp", headers).await?;
        ensure!(answer.status == status, "{headers:?}: {}", answer.status);
        let allow = answer.headers.contains_key("allow");
        ensure!(allow == (status == 405), "{headers:?}");
    }
    Ok(())
}

/// Resident memory of the gateway in kB.
fn memory(local: &Local) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", local.gateway.program.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.unwrap_or_default().parse()?)
}
