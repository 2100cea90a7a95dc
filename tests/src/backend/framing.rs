//! Bytes on the wire: JSON or events, whole or broken.
//!
//! Owns the failures that live in the body (truncated, stalled, garbage). Never decides what is
//! said.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::reply::{Message, Plain};
use super::script::ReplyFormat;
use super::session::{SessionEnd, Sessions};

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a truncated body promises beyond what it sends.
const MISSING_BYTES: usize = 64;
/// Time for the sent half to leave before the connection breaks; without it both are lost.
const FLUSH_PAUSE: Duration = Duration::from_millis(20);

/// One step of an open event stream.
#[derive(Debug)]
pub(super) enum Piece {
    Data(String),
    /// The connection breaks.
    Break,
}

/// Ends the session when the stream's body is dropped.
pub(super) struct StreamGuard {
    pub(super) engine_sessions: Arc<Sessions>,
    pub(super) session: String,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.engine_sessions
            .end(&self.session, SessionEnd::StreamClosed);
    }
}

/// One event with `message` as its data; newlines become further `data:` lines.
pub(super) fn event(message: &str) -> String {
    let mut text = "event: message\n".to_owned();
    for line in message.split('\n') {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

pub(super) fn plain(plain: Plain) -> Response<Body> {
    let mut response = Response::new(whole(plain.body));
    *response.status_mut() = status(plain.status);
    for (name, value) in plain.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().append(name, value);
        }
    }
    response
}

pub(super) fn message(message: &Message, format: ReplyFormat, fault: &Fault) -> Response<Body> {
    let as_events = message.status == 200 && format != ReplyFormat::Json;
    let text = if as_events {
        events(message, fault, format)
    } else {
        json(message, fault)
    };
    let (body, promised) = broken(text.into(), fault);
    let mut response = Response::new(body);
    *response.status_mut() = status(message.status);
    let headers = response.headers_mut();
    let kind = if as_events {
        "text/event-stream"
    } else {
        "application/json"
    };
    headers.insert("content-type", http::HeaderValue::from_static(kind));
    if let Some(promised) = promised {
        headers.insert("content-length", promised.into());
    }
    if let Some(session) = message.session.as_deref().and_then(|id| id.parse().ok()) {
        headers.insert("mcp-session-id", session);
    }
    response
}

pub(super) fn open_stream(
    pieces: mpsc::Receiver<Piece>,
    guard: Option<StreamGuard>,
) -> Response<Body> {
    let steps = stream::unfold((pieces, guard), |(mut pieces, guard)| async {
        let piece = pieces.recv().await?;
        let step = match piece {
            Piece::Data(text) => Ok(Frame::data(Bytes::from(text))),
            Piece::Break => {
                tokio::time::sleep(FLUSH_PAUSE).await;
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            }
        };
        Some((step, (pieces, guard)))
    });
    let mut response = Response::new(StreamBody::new(steps).boxed_unsync());
    let kind = http::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", kind);
    response
}

/// The first half of a text, on a character boundary.
pub(super) fn half(text: &str) -> &str {
    let mut middle = text.len() / 2;
    while !text.is_char_boundary(middle) {
        middle -= 1;
    }
    &text[..middle]
}

/// The message and what precedes it, as events.
pub(super) fn events(message: &Message, fault: &Fault, format: ReplyFormat) -> String {
    let json = json(message, fault);
    let mut text = String::new();
    if format == ReplyFormat::SsePrimed {
        text.push_str(": primed\n\nid: 1\nretry: 1000\ndata:\n\n");
    }
    for notification in &message.before {
        text.push_str(&event(notification));
    }
    if format == ReplyFormat::SseMultiLine {
        // Only white space between tokens may become a line break.
        text.push_str(&event(&json.replacen('{', "{\n", 1).replacen(
            r#","id":"#,
            "\n,\n\"id\":",
            1,
        )));
    } else {
        text.push_str(&event(&json));
    }
    text
}

fn json(message: &Message, fault: &Fault) -> String {
    match fault {
        Fault::GarbageJson => r#"{"jsonrpc":"2.0","id":1,"resu"#.to_owned(),
        _ => message.to_json(),
    }
}

/// The body, and the `Content-Length` to claim where it is not the body's own.
fn broken(bytes: Bytes, fault: &Fault) -> (Body, Option<usize>) {
    let length = bytes.len();
    let first = bytes.slice(..length / 2);
    let sent = stream::iter([Ok(Frame::data(first))]);
    match fault {
        Fault::TruncatedBody => {
            let end = stream::once(async {
                tokio::time::sleep(FLUSH_PAUSE).await;
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            });
            (
                StreamBody::new(sent.chain(end)).boxed_unsync(),
                Some(length + MISSING_BYTES),
            )
        }
        Fault::StallMidBody => (
            StreamBody::new(sent.chain(stream::pending())).boxed_unsync(),
            Some(length),
        ),
        _ => (whole(bytes), None),
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

fn status(code: u16) -> http::StatusCode {
    http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}
