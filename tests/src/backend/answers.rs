//! `tools/list` and `tools/call`, the same in every era but for the era's own members.

use super::call::Rpc;
use super::reply::Message;
use super::script::Script;
use super::tool::{Behaviour, Outcome, saying};

/// `own` is raw JSON members that the era adds to the result, with a leading comma, or empty.
pub(super) fn list_tools(script: &Script, rpc: &Rpc, own: &str) -> Message {
    let all: Vec<&str> = script
        .tools
        .iter()
        .map(|tool| tool.definition.as_str())
        .collect();
    let Some((page, next)) = script.page(&all, rpc.cursor()) else {
        return Message::error(rpc.id_raw(), 200, -32602, "Invalid cursor");
    };
    let tools = page.join(",");
    let cursor = next
        .map(|next| format!(r#","nextCursor":"{next}""#))
        .unwrap_or_default();
    Message::result(rpc, format!(r#"{{"tools":[{tools}]{cursor}{own}}}"#))
}

/// `own` as in [`list_tools`]; results given raw stay as they are.
pub(super) async fn call_tool(script: &Script, rpc: &Rpc, own: &str) -> Message {
    let name = rpc.params["name"].as_str().unwrap_or_default();
    let Some(tool) = script.tools.iter().find(|tool| tool.name == name) else {
        return Message::error(rpc.id_raw(), 200, -32602, &format!("Unknown tool: {name}"));
    };
    if let Behaviour::Rounds(rounds) = &tool.behaviour {
        return Message::result(rpc, round(rounds, rpc, own));
    }
    if let Behaviour::Task(id) = &tool.behaviour
        && let Some(created) = super::tasks::created(rpc, id)
    {
        return Message::result(rpc, created);
    }
    let mut message = match tool.behaviour.run(&rpc.params["arguments"]).await {
        Outcome::Members(members) => Message::result(rpc, format!("{{{members}{own}}}")),
        Outcome::Raw(raw) => Message::result(rpc, raw),
        Outcome::Error(code, data) => {
            Message::error(rpc.id_raw(), 200, code, "the tool says no").with_data(data)
        }
    };
    let token = &rpc.params["_meta"]["progressToken"];
    let named = |raw: &String| raw.replace("$TOKEN", &token.to_string());
    message.before = tool.notifications.iter().map(named).collect();
    message
}

/// What the request has not been asked yet, or what it was told last.
pub(super) fn round(rounds: &[String], rpc: &Rpc, own: &str) -> String {
    let state = rpc.params["requestState"].as_str().unwrap_or_default();
    let done = state
        .strip_prefix("round-")
        .map_or(0, |n| n.parse().unwrap_or(0));
    match rounds.get(done) {
        Some(map) => {
            let next = done + 1;
            format!(
                r#"{{"resultType":"input_required","inputRequests":{map},"requestState":"round-{next}"}}"#
            )
        }
        None => format!(
            "{{{}{own}}}",
            saying(rpc, &rpc.params["inputResponses"].to_string())
        ),
    }
}
