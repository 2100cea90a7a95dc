//! What a backend said, message by message.
//!
//! Owns the check that an answer is JSON-RPC and the answer to *our* question. Results stay raw:
//! nothing below the envelope is looked at, so that nothing can get lost (T22). Pure.

use std::sync::Arc;

use serde_json::value::RawValue;

use vmcp_core::jsonrpc::{
    self, Message, Notification, ParseError, RequestId, Response, RpcError, raw,
};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::method;

use super::sse_event::Event;
use super::wire::WireError;

/// The raw `result`, or the backend's own error.
pub type Answer = Result<Arc<str>, RpcError>;

/// One message of a backend.
#[derive(Clone, Debug)]
pub enum Inbound {
    /// The whole notification, raw.
    Notification(Arc<str>),
    /// A request of the server's to us.
    Request {
        id: RequestId,
        method: Box<str>,
        /// Raw object.
        params: Option<Arc<str>>,
    },
    Response {
        id: RequestId,
        answer: Answer,
    },
}

/// The messages in a JSON body or in the data of an event; several only in a batch, which
/// 2025-03-26 servers may send.
///
/// # Errors
/// `Protocol`: no JSON-RPC.
pub fn read(body: &[u8]) -> Result<Vec<Inbound>, WireError> {
    if !body.trim_ascii_start().starts_with(b"[") {
        let whole = str::from_utf8(body).map_err(|_| WireError::Protocol("no UTF-8".to_owned()))?;
        return Ok(vec![inbound(
            jsonrpc::parse(body).map_err(no_json_rpc)?,
            Some(whole.trim()),
        )]);
    }
    let batch = jsonrpc::parse_batch(body).map_err(no_json_rpc)?;
    batch
        .into_iter()
        .map(|message| Ok(inbound(message.map_err(no_json_rpc)?, None)))
        .collect()
}

/// The messages in one event. Other event names are not MCP's, and a priming event has no data
/// (SEP-1699).
///
/// # Errors
/// As [`read`].
pub fn in_event(event: &Event) -> Result<Vec<Inbound>, WireError> {
    if &*event.name != "message" || event.data.is_empty() {
        return Ok(Vec::new());
    }
    read(event.data.as_bytes())
}

/// `whole`: the bytes of a message that stands alone, so that a notification passes as it is.
fn inbound(message: Message<'_>, whole: Option<&str>) -> Inbound {
    match message {
        Message::Request(request) => Inbound::Request {
            id: request.id,
            method: request.method.as_ref().into(),
            params: request.params.map(|raw| raw.get().into()),
        },
        Message::Notification(notification) => Inbound::Notification(match whole {
            Some(whole) => whole.into(),
            None => rewritten(&notification),
        }),
        Message::Response(Response::Result { id, result }) => Inbound::Response {
            id,
            answer: Ok(result.get().into()),
        },
        Message::Response(Response::Error { id, error }) => Inbound::Response {
            id,
            answer: Err(error),
        },
    }
}

fn rewritten(notification: &Notification<'_>) -> Arc<str> {
    let raw =
        jsonrpc::write_notification(&notification.method, notification.params.map(RawValue::get));
    String::from_utf8_lossy(&raw).into()
}

#[allow(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn no_json_rpc(error: ParseError) -> WireError {
    WireError::Protocol(format!("no JSON-RPC: {error}"))
}

/// Is a response with this id the answer to `asked`? The id of an error is null where the server
/// could not tell what it refused; a result always has one (T11: never taken for an answer).
///
/// # Errors
/// `Protocol`, naming both ids.
pub fn answers(id: &RequestId, answer: &Answer, asked: &RequestId) -> Result<(), WireError> {
    if id == asked || (answer.is_err() && *id == RequestId::Null) {
        return Ok(());
    }
    Err(WireError::Protocol(format!(
        "a response to id {} where {} was asked",
        id.to_raw(),
        asked.to_raw()
    )))
}

/// The reply that every request of a server's gets: `ping` is answered, the rest refused, because
/// no client stands behind this connection.
#[must_use]
pub fn reply_to(id: &RequestId, method: &str) -> Vec<u8> {
    if method == method::PING {
        return jsonrpc::write_result(id, "{}");
    }
    let error = RpcError {
        code: code::METHOD_NOT_FOUND,
        message: "not supported on this connection".to_owned(),
        data: None,
    };
    jsonrpc::write_error(id, &error)
}

/// Does this notification say that a list of the backend's changed?
#[must_use]
pub fn changes_a_list(notification: &str) -> bool {
    match jsonrpc::parse(notification.as_bytes()) {
        Ok(Message::Notification(parsed)) => matches!(
            parsed.method.as_ref(),
            method::NOTIFICATION_TOOLS_LIST_CHANGED
                | method::NOTIFICATION_PROMPTS_LIST_CHANGED
                | method::NOTIFICATION_RESOURCES_LIST_CHANGED
        ),
        _ => false,
    }
}

/// Does this notification take something back?
pub(super) fn is_cancellation(notification: &str) -> bool {
    match jsonrpc::parse(notification.as_bytes()) {
        Ok(Message::Notification(parsed)) => parsed.method == method::NOTIFICATION_CANCELLED,
        _ => false,
    }
}

/// What the backend takes back of its questions, where this notification says so.
pub(super) fn withdrawn(notification: &str) -> Option<RequestId> {
    raw::top_level(notification, "params")
        .and_then(|params| raw::top_level(params, "requestId"))
        .and_then(RequestId::from_raw)
}

/// The JSON-RPC error in the body of an HTTP refusal, whatever its id: servers answer `null`,
/// `"server-error"` or ours there.
#[must_use]
pub fn error_in(body: &[u8]) -> Option<(RequestId, RpcError)> {
    match jsonrpc::parse(body).ok()? {
        Message::Response(Response::Error { id, error }) => Some((id, error)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: &str) -> RequestId {
        RequestId::Number(number.into())
    }

    /// T11: an answer to another question is none; only an error may lack its id.
    #[test]
    fn only_the_answer_to_our_question_counts() {
        let result: Answer = Ok("{}".into());
        let error: Answer = Err(RpcError::new(-1, "m"));

        assert!(answers(&id("1"), &result, &id("1")).is_ok());
        assert!(answers(&id("2"), &result, &id("1")).is_err());
        assert!(answers(&RequestId::Null, &result, &id("1")).is_err());
        assert!(answers(&RequestId::Null, &error, &id("1")).is_ok());
        assert!(answers(&id("2"), &error, &id("1")).is_err());
    }

    /// T22: a result and a notification keep every byte.
    #[test]
    fn raw_text_survives() {
        let body = b" {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{ \"n\":1.0e2,\"u\":\"\\u00e9\" }} ";
        let messages = read(body).unwrap();
        let [
            Inbound::Response {
                answer: Ok(result), ..
            },
        ] = &messages[..]
        else {
            panic!("{messages:?}")
        };
        assert_eq!(&**result, r#"{ "n":1.0e2,"u":"\u00e9" }"#);

        let note = br#"{"jsonrpc":"2.0","method":"x","params":{"a" : 1},"extra":true}"#;
        let messages = read(note).unwrap();
        let [Inbound::Notification(text)] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!(text.as_bytes(), note);
    }

    /// 2025-03-26: a batch is several messages, and a broken one fails whole.
    #[test]
    fn a_batch_is_read_in_order() {
        let batch = br#"[{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":1,"result":{}}]"#;
        let messages = read(batch).unwrap();
        assert!(matches!(
            messages[..],
            [Inbound::Notification(_), Inbound::Response { .. }]
        ));

        assert!(read(b"[]").is_err());
        assert!(read(b"[1]").is_err());
        assert!(read(b"").is_err());
        assert!(read(b"<html>").is_err());
    }

    /// A server's ping is answered, everything else it asks is refused.
    #[test]
    fn requests_of_a_server_get_an_answer_at_once() {
        let ping = String::from_utf8(reply_to(&id("7"), method::PING)).unwrap();
        let roots = String::from_utf8(reply_to(&id("8"), method::ROOTS_LIST)).unwrap();

        assert!(
            ping.contains(r#""result":{}"#) && ping.contains(r#""id":7"#),
            "{ping}"
        );
        assert!(
            roots.contains("-32601") && roots.contains(r#""id":8"#),
            "{roots}"
        );
    }
}
