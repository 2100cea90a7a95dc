//! One incoming HTTP request, read whole and taken apart.

use bytes::Bytes;
use http::{HeaderMap, Method, Version, request};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An HTTP request and the JSON-RPC message in it, if there is one.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) version: Version,
    pub(super) http_method: Method,
    pub(super) path: String,
    pub(super) path_and_query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) rpc: Option<Rpc>,
}

/// The parts of a JSON-RPC message that the server looks at.
#[derive(Clone, Debug)]
pub(super) struct Rpc {
    pub(super) method: Option<String>,
    /// Raw JSON.
    pub(super) id: Option<String>,
    pub(super) params: Value,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: &'a str,
    method: Option<String>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    params: Value,
}

impl Call {
    pub(super) fn new(parts: request::Parts, body: Bytes) -> Self {
        let path_and_query = parts
            .uri
            .path_and_query()
            .map_or("/", |known| known.as_str())
            .to_owned();
        let rpc = serde_json::from_slice::<Envelope<'_>>(&body)
            .ok()
            .filter(|envelope| envelope.jsonrpc == "2.0")
            .map(|envelope| Rpc {
                method: envelope.method,
                id: envelope.id.map(|id| id.get().to_owned()),
                params: envelope.params,
            });
        Self {
            version: parts.version,
            http_method: parts.method,
            path: parts.uri.path().to_owned(),
            path_and_query,
            headers: parts.headers,
            body,
            rpc,
        }
    }

    /// The JSON-RPC method, or the HTTP method where there is none.
    pub(super) fn method(&self) -> &str {
        let rpc_method = self.rpc.as_ref().and_then(|rpc| rpc.method.as_deref());
        rpc_method.unwrap_or_else(|| self.http_method.as_str())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn session(&self) -> Option<&str> {
        let in_query = || {
            self.path_and_query
                .split_once("sessionId=")
                .map(|(_, id)| id)
        };
        self.header("mcp-session-id").or_else(in_query)
    }

    pub(super) fn tool_name(&self) -> Option<&str> {
        let rpc = self
            .rpc
            .as_ref()
            .filter(|rpc| rpc.method.as_deref() == Some("tools/call"))?;
        rpc.params["name"].as_str()
    }

    pub(super) fn accepts_both(&self) -> bool {
        self.header("accept").is_some_and(|accept| {
            accept.contains("application/json") && accept.contains("text/event-stream")
        })
    }
}

impl Rpc {
    pub(super) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.params["cursor"].as_str()
    }

    /// Raw JSON of the id, `null` for none.
    pub(super) fn id_raw(&self) -> &str {
        self.id.as_deref().unwrap_or("null")
    }
}
