//! Whether a reply is the right one.
//!
//! Owns the judgement of every reply that any subject gives: the id that was asked with, the text
//! of the very call, the number of tools. A wrong reply must never count as a fast one.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire;

#[derive(Debug, Deserialize)]
struct Reply<'a> {
    id: u64,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallResult<'a> {
    #[serde(borrow)]
    content: Vec<Content<'a>>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Debug, Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// The `result` member of the reply to the request with this id.
pub fn result(body: &str, id: u64) -> Result<&str> {
    let reply: Reply<'_> = serde_json::from_str(body).with_context(|| shown(body))?;
    ensure!(reply.id == id, "asked with id {id}: {}", shown(body));
    match (reply.result, reply.error) {
        (Some(result), None) => Ok(result.get()),
        _ => bail!("no result: {}", shown(body)),
    }
}

/// A result of `tools/call` that starts with `expected` and has this much text behind it.
pub fn call(body: &str, id: u64, expected: &str, filler: usize) -> Result<()> {
    let result = result(body, id)?;
    let result: CallResult<'_> = serde_json::from_str(result).with_context(|| shown(body))?;
    ensure!(!result.is_error, "an error of the tool: {}", shown(body));
    let [content] = &result.content[..] else {
        bail!("not one content: {}", shown(body));
    };
    let rest = content.text.strip_prefix(expected);
    ensure!(
        rest.is_some_and(|rest| rest.len() == filler && rest.bytes().all(|byte| byte == b'x')),
        "expected {expected} and {filler} more: {}",
        shown(body)
    );
    Ok(())
}

/// A result of `tools/list` with this many tools. Names are looked at once, in [`names`]: to parse
/// hundreds of definitions each time would measure the client.
pub fn list(body: &str, id: u64, tools: usize) -> Result<()> {
    ensure!(
        body.contains(&format!("\"id\":{id}")) && body.trim_end().ends_with('}'),
        "asked with id {id}: {}",
        shown(body)
    );
    let found = body.matches(r#""inputSchema":"#).count();
    ensure!(found == tools, "{found} of {tools} tools");
    Ok(())
}

/// The names in a result of `tools/list`, and the cursor of the next page.
pub fn names(body: &str, id: u64) -> Result<(Vec<String>, Option<String>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed {
        tools: Vec<Named>,
        next_cursor: Option<String>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let listed: Listed = serde_json::from_str(result(body, id)?)?;
    let names = listed.tools.into_iter().map(|tool| tool.name).collect();
    Ok((names, listed.next_cursor))
}

/// The text that must stand before the filler of a result of this tool.
pub fn filler(tool: usize) -> usize {
    if tool == wire::BIG_TOOL { wire::BIG } else { 0 }
}

/// The start of a body, for a person.
fn shown(body: &str) -> String {
    body.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(id: u64, text: &str) -> String {
        wire::result(
            &id.to_string(),
            &format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#),
        )
    }

    /// Build 7: a reply counts only if it is the reply of this very call.
    #[test]
    fn only_the_reply_of_the_very_call_passes() {
        let good = reply(7, "s01:n7");
        call(&good, 7, "s01:n7", 0).unwrap();

        assert!(call(&good, 8, "s01:n7", 0).is_err(), "another id");
        assert!(call(&good, 7, "s01:n8", 0).is_err(), "another nonce");
        assert!(call(&good, 7, "s02:n7", 0).is_err(), "another backend");
        assert!(call(&good, 7, "s01:n", 0).is_err(), "more than expected");
        assert!(call(&good, 7, "s01:n7", 4).is_err(), "a part is missing");
        call(&reply(7, "s01:n7xxxx"), 7, "s01:n7", 4).unwrap();
        assert!(call(&reply(7, "s01:n7xxyx"), 7, "s01:n7", 4).is_err());
    }

    /// Build 7: an error is no reply, in whatever dress it comes.
    #[test]
    fn an_error_never_passes() {
        let of_rpc = wire::error("7", -32001, "s01:n7");
        let of_tool = reply(7, "s01:n7").replace("false", "true");

        for bad in [of_rpc.as_str(), of_tool.as_str(), "<html>", "", "{}"] {
            assert!(call(bad, 7, "s01:n7", 0).is_err(), "{bad}");
            assert!(
                list(bad, 7, 0).is_err() || bad.contains("\"id\":7"),
                "{bad}"
            );
        }
    }

    /// Build 7: a list is right only with all of its tools.
    #[test]
    fn a_list_without_a_tool_fails() {
        let tools: Vec<String> = (0..3).map(wire::definition).collect();
        let body = wire::result("7", &format!(r#"{{"tools":[{}]}}"#, tools.join(",")));

        list(&body, 7, 3).unwrap();
        assert!(list(&body, 7, 4).is_err());
        assert!(list(&body, 8, 3).is_err());
        let (names, cursor) = names(&body, 7).unwrap();
        assert_eq!((names.len(), cursor), (3, None));
    }
}
