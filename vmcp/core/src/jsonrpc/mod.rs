//! The JSON-RPC 2.0 envelope, and nothing inside it.
//!
//! Owns reading and writing of the envelope: `id`, `method` and where `params`, `result` or `error`
//! lie. What lies there stays raw and passes byte for byte. Never interprets a method and never
//! panics on hostile input.

mod envelope;
mod error;
mod request_id;
mod write;

pub mod raw;

use std::borrow::Cow;

pub use envelope::{Message, Notification, Request, Response, parse, parse_batch};
pub use error::{ParseError, RpcError};
pub use request_id::RequestId;
pub use write::{write_error, write_notification, write_request, write_result};

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    push_quoted(&mut quoted, text);
    quoted
}

/// Appends `text` as a JSON string.
fn push_quoted(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if !text.bytes().all(is_plain) {
        out.push_str(&serde_json::Value::from(text).to_string());
        return;
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// The text that a raw JSON string is, borrowed where nothing is escaped; `None` for other values.
#[must_use]
pub fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
