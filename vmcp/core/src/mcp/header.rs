//! Header names of the HTTP transports, and the codec for names in header values.
//!
//! A tool name or URI that cannot stand in a header as it is travels as `=?base64?...?=`
//! (2026-07-28, streamable HTTP, server validation).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub const MCP_SESSION_ID: &str = "mcp-session-id";
pub const MCP_PROTOCOL_VERSION: &str = "mcp-protocol-version";
pub const MCP_METHOD: &str = "mcp-method";
pub const MCP_NAME: &str = "mcp-name";
pub const MCP_PARAM_PREFIX: &str = "mcp-param-";
pub const LAST_EVENT_ID: &str = "last-event-id";

const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// A header value that carries no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderNameError {
    #[error("not valid base64")]
    Base64,
    #[error("not UTF-8 inside base64")]
    Utf8,
}

/// The name as a header value: visible ASCII, no space at either end.
#[must_use]
pub fn encode_name(name: &str) -> String {
    if stands_bare(name) {
        name.to_owned()
    } else {
        format!("{PREFIX}{}{SUFFIX}", STANDARD.encode(name))
    }
}

/// The name that a header value carries.
///
/// # Errors
/// When the base64 form is broken.
pub fn decode_name(value: &str) -> Result<Cow<'_, str>, HeaderNameError> {
    match value
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
    {
        Some(inner) => {
            let bytes = STANDARD
                .decode(inner)
                .map_err(|_| HeaderNameError::Base64)?;
            let name = String::from_utf8(bytes).map_err(|_| HeaderNameError::Utf8)?;
            Ok(name.into())
        }
        None => Ok(value.into()),
    }
}

fn stands_bare(name: &str) -> bool {
    let looks_encoded = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    !name.is_empty()
        && !looks_encoded
        && name.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !name.starts_with(' ')
        && !name.ends_with(' ')
}
