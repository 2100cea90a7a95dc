//! Tasks of the extension of 2026-07-28: begun by a tool, asked for by id.

use serde_json::Value;

use super::call::Rpc;
use super::reply::Message;
use super::script::Script;
use super::tool::Behaviour;

const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The result that begins a task; `None` for a client that knows none.
pub(super) fn created(rpc: &Rpc, id: &str) -> Option<String> {
    let capabilities = &rpc.params["_meta"][META_CAPABILITIES];
    let id = Value::from(id);
    capabilities["extensions"][EXTENSION].is_object().then(|| {
        format!(r#"{{ "resultType":"task","taskId":{id},"status":"working","x-vendor":1.10}}"#)
    })
}

/// Answers what is about a task; `None` for anything else.
pub(super) fn answer(script: &Script, rpc: &Rpc) -> Option<Message> {
    if !rpc.method().starts_with("tasks/") {
        return None;
    }
    let mut tools = script.tools.iter();
    let wanted = rpc.params["taskId"].as_str().unwrap_or_default();
    let known = tools.any(|tool| matches!(&tool.behaviour, Behaviour::Task(id) if id == wanted));
    if !known {
        return Some(Message::error(rpc.id_raw(), 200, -32602, "no such task"));
    }
    let id = &rpc.params["taskId"];
    let name = Value::from(script.server_name.as_str());
    let result = match rpc.method() {
        "tasks/get" => format!(
            r#"{{"resultType":"complete", "taskId":{id},"status":"completed","result":{{"content":[],"at":{name},"n":1.10}}}}"#
        ),
        _ => r#"{"resultType":"complete"}"#.to_owned(),
    };
    Some(Message::result(rpc, result))
}
