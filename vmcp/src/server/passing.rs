//! One request as it crosses from replica to replica.
//!
//! Owns what of it is passed on (all of it but the headers of its connection) and what its client is
//! told when the replica that served it went away. Never sends anything.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use vmcp_core::jsonrpc::{RequestId, RpcError};
use vmcp_core::limits;
use vmcp_core::mcp::error::code;

use crate::gateway::message::{Answer, Facts};
use crate::gateway::place::request_id;

/// Headers that belong to one connection.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TRANSFER_ENCODING,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    UPGRADE,
    EXPECT,
    HeaderName::from_static("keep-alive"),
];

/// One request as it can be passed on.
pub(super) struct Passing<'a> {
    pub(super) head: &'a Parts,
    pub(super) facts: &'a Facts<'a>,
    pub(super) body: &'a Bytes,
}

pub(super) fn pass_on(request: &Passing<'_>) -> Request<Full<Bytes>> {
    let mut passed = Request::new(Full::new(request.body.clone()));
    *passed.method_mut() = request.head.method.clone();
    let target = request.head.uri.path_and_query();
    if let Some(Ok(uri)) = target.map(|target| target.as_str().parse()) {
        *passed.uri_mut() = uri;
    }
    let mut headers = request.head.headers.clone();
    strip(&mut headers);
    // HTTP/2 has it in the request line.
    let authority = request.head.uri.authority();
    if let Some(Ok(host)) = authority.map(|host| HeaderValue::from_str(host.as_str())) {
        headers.entry(HOST).or_insert(host);
    }
    *passed.headers_mut() = headers;
    passed
}

/// Removes what belongs to one connection, named or well known.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Sending it twice would do it twice. Streams, ends of sessions, answers and cancellations may be
/// sent again.
pub(super) fn is_once(request: &Passing<'_>) -> bool {
    request.head.method == Method::POST && request_id(request.body).is_some()
}

/// The one answer to a request whose replica went away.
pub(super) fn lost(request: &Passing<'_>) -> Answer {
    match request_id(request.body) {
        Some(id) => Answer::error(200, &id, &replica_lost(request.facts)),
        None => Answer::Empty { status: 503 },
    }
}

/// The answer to a request whose session is between two replicas. It was not served.
pub(super) fn moving(request: &Passing<'_>) -> Answer {
    let Some(id) = request_id(request.body) else {
        return Answer::Empty { status: 503 };
    };
    let wait = u64::try_from(limits::PEER_ASK.as_millis()).unwrap_or(u64::MAX);
    let data = serde_json::json!({"reason": "SessionMoving", "retryAfterMs": wait});
    let message = "the session is on its way to another replica";
    let error = RpcError::new(code::LEGACY_UNAVAILABLE, message).with_data(&data);
    Answer::error(200, &id, &error)
}

/// The request that an event stream must end with an answer to.
pub(super) fn request_id_of(request: &Passing<'_>) -> Option<RequestId> {
    request_id(request.body)
}

/// What a client is told when the replica that served it went away.
pub(super) fn replica_lost(facts: &Facts<'_>) -> RpcError {
    let code = match facts.session {
        Some(_) => code::LEGACY_UNAVAILABLE,
        None => code::MODERN_PARKED_LOST,
    };
    let data = serde_json::json!({"reason": "ReplicaLost"});
    RpcError::new(code, "the replica that served this request went away").with_data(&data)
}
