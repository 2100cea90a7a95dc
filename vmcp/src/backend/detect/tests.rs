//! The table "How real servers answer" of shared/mcp.md, line by line.

use std::time::Duration;

use bytes::Bytes;
use vmcp_core::health::{Outcome, ProbeReason};

use super::*;
use crate::backend::connect::{ConnectError, TimedOut};
use crate::backend::wire::{Challenged, Refusal};

fn url() -> Url {
    "http://h/mcp".parse().unwrap()
}

fn refused(status: u16, body: &str) -> Result<Answer, WireError> {
    let body = Bytes::from(body.to_owned());
    Err(WireError::Refused(Box::new(Refusal {
        status,
        body,
        ..Refusal::default()
    })))
}

fn discovered(versions: &str) -> Result<Answer, WireError> {
    let result = format!(r#"{{"supportedVersions":[{versions}],"capabilities":{{}}}}"#);
    Ok(Ok(result.into()))
}

fn initialized(version: &str) -> Result<Answer, WireError> {
    let result = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{{}},"serverInfo":{{"name":"s"}}}}"#
    );
    Ok(Ok(result.into()))
}

fn rpc(code: i64, id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"m"}}}}"#)
}

fn word(after: &AfterDiscover) -> String {
    match after {
        AfterDiscover::Modern(..) => "modern".to_owned(),
        AfterDiscover::Initialize => "initialize".to_owned(),
        AfterDiscover::Again => "again".to_owned(),
        AfterDiscover::Stop(outcome) => {
            format!(
                "stop {}",
                outcome.reason().map_or("none", ProbeReason::as_str)
            )
        }
    }
}

/// Era detection, column "POST server/discover".
#[test]
#[expect(clippy::too_many_lines, reason = "one table, read as a whole")]
fn each_answer_to_discover_leads_where_the_table_says() {
    let unsupported = |versions: &str| {
        let data = format!(r#"{{"supported":[{versions}]}}"#);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32022,"message":"m","data":{data}}}}}"#
        )
    };
    let cases: Vec<(&str, Result<Answer, WireError>, &str)> = vec![
        (
            "rmcp 3.9",
            discovered(r#""2026-07-28","2025-11-25""#),
            "modern",
        ),
        ("py 2.3", discovered(r#""2026-07-28""#), "modern"),
        ("go stateful", discovered(r#""2025-11-25""#), "initialize"),
        ("future only", discovered(r#""2031-01-01""#), "initialize"),
        ("another result", Ok(Ok("{}".into())), "initialize"),
        (
            "everything http",
            refused(400, &rpc(-32_000, "null")),
            "initialize",
        ),
        ("everything sse", refused(404, "<html>"), "initialize"),
        (
            "supergateway",
            refused(404, &rpc(-32_601, "7")),
            "initialize",
        ),
        (
            "py 1.30",
            refused(400, &rpc(-32_600, r#""server-error""#)),
            "initialize",
        ),
        (
            "py 1.30 sse",
            refused(405, "Method Not Allowed"),
            "initialize",
        ),
        (
            "ContextForge",
            refused(400, r#"{"error":"Bad Request"}"#),
            "initialize",
        ),
        (
            "JSON-RPC error in 200",
            Ok(Err(RpcError::new(-32_601, "m"))),
            "initialize",
        ),
        (
            "html in 200",
            Err(WireError::Protocol("html".to_owned())),
            "initialize",
        ),
        (
            "-32022 with ours",
            refused(400, &unsupported(r#""2026-07-28""#)),
            "again",
        ),
        (
            "-32022 legacy",
            refused(400, &unsupported(r#""2025-06-18""#)),
            "initialize",
        ),
        (
            "-32022 disjoint",
            refused(400, &unsupported(r#""2031-01-01""#)),
            "stop UnsupportedVersion",
        ),
        (
            "-32020",
            refused(400, &rpc(-32_020, "1")),
            "stop ProtocolError",
        ),
        (
            "-32021",
            refused(400, &rpc(-32_021, "1")),
            "stop ProtocolError",
        ),
        ("401", refused(401, ""), "stop AuthRequired"),
        ("407", refused(407, ""), "stop AuthRequired"),
        ("403", refused(403, ""), "stop HostRejected"),
        ("421", refused(421, ""), "stop HostRejected"),
        ("429", refused(429, ""), "stop RateLimited"),
        ("408", refused(408, ""), "stop HttpStatus"),
        (
            "500 with JSON-RPC",
            refused(500, &rpc(-32_601, "1")),
            "stop HttpStatus",
        ),
        ("503", refused(503, ""), "stop HttpStatus"),
        ("302", refused(302, ""), "stop HttpStatus"),
        (
            "timeout",
            Err(WireError::Timeout(Duration::from_secs(5))),
            "stop HandshakeTimeout",
        ),
        (
            "reset",
            Err(WireError::Lost("reset".to_owned())),
            "stop ConnectionLost",
        ),
        (
            "cut",
            Err(WireError::Cut("eof".to_owned())),
            "stop ProtocolError",
        ),
    ];
    for (name, answer, expected) in cases {
        assert_eq!(word(&after_discover(&answer, &url())), expected, "{name}");
    }
}

/// Era detection, column "initialize".
#[test]
fn each_answer_to_initialize_leads_where_the_table_says() {
    let only_modern = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m","data":{"supported":["2026-07-28"]}}}"#;
    let word = |answer: &Result<Answer, WireError>| match after_initialize(answer, &url()) {
        AfterInitialize::Legacy(found) => found.version.as_str().to_owned(),
        AfterInitialize::MaybeEvents(_) => "events".to_owned(),
        AfterInitialize::NotLegacy(outcome) => {
            format!("not legacy {:?}", outcome.reason().unwrap())
        }
        AfterInitialize::Stop(outcome) => format!("stop {:?}", outcome.reason().unwrap()),
    };

    assert_eq!(word(&initialized("2025-11-25")), "2025-11-25");
    assert_eq!(word(&initialized("2024-11-05")), "2024-11-05");
    assert_eq!(word(&initialized("2031-01-01")), "stop UnsupportedVersion");
    assert_eq!(word(&Ok(Ok("{}".into()))), "stop ProtocolError");
    assert_eq!(word(&refused(404, "<html>")), "events");
    assert_eq!(word(&refused(405, "")), "events");
    assert_eq!(word(&refused(400, "no")), "events");
    assert_eq!(
        word(&refused(400, only_modern)),
        "not legacy UnsupportedVersion"
    );
    assert_eq!(
        word(&refused(404, &rpc(-32_601, "1"))),
        "not legacy HttpStatus"
    );
    assert_eq!(word(&refused(500, "")), "stop HttpStatus");
    assert_eq!(
        word(&Ok(Err(RpcError::new(-32_603, "m")))),
        "stop ProtocolError"
    );
}

/// T3, R2.3: the words of each refusal name the step and the status, and the way out.
#[test]
fn refusals_name_the_way_out() {
    let challenged = Refusal {
        status: 403,
        challenged: Challenged::Yes,
        ..Refusal::default()
    };
    let moved = Refusal {
        status: 308,
        location: Some("/v2/mcp".into()),
        ..Refusal::default()
    };
    let away = Refusal {
        status: 307,
        location: Some("http://other/mcp".into()),
        ..Refusal::default()
    };
    let outcome = |refusal: Refusal| {
        verdict::outcome(
            Doing::INITIALIZE,
            &WireError::Refused(Box::new(refusal)),
            &url(),
        )
    };

    assert!(matches!(outcome(challenged), Outcome::AuthRequired(_)));
    let Outcome::Failed(failure) = outcome(moved) else {
        panic!("a failure")
    };
    assert_eq!(failure.reason, ProbeReason::Redirected);
    assert_eq!(
        failure.message,
        "initialize answered HTTP 308 to /v2/mcp: set spec.path to /v2/mcp"
    );
    let Outcome::Failed(failure) = outcome(away) else {
        panic!("a failure")
    };
    assert_eq!(
        failure.message,
        "initialize answered HTTP 307: redirects are not followed"
    );
    let Outcome::Failed(failure) = outcome(Refusal {
        status: 403,
        ..Refusal::default()
    }) else {
        panic!("a failure")
    };
    assert!(failure.message.contains("spec.hostHeader"));
}

/// R3.4: what a backend echoes is not published.
#[test]
fn a_message_holds_no_credential() {
    let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"bad header Authorization: Bearer abc123"}}"#;
    let Err(error) = refused(400, body) else {
        panic!("an error")
    };

    let failure = verdict::failure(Doing::INITIALIZE, &error, &url());

    assert!(!failure.message.contains("abc123"), "{}", failure.message);
    assert!(
        failure.message.starts_with("initialize answered HTTP 400"),
        "{}",
        failure.message
    );
}

/// R2.2: only no connection, 401 and 429 spare the fresh try.
#[test]
fn what_settles_a_remembered_session() {
    let connect = |timed_out| {
        WireError::Connect(ConnectError {
            reason: ProbeReason::ConnectRefused,
            step: vmcp_core::health::Step::Connect,
            message: String::new(),
            timed_out,
        })
    };
    assert!(verdict::settles(&connect(TimedOut::No)));
    assert!(!verdict::settles(&connect(TimedOut::Yes)));
    for (status, expected) in [
        (401, true),
        (429, true),
        (403, false),
        (404, false),
        (400, false),
        (500, false),
    ] {
        let Err(error) = refused(status, "") else {
            panic!("an error")
        };
        assert_eq!(verdict::settles(&error), expected, "{status}");
    }
    assert!(!verdict::settles(&WireError::Timeout(Duration::ZERO)));
    assert!(!verdict::settles(&WireError::Lost(String::new())));
}

/// T19: only what never left may be sent again.
#[test]
fn only_what_never_left_is_provably_unsent() {
    assert!(WireError::Unsent.provably_unsent());
    assert!(!WireError::Lost(String::new()).provably_unsent());
    assert!(!WireError::Cut(String::new()).provably_unsent());
    assert!(!WireError::Timeout(Duration::ZERO).provably_unsent());
}
