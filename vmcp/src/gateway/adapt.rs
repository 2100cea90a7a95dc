//! The one place where a result changes on its way from a backend of one era to a client of the
//! other.
//!
//! Owns the members that an era demands or forbids at the top level of a result. Everything else
//! passes byte for byte (T22); between equal eras nothing is touched at all. Never turns what it
//! does not understand into success (T11).

use std::borrow::Cow;

use vmcp_core::jsonrpc::{RpcError, raw};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, method};

use super::failure::is_about_resources;

/// Members that only modern results have.
const MODERN_MEMBERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// What a modern result of any method has.
const COMPLETE: (&str, &str) = ("resultType", "\"complete\"");

/// What a modern `resources/read` has besides. A legacy backend says nothing about caching, and who
/// may read what is its own affair.
const UNCACHED: [(&str, &str); 2] = [("ttlMs", "0"), ("cacheScope", "\"private\"")];

/// The result of a request of `method`, as a client of `client` era must see it.
///
/// # Errors
/// When the backend asks for input and the client's era has no such result.
pub(super) fn result<'a>(
    client: Era,
    backend: Era,
    of: &str,
    result: &'a str,
) -> Result<Cow<'a, str>, RpcError> {
    match (client, backend) {
        (Era::Modern, Era::Legacy) if of == method::RESOURCES_READ => {
            let [ttl, scope] = UNCACHED;
            Ok(raw::with_members(result, &[COMPLETE, ttl, scope]).into())
        }
        (Era::Modern, Era::Legacy) => Ok(raw::with_members(result, &[COMPLETE]).into()),
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

/// The backend's own error of a request of `method`, as a client of `client` era must see it. Which
/// code says that there is no such resource depends on the era; everything else is the same.
pub(super) fn error(client: Era, backend: Era, of: &str, error: RpcError) -> RpcError {
    let code = match (client, backend, error.code) {
        (Era::Modern, _, code::RESOURCE_NOT_FOUND) if is_about_resources(of) => {
            code::INVALID_PARAMS
        }
        (Era::Legacy, Era::Modern, code::INVALID_PARAMS) if is_about_resources(of) => {
            code::RESOURCE_NOT_FOUND
        }
        (_, _, other) => other,
    };
    RpcError { code, ..error }
}

fn untranslatable(kind: &str) -> RpcError {
    RpcError::new(
        code::INTERNAL_ERROR,
        format!(
            "the backend answered with resultType {kind}, which this client's revision cannot take"
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
            assert_eq!(result(era, era, method::TOOLS_CALL, ODD).unwrap(), ODD);
        }
    }

    /// T22: the era's own members come and go, every other byte stays.
    #[test]
    fn only_the_members_of_the_era_come_and_go() {
        let modern = result(Era::Modern, Era::Legacy, method::TOOLS_CALL, ODD).unwrap();
        assert_eq!(raw::top_level(&modern, "resultType"), Some("\"complete\""));
        assert_eq!(raw::top_level(&modern, "x-vendor"), Some("1.10"));
        assert_eq!(raw::top_level(&modern, "n"), Some("1e400"));

        let legacy = result(Era::Legacy, Era::Modern, method::TOOLS_CALL, &modern).unwrap();
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

        let error =
            super::result(Era::Legacy, Era::Modern, method::TOOLS_CALL, result).unwrap_err();

        assert!(
            error.message.contains("input_required"),
            "{}",
            error.message
        );
    }

    /// The modern era demands to be told how long a resource may be kept.
    #[test]
    fn a_resource_of_a_legacy_backend_is_kept_by_nobody() {
        let read = result(Era::Modern, Era::Legacy, method::RESOURCES_READ, ODD).unwrap();

        assert_eq!(raw::top_level(&read, "ttlMs"), Some("0"));
        assert_eq!(raw::top_level(&read, "cacheScope"), Some("\"private\""));
        let back = result(Era::Legacy, Era::Modern, method::RESOURCES_READ, &read).unwrap();
        assert_eq!(raw::members(&back).unwrap(), raw::members(ODD).unwrap());
    }

    #[test]
    fn not_found_has_the_code_of_the_clients_era() {
        let told = |client, backend, of, code| {
            let told = error(client, backend, of, RpcError::new(code, "gone"));
            assert_eq!(told.message, "gone");
            told.code
        };
        let (read, call) = (method::RESOURCES_READ, method::TOOLS_CALL);

        assert_eq!(told(Era::Modern, Era::Legacy, read, -32_002), -32_602);
        assert_eq!(told(Era::Modern, Era::Modern, read, -32_002), -32_602);
        assert_eq!(told(Era::Legacy, Era::Modern, read, -32_602), -32_002);
        assert_eq!(told(Era::Legacy, Era::Legacy, read, -32_602), -32_602);
        assert_eq!(told(Era::Legacy, Era::Legacy, read, -32_002), -32_002);
        assert_eq!(told(Era::Legacy, Era::Modern, call, -32_602), -32_602);
        assert_eq!(told(Era::Modern, Era::Legacy, call, -32_002), -32_002);
    }
}
