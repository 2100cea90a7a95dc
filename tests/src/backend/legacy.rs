//! The handshake eras over streamable HTTP.

use super::answers::{call_tool, list_tools};
use super::call::{Call, Rpc};
use super::engine::{Engine, unknown_session};
use super::reply::{Message, Plain, Reply};
use super::script::{GetStream, Logging, Script};
use super::shelf;

/// A server that keeps sessions; its refusals are those of the widely used reference server.
pub(super) async fn post_stateful(
    engine: &Engine,
    script: &Script,
    call: &Call,
    rpc: &Rpc,
) -> Reply {
    if rpc.method() == "initialize" {
        let mut message = initialize(script, rpc);
        if message.outcome.is_ok() {
            let id = engine.sessions().open(None);
            engine.sessions().introduce(&id, &rpc.params);
            message.session = Some(id);
        }
        return message.into();
    }
    let Some(session) = call.session() else {
        let text = "Bad Request: No valid session ID provided";
        return Message::error("null", 400, -32000, text).into();
    };
    if !engine.sessions().touch(session) {
        return unknown_session(script).into();
    }
    if let Some(refused) = wrong_version(script, call, rpc).or_else(|| modern_meta(rpc)) {
        return refused.into();
    }
    if rpc.method() == "notifications/initialized" {
        engine.sessions().initialized(session);
    }
    if rpc.id.is_some() && rpc.method() != "ping" && !engine.sessions().is_initialized(session) {
        let text = "Received request before initialization was complete";
        return Message::error(rpc.id_raw(), 200, -32600, text).into();
    }
    operate(script, rpc).await
}

/// A server that keeps nothing; `server/discover` answers 404 with -32601 and the id.
pub(super) async fn post_stateless(script: &Script, call: &Call, rpc: &Rpc) -> Reply {
    if rpc.method() == "initialize" {
        return initialize(script, rpc).into();
    }
    if rpc.method() == "server/discover" {
        return Message::error(rpc.id_raw(), 404, -32601, "Method not found").into();
    }
    match wrong_version(script, call, rpc).or_else(|| modern_meta(rpc)) {
        Some(refused) => refused.into(),
        None => operate(script, rpc).await,
    }
}

/// The requests of the operation phase.
pub(super) async fn operate(script: &Script, rpc: &Rpc) -> Reply {
    if rpc.id.is_none() || rpc.method.is_none() {
        return Plain::empty(202).into();
    }
    let message = match rpc.method() {
        "resources/subscribe" if script.shelf.is_mute(&rpc.params["uri"]) => {
            Message::error(rpc.id_raw(), 200, -32602, "nobody hears of that")
        }
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
            Message::result(rpc, "{}")
        }
        "tools/list" => list_tools(script, rpc, ""),
        "tools/call" => call_tool(script, rpc, "").await,
        _ => shelf::answer(script, rpc, "", -32002)
            .unwrap_or_else(|| Message::error(rpc.id_raw(), 200, -32601, "Method not found")),
    };
    message.into()
}

pub(super) fn initialize(script: &Script, rpc: &Rpc) -> Message {
    let Some(wanted) = rpc.params["protocolVersion"].as_str() else {
        return Message::error(rpc.id_raw(), 200, -32602, "protocolVersion is required");
    };
    if !rpc.params["capabilities"].is_object()
        || rpc.params["clientInfo"]["name"].as_str().is_none()
    {
        let text = "capabilities and clientInfo are required";
        return Message::error(rpc.id_raw(), 200, -32602, text);
    }
    let spoken = script
        .legacy_versions
        .iter()
        .find(|known| known.as_str() == wanted);
    let version = spoken
        .or(script.legacy_versions.first())
        .map_or("2025-11-25", String::as_str);
    let mut capabilities = serde_json::json!({"tools": {"listChanged": script.get_stream != GetStream::MethodNotAllowed}});
    if script.logging == Logging::Offered {
        capabilities["logging"] = serde_json::json!({});
    }
    shelf::declare(script, &mut capabilities);
    let result = serde_json::json!({
        "protocolVersion": version,
        "capabilities": capabilities,
        "serverInfo": {"name": script.server_name, "version": script.server_version},
    });
    Message::result(rpc, result.to_string())
}

/// As a server that knows both eras does: `_meta` of 2026-07-28 under a legacy header is refused.
fn modern_meta(rpc: &Rpc) -> Option<Message> {
    rpc.params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str()?;
    let text = "Bad Request: the request headers and body disagree about the protocol version";
    Some(Message::error(rpc.id_raw(), 400, -32020, text))
}

/// A version header that this server does not speak is refused (2025-06-18 and later).
fn wrong_version(script: &Script, call: &Call, rpc: &Rpc) -> Option<Message> {
    let version = call.header("mcp-protocol-version")?;
    if script.legacy_versions.iter().any(|known| known == version) {
        return None;
    }
    let text = format!("Bad Request: Unsupported protocol version: {version}");
    Some(Message::error(rpc.id_raw(), 400, -32000, &text))
}
