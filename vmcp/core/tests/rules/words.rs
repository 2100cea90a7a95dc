//! What is looked for before it is read is found wherever reading would find it.

use proptest::prelude::*;
use vmcp_core::jsonrpc::{self, ParseError, raw};
use vmcp_core::limits::JSON_DEPTH;
use vmcp_core::mcp::{ModernMeta, Params, is_tool_error, meta, progress};

/// An object of these members, with these spaces between its parts.
fn object(members: &[(&str, &str)], space: &str) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(texts)
}

const SPACES: &[&str] = &["", " ", "\n\t "];

proptest! {
    #[test]
    fn a_tool_that_failed_is_seen_as_by_reading(
        members in prop::collection::vec((
            one_of(&["isError", "content", "is", "xisError", "isErrorx"]),
            one_of(&["true", "false", "null", "[]", r#"{"isError":true}"#, r#""\"isError\":true""#]),
        ), 0..6),
        space in one_of(SPACES),
    ) {
        let result = object(&members, space);
        let read = raw::top_level(&result, "isError") == Some("true");
        prop_assert_eq!(is_tool_error(&result), read, "{}", result);
    }

    #[test]
    fn a_modern_request_and_a_wish_for_progress_are_seen_however_they_are_spelled(
        members in prop::collection::vec((
            one_of(&["_meta", r"\u005fmeta", "name", "arguments"]),
            one_of(&[
                "1",
                r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
                r#"{"io.modelcontextprotocol\/protocolVersion":"2026-07-28","progressToken":1}"#,
                r#"{"progress\u0054oken":"a"}"#,
                r#"{"progressToken":"a"}"#,
                r#""progressToken""#,
            ]),
        ), 0..4),
        space in one_of(SPACES),
    ) {
        let params = object(&members, space);
        let read = raw::top_level(&params, "_meta");
        if ModernMeta::parse(&params).is_some() {
            prop_assert!(meta::may_be_modern(&params), "{}", params);
        }
        let token = read.and_then(|meta| raw::top_level(meta, "progressToken"));
        prop_assert_eq!(progress::wanted(&params), token, "{}", params);
    }

    /// T22: what the client says so that no reader can misread it goes on as it came; to set it once
    /// more would write the same bytes.
    #[test]
    fn what_is_clear_already_says_all_that_would_be_set(
        version in one_of(&[r#""2026-07-28""#, r#""2026\u002d07-28""#]),
        more in prop::collection::vec((0..4_usize, one_of(&[
            "io.modelcontextprotocol/protocolVersion",
            r"io.modelcontextprotocol\/clientCapabilities",
            "io.modelcontextprotocol/clientInfo",
            "x.dev/y",
            "x.dev/z",
        ])), 0..3),
        around in prop::collection::vec(one_of(&[r"\u005fmeta", "name", "arguments"]), 0..2),
        space in one_of(SPACES),
    ) {
        let mut said = vec![
            (meta::PROTOCOL_VERSION, version),
            (meta::CLIENT_CAPABILITIES, r#"{"roots":{}}"#),
            (meta::CLIENT_INFO, r#"{"name":"n"}"#),
        ];
        for (at, key) in more {
            said.insert(at.min(said.len()), (key, "{}"));
        }
        let said = object(&said, space);
        let mut around: Vec<_> = around.iter().map(|key| (*key, "{}")).collect();
        around.push(("_meta", &said));
        let params = object(&around, space);

        let read = Params::read("tools/call", &params);
        let Some(envelope) = read.meta().and_then(ModernMeta::of) else { return Ok(()) };
        if !(read.is_clear() && envelope.is_clear) {
            return Ok(());
        }
        let set = meta::with_meta(Some(&params), &[
            (meta::PROTOCOL_VERSION, &jsonrpc::quote(&envelope.protocol_version)),
            (meta::CLIENT_CAPABILITIES, envelope.client_capabilities_raw.unwrap()),
            (meta::CLIENT_INFO, envelope.client_info_raw.unwrap()),
        ]);
        prop_assert_eq!(set, params);
    }

    /// Many brackets are not deep, and deep ones are found wherever they stand.
    #[test]
    fn depth_is_what_counts_and_not_how_many_brackets_there_are(
        before in 0..300_usize,
        siblings in 0..200_usize,
        deep in JSON_DEPTH - 3..JSON_DEPTH + 3,
    ) {
        let wide = vec!["{}"; siblings].join(",");
        let nested = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
        let pad = "x".repeat(before);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"p":"{pad}","w":[{wide}],"n":{nested}}}}}"#
        );
        // Inside of the message and its params.
        let too_deep = deep + 2 > JSON_DEPTH;
        match jsonrpc::parse(body.as_bytes()) {
            Ok(_) => prop_assert!(!too_deep),
            Err(error) => prop_assert!(too_deep && error == ParseError::TooDeep, "{error:?}"),
        }
    }
}
