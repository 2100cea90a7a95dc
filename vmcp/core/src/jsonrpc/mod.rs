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

pub use envelope::{Message, Notification, Request, Response, parse, parse_batch};
pub use error::{ParseError, RpcError};
pub use request_id::RequestId;
pub use write::{write_error, write_notification, write_request, write_result};

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
