//! What the edge writes back.
//!
//! Owns the status and the headers of every answer. Decides nothing: what is answered is told to it.

use bytes::Bytes;
use futures::stream;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use vmcp_core::jsonrpc::{self, RequestId, RpcError};
use vmcp_core::mcp::error::code;

use super::body::Reply;
use super::endpoint::Refused;
use super::facts::Wanted;
use super::owed::Owed;
use super::passing;
use super::phase_io::ServingGuard;
use super::relay;
use crate::gateway::message::{Answer, Messages};
use crate::peer::PeerBody;

pub(super) fn not_allowed(refused: Refused, guard: ServingGuard) -> Response<Reply> {
    let (status, allowed) = match refused {
        Refused::Method { allowed }
        | Refused::NoStream { allowed }
        | Refused::Modern { allowed } => (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)),
        Refused::Version => (StatusCode::BAD_REQUEST, None),
    };
    let mut response = refuse(status, &refused.to_string(), guard);
    if let Some(allowed) = allowed {
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

pub(super) fn write(answer: Answer, wanted: Wanted, guard: ServingGuard) -> Response<Reply> {
    match answer {
        Answer::Json {
            status,
            body,
            session,
        } => {
            let mut response = if wanted == Wanted::Events {
                events(Box::pin(stream::iter([body.into()])), guard)
            } else {
                json(status_code(status), body, guard)
            };
            if let Some(id) = session.and_then(|id| HeaderValue::from_str(&id).ok()) {
                let name = HeaderName::from_static("mcp-session-id");
                response.headers_mut().insert(name, id);
            }
            response
        }
        // An answer has the form that was asked for; a refusal has one.
        Answer::Error { status: 200, body } if wanted == Wanted::Events => {
            events(Box::pin(stream::iter([body.into()])), guard)
        }
        Answer::Error { status, body } => json(status_code(status), body, guard),
        Answer::Empty { status } => empty(status_code(status), guard),
        Answer::Events(messages) => events(messages, guard),
    }
}

/// The answer of another replica, as it came. A stream of events that breaks off is mended with
/// what the client is still `owed`.
pub(super) fn relayed(
    response: Response<PeerBody>,
    owed: impl FnOnce() -> Owed,
    guard: ServingGuard,
) -> Response<Reply> {
    let (mut head, body) = response.into_parts();
    passing::strip(&mut head.headers);
    let events = head.headers.get(CONTENT_TYPE);
    let events = events.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let mend = events.then(owed).filter(|owed| !owed.is_nothing());
    Response::from_parts(head, Reply::relayed(body, mend, guard))
}

/// For the replica that asked: the session is there.
pub(super) fn moved(pod: &str, guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::new(), guard));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    if let Ok(pod) = HeaderValue::from_str(pod) {
        response.headers_mut().insert(relay::MOVED, pod);
    }
    response
}

fn events(messages: Messages, guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::events(messages, guard));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    response
}

pub(super) fn empty(status: StatusCode, guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::new(), guard));
    *response.status_mut() = status;
    response
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn json(status: StatusCode, body: Bytes, guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(body, guard));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A refusal of the edge, as JSON-RPC so that every client can show the text.
pub(super) fn refuse(status: StatusCode, text: &str, guard: ServingGuard) -> Response<Reply> {
    let error = RpcError::new(code::INVALID_REQUEST, text);
    refuse_with(status, &error, guard)
}

pub(super) fn refuse_with(
    status: StatusCode,
    error: &RpcError,
    guard: ServingGuard,
) -> Response<Reply> {
    let body = jsonrpc::write_error(&RequestId::Null, error);
    json(status, body.into(), guard)
}
