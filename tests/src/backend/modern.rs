//! 2026-07-28: every request stands alone.
//!
//! Strict on purpose: headers must equal the body and the required `_meta` keys must be there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answers::{call_tool, list_tools};
use super::call::{Call, Rpc};
use super::engine::Engine;
use super::reply::{Message, Plain, Reply};
use super::script::{GetStream, Script};
use super::session::Listening;
use super::shelf::{self, Shelf};

/// Instead of a session, for what is said to all that listen.
pub(super) const LISTENERS: &str = "modern listeners";
pub(super) const VERSION: &str = "2026-07-28";
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

pub(super) async fn post(engine: &Engine, script: &Script, call: &Call, rpc: &Rpc) -> Reply {
    if let Some(refused) = refusal(call, rpc) {
        return refused.into();
    }
    if rpc.id.is_none() || rpc.method.is_none() {
        return Plain::empty(202).into();
    }
    let listed = format!(
        r#","resultType":"complete","ttlMs":{},"cacheScope":"public""#,
        script.ttl_ms
    );
    let message = match rpc.method() {
        "server/discover" => discover(script, rpc),
        "tools/list" => list_tools(script, rpc, &listed),
        "tools/call" => call_tool(script, rpc, r#","resultType":"complete""#).await,
        "subscriptions/listen" if script.get_stream == GetStream::Offered => {
            return listen(engine, rpc, &script.shelf);
        }
        _ => super::tasks::answer(script, rpc)
            .or_else(|| shelf::answer(script, rpc, r#","resultType":"complete""#, -32602))
            .unwrap_or_else(|| Message::error(rpc.id_raw(), 404, -32601, "Method not found")),
    };
    message.into()
}

fn refusal(call: &Call, rpc: &Rpc) -> Option<Message> {
    let refuse = |code, text: &str| Some(Message::error(rpc.id_raw(), 400, code, text));
    let version = call.header("mcp-protocol-version").unwrap_or_default();
    if version != VERSION {
        let data = json!({"supported": [VERSION], "requested": version});
        let message = Message::error(
            rpc.id_raw(),
            400,
            UNSUPPORTED_VERSION,
            "Unsupported protocol version",
        );
        return Some(message.with_data(data));
    }
    // Notifications carry no `_meta` that could be compared.
    rpc.id.as_ref()?;
    if call.header("mcp-method") != rpc.method.as_deref() {
        return refuse(HEADER_MISMATCH, "Mcp-Method differs from the body");
    }
    let meta = &rpc.params["_meta"];
    if meta[META_VERSION].as_str() != Some(version) {
        return refuse(HEADER_MISMATCH, "MCP-Protocol-Version differs from _meta");
    }
    if !meta[META_CAPABILITIES].is_object() {
        return refuse(-32602, "_meta lacks clientCapabilities");
    }
    let name = call.header("mcp-name").map(decoded);
    let named = match rpc.method() {
        "tools/call" | "prompts/get" => rpc.params["name"].as_str(),
        "resources/read" => rpc.params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => rpc.params["taskId"].as_str(),
        _ => return None,
    };
    if name.as_deref() != named {
        return refuse(HEADER_MISMATCH, "Mcp-Name differs from the body");
    }
    None
}

/// The value of `Mcp-Name`, which is `=?base64?..?=` where it is no plain ASCII.
fn decoded(value: &str) -> String {
    value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
        .and_then(|middle| STANDARD.decode(middle).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| value.to_owned())
}

fn discover(script: &Script, rpc: &Rpc) -> Message {
    let mut capabilities =
        json!({"tools": {"listChanged": script.get_stream == GetStream::Offered}});
    shelf::declare(script, &mut capabilities);
    let result = json!({
        "resultType": "complete",
        "supportedVersions": [VERSION],
        "capabilities": capabilities,
        "ttlMs": script.ttl_ms,
        "cacheScope": "public",
        "_meta": {"io.modelcontextprotocol/serverInfo":
            {"name": script.server_name, "version": script.server_version}},
    });
    Message::result(rpc, result.to_string())
}

fn listen(engine: &Engine, rpc: &Rpc, shelf: &Shelf) -> Reply {
    let wanted = rpc.params["notifications"]["toolsListChanged"]
        .as_bool()
        .unwrap_or(false);
    let mut agreed = json!({});
    if wanted {
        agreed["toolsListChanged"] = true.into();
    }
    if let Some(wanted) = rpc.params["notifications"]["resourceSubscriptions"].as_array() {
        let audible = wanted.iter().filter(|uri| !shelf.is_mute(uri));
        agreed["resourceSubscriptions"] = audible.cloned().collect();
    }
    let tag: Value = serde_json::from_str(rpc.id_raw()).unwrap_or_default();
    let acknowledged = json!({
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {
            "_meta": {META_SUBSCRIPTION: tag},
            "notifications": agreed,
        },
    });
    let params = json!({"_meta": {META_SUBSCRIPTION: tag}});
    engine.change_stream(
        Some(acknowledged.to_string()),
        params.to_string(),
        Some((LISTENERS.to_owned(), Listening::default())),
    )
}
