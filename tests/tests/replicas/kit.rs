//! What the tests of replicas share.

use std::collections::HashSet;
use std::net::SocketAddr;

use ::http::Request;
use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Behaviour, Order, Over, Question, Script, SessionRecord, Tool};
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

/// Every session of a client at this backend has been ended there.
pub fn all_ended(backend: &Backend) -> Result<()> {
    let left = client_sessions(backend);
    ensure!(
        left.iter().all(|session| session.ended.is_some()),
        "{left:?}"
    );
    Ok(())
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

/// What the clients here declare.
pub fn able() -> Value {
    json!({ "elicitation": { "form": {} } })
}

/// A legacy server that asks once, or twice one after the other.
pub fn asking() -> Script {
    let form = || Question {
        method: "elicitation/create".to_owned(),
        params: r#"{"message":"?"}"#.to_owned(),
        over: Over::Call,
    };
    let twice = Behaviour::AskMany(Order::InTurn, vec![form(), form()]);
    let tools = [
        Tool::new("form", Behaviour::Ask(form())),
        Tool::new("in-turn", twice),
        Tool::new("echo", Behaviour::Echo),
    ];
    Script::legacy().with_tools(tools.to_vec())
}

/// A modern server that asks once.
pub fn needing() -> Script {
    let form = r#"{"k":{"method":"elicitation/create","params":{"message":"?"}}}"#;
    let rounds = Behaviour::Rounds(vec![form.to_owned()]);
    Script::modern().with_tools(vec![Tool::new("form", rounds)])
}

/// The one key of an `input_required` answer, and its state.
pub fn asked(answer: &Value) -> Result<(String, String)> {
    let result = &answer["result"];
    let requests = result["inputRequests"].as_object();
    let key = requests.and_then(|requests| requests.keys().next());
    let state = result["requestState"].as_str();
    let (Some(key), Some(state)) = (key, state) else {
        bail!("nothing asked: {answer}");
    };
    Ok((key.clone(), state.to_owned()))
}

/// The same call once more, with answers.
pub fn retry(call: &Value, state: &str, responses: &Value) -> Value {
    let mut params = call.clone();
    params["requestState"] = json!(state);
    params["inputResponses"] = responses.clone();
    params
}

pub fn ping() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })
}
