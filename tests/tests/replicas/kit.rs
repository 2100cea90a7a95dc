//! What the tests of replicas share.

use std::collections::HashSet;
use std::net::SocketAddr;

use ::http::Request;
use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, SessionRecord};
use vmcp_tests::http::{self, Answer, LegacyClient};

/// Sessions at a backend in which a tool was called: those of clients, not the gateways' own.
pub fn client_sessions(backend: &Backend) -> Vec<SessionRecord> {
    let calls = backend.requests("tools/call");
    let called: HashSet<&str> = calls
        .iter()
        .filter_map(|call| call.session.as_deref())
        .collect();
    let mut sessions = backend.sessions();
    sessions.retain(|session| called.contains(&*session.id));
    sessions
}

/// The same session at another address.
pub fn at(address: SocketAddr, client: &LegacyClient) -> LegacyClient {
    LegacyClient {
        address,
        session: client.session.clone(),
    }
}

/// Ends a session.
pub async fn delete(client: &LegacyClient) -> Result<Answer> {
    let request = Request::delete("/mcp")
        .header("host", client.address.to_string())
        .header("mcp-session-id", &client.session)
        .body(Full::<Bytes>::default())?;
    http::send(client.address, request).await
}

pub fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default()
}

pub fn echo(text: &str) -> Value {
    json!({ "text": text })
}
