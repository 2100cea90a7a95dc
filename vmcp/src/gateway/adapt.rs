//! The one place where a result changes on its way from a backend of one era to a client of the
//! other.
//!
//! Owns the members that an era demands or forbids at the top level of a result. Everything else
//! passes byte for byte (T22); between equal eras nothing is touched at all. Never turns what it
//! does not understand into success (T11).

use std::borrow::Cow;

use vmcp_core::jsonrpc::{RpcError, raw};
use vmcp_core::mcp::Era;
use vmcp_core::mcp::error::code;

/// Members that only modern results have.
const MODERN_MEMBERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// The result of a `tools/call`, as a client of `client` era must see it.
///
/// # Errors
/// When the backend asks for input and the client's era has no such result.
pub(super) fn call_result(
    client: Era,
    backend: Era,
    result: &str,
) -> Result<Cow<'_, str>, RpcError> {
    match (client, backend) {
        (Era::Modern, Era::Legacy) => {
            Ok(raw::with_members(result, &[("resultType", "\"complete\"")]).into())
        }
        (Era::Legacy, Era::Modern) => {
            match raw::top_level(result, "resultType") {
                None | Some("\"complete\"") => {}
                Some(other) => return Err(untranslatable(other)),
            }
            Ok(raw::without_members(result, &MODERN_MEMBERS).into())
        }
        (Era::Modern, Era::Modern) | (Era::Legacy, Era::Legacy) => Ok(result.into()),
    }
}

/// Is this the result of a tool that failed by its own account?
pub(super) fn is_tool_error(result: &str) -> bool {
    result.contains("\"isError\"") && raw::top_level(result, "isError") == Some("true")
}

fn untranslatable(kind: &str) -> RpcError {
    RpcError::new(
        code::INTERNAL_ERROR,
        format!(
            "the tool answered with resultType {kind}, which this client's revision cannot take"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str =
        r#"{ "content":[{"type":"text","text":"1.10 \u00e9"}] ,"x-vendor":1.10,"n":1e400}"#;

    /// T22: between equal eras nothing changes.
    #[test]
    fn equal_eras_pass_every_byte() {
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(call_result(era, era, ODD).unwrap(), ODD);
        }
    }

    /// T22: the era's own members come and go, every other byte stays.
    #[test]
    fn only_the_members_of_the_era_come_and_go() {
        let modern = call_result(Era::Modern, Era::Legacy, ODD).unwrap();
        assert_eq!(raw::top_level(&modern, "resultType"), Some("\"complete\""));
        assert_eq!(raw::top_level(&modern, "x-vendor"), Some("1.10"));
        assert_eq!(raw::top_level(&modern, "n"), Some("1e400"));

        let legacy = call_result(Era::Legacy, Era::Modern, &modern).unwrap();
        assert_eq!(raw::top_level(&legacy, "resultType"), None);
        assert_eq!(
            raw::top_level(&legacy, "content"),
            raw::top_level(ODD, "content")
        );
    }

    /// T11: a question of the backend is never shown as an answer.
    #[test]
    fn a_request_for_input_is_an_exact_error_for_a_legacy_client() {
        let result = r#"{"resultType":"input_required","inputRequests":{}}"#;

        let error = call_result(Era::Legacy, Era::Modern, result).unwrap_err();

        assert!(
            error.message.contains("input_required"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_tool_error_is_seen_at_the_top_level_only() {
        assert!(is_tool_error(r#"{"content":[],"isError":true}"#));
        assert!(!is_tool_error(r#"{"content":[],"isError":false}"#));
        assert!(!is_tool_error(r#"{"structuredContent":{"isError":true}}"#));
    }
}
