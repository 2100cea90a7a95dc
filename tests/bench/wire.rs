//! What every part of the benchmark agrees on: names, texts and the few MCP shapes in use.
//!
//! Owns no socket. A call carries a nonce, the backend writes its own name before it: a reply that
//! belongs to another call, or comes from another backend, is told apart from the right one.

use std::borrow::Cow;
use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;

pub const MODERN: &str = "2026-07-28";
pub const LEGACY: &str = "2025-11-25";
pub const PATH: &str = "/mcp";

/// The tool whose result is short, and the one whose result has [`BIG`] bytes of text.
pub const SMALL_TOOL: usize = 0;
pub const BIG_TOOL: usize = 1;
pub const BIG: usize = 10 * 1024;

/// JSON-RPC codes that the parts of the benchmark use.
pub const INVALID_PARAMS: i64 = -32602;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// How a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Kind {
    Modern,
    Stateful,
    Stateless,
}

impl Kind {
    /// The word of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Stateful => "stateful",
            Self::Stateless => "stateless",
        }
    }
}

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    Modern,
    Legacy,
}

/// A message as far as it is routed on.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub method: Cow<'a, str>,
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
}

pub fn backend_name(index: usize) -> String {
    format!("s{index:02}")
}

pub fn tool_name(index: usize) -> String {
    format!("t{index:02}")
}

/// The start of the text that a call must be answered with.
pub fn expected(backend: &str, nonce: &str) -> String {
    format!("{backend}:{nonce}")
}

/// A definition of the size that real ones have, about 600 bytes.
pub fn definition(index: usize) -> String {
    let name = tool_name(index);
    let mut properties = String::new();
    for field in ["path", "query", "limit"] {
        let _ = write!(
            properties,
            r#""{field}":{{"type":"string","title":"The {field}","description":"The {field} that tool {name} takes, as plain text of any length"}},"#
        );
    }
    format!(
        r#"{{"name":"{name}","title":"Tool {name}","description":"Answers with the text that it was given, after the name of its server. It does nothing else.","inputSchema":{{"type":"object","properties":{{{properties}"nonce":{{"type":"string"}}}},"required":["nonce"]}},"annotations":{{"openWorldHint":false}}}}"#
    )
}

/// The position of a part within the text that it was borrowed from.
pub fn position(whole: &str, part: &str) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// `whole` with one part of it replaced.
pub fn splice(whole: &str, part: &str, new: &str) -> String {
    let at = position(whole, part);
    let mut out = String::with_capacity(whole.len() + new.len());
    out.push_str(&whole[..at.start]);
    out.push_str(new);
    out.push_str(&whole[at.end..]);
    out
}

pub fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

pub fn error(id: &str, code: i64, text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Build 7: the shapes that the benchmark sends are JSON, and of the size that is claimed.
    #[test]
    fn definitions_are_valid_and_of_real_size() {
        let text = definition(7);

        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();

        assert_eq!(parsed["name"], "t07");
        assert!((500..900).contains(&text.len()), "{}", text.len());
    }

    /// Build 7: one part of a text is replaced where it stands, not where it occurs first.
    #[test]
    fn a_part_is_replaced_in_its_own_place() {
        let whole = r#"{"a":"x","b":"x"}"#;

        let changed = splice(whole, &whole[13..16], "\"y\"");

        assert_eq!(changed, r#"{"a":"x","b":"y"}"#);
    }
}
