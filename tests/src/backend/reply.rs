//! Answers before they become bytes.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::call::Rpc;
use super::fault::{CallFailure, Fault};
use super::framing::{Piece, StreamGuard};
use super::tool;

/// What the server decided to answer.
pub(super) enum Reply {
    /// An HTTP answer that is no JSON-RPC message.
    Plain(Plain),
    /// A JSON-RPC response.
    Message(Message),
    /// An event stream that stays open.
    Stream {
        pieces: mpsc::Receiver<Piece>,
        guard: Option<StreamGuard>,
    },
}

pub(super) struct Plain {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

/// A JSON-RPC response with its HTTP status.
pub(super) struct Message {
    pub(super) status: u16,
    /// Value of `Mcp-Session-Id`.
    pub(super) session: Option<String>,
    /// Raw JSON.
    pub(super) id: String,
    /// Raw JSON object, or code, text and `data`.
    pub(super) outcome: Result<String, (i64, String, Value)>,
    /// Raw messages that precede it in an event stream.
    pub(super) before: Vec<String>,
}

impl Plain {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.to_owned())
    }

    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Message {
    pub(super) fn result(rpc: &Rpc, raw: impl Into<String>) -> Self {
        Self {
            status: 200,
            session: None,
            id: rpc.id_raw().to_owned(),
            outcome: Ok(raw.into()),
            before: Vec::new(),
        }
    }

    pub(super) fn error(id_raw: &str, status: u16, code: i64, text: &str) -> Self {
        Self {
            status,
            session: None,
            id: id_raw.to_owned(),
            outcome: Err((code, text.to_owned(), Value::Null)),
            before: Vec::new(),
        }
    }

    pub(super) fn with_data(mut self, data: Value) -> Self {
        if let Err((_, _, slot)) = &mut self.outcome {
            *slot = data;
        }
        self
    }

    pub(super) fn to_json(&self) -> String {
        let id = &self.id;
        match &self.outcome {
            Ok(raw) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{raw}}}"#),
            Err((code, text, data)) => {
                let mut error = json!({"code": code, "message": text});
                if !data.is_null() {
                    error["data"] = data.clone();
                }
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
            }
        }
    }

    /// Applies the failures that live inside the message.
    pub(super) fn spoil(&mut self, fault: &Fault) {
        match fault {
            Fault::WrongId => self.id = "987654321".to_owned(),
            Fault::JsonRpcError { code, http_status } => {
                self.status = *http_status;
                self.outcome = Err((*code, "scripted error".to_owned(), Value::Null));
            }
            Fault::UnsupportedVersion(supported) => {
                self.status = 400;
                let data = json!({"supported": supported, "requested": "2026-07-28"});
                self.outcome = Err((-32022, "Unsupported protocol version".to_owned(), data));
            }
            Fault::ListFails => {
                self.outcome = Err((-32603, "the list cannot be read".to_owned(), Value::Null));
            }
            Fault::CallFails(CallFailure::RpcError(code)) => {
                self.outcome = Err((*code, "the call failed".to_owned(), Value::Null));
            }
            Fault::CallFails(CallFailure::ToolError) => {
                if let Ok(raw) = &mut self.outcome {
                    // `resultType` is ignored by legacy clients and demanded by modern ones.
                    let members = tool::failure("the tool failed");
                    *raw = format!(r#"{{{members},"resultType":"complete"}}"#);
                }
            }
            Fault::HugeBody(bytes) => {
                if let Ok(raw) = &mut self.outcome {
                    let padding = "x".repeat(*bytes);
                    raw.truncate(raw.rfind('}').unwrap_or(raw.len()));
                    let comma = if raw.trim_end().ends_with('{') {
                        ""
                    } else {
                        ","
                    };
                    raw.push_str(comma);
                    raw.push_str(&format!(r#""padding":"{padding}"}}"#));
                }
            }
            _ => {}
        }
    }
}

impl From<Plain> for Reply {
    fn from(plain: Plain) -> Self {
        Self::Plain(plain)
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}
