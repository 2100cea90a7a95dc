//! The legacy handshake.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Era, ProtocolVersion, ProtocolViolation, ServerInfo, object};
use crate::jsonrpc::quote;
use crate::limits;
use crate::text::sanitise;

const WHAT: &str = "initialize result";

/// Raw `params` of `initialize`.
#[must_use]
pub fn initialize_params(
    version: ProtocolVersion,
    client_name: &str,
    client_version: &str,
    capabilities_raw: &str,
) -> String {
    format!(
        r#"{{"protocolVersion":"{version}","capabilities":{capabilities_raw},"clientInfo":{{"name":{},"version":{}}}}}"#,
        quote(client_name),
        quote(client_version),
    )
}

/// Raw result of `initialize`, offering `capabilities_raw`.
#[must_use]
pub fn initialize_result(
    version: ProtocolVersion,
    server: &ServerInfo,
    capabilities_raw: &str,
) -> String {
    format!(
        r#"{{"protocolVersion":"{version}","capabilities":{capabilities_raw},"serverInfo":{{"name":{},"version":{}}}}}"#,
        quote(&server.name),
        quote(&server.version),
    )
}

/// What a backend answered to `initialize`. Its session, if any, is in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitializeResult {
    pub version: ProtocolVersion,
    /// Some servers do not say.
    pub server_info: Option<ServerInfo>,
    /// A raw object.
    pub capabilities_raw: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    protocol_version: String,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
}

impl InitializeResult {
    /// From the raw result.
    ///
    /// # Errors
    /// When it is no `InitializeResult`, or of a revision that we do not speak or that has no
    /// `initialize`.
    pub fn parse(raw: &str) -> Result<Self, ProtocolViolation> {
        let wire: Wire<'_> =
            serde_json::from_str(raw).map_err(|error| ProtocolViolation::shape(WHAT, &error))?;
        let version = ProtocolVersion::parse(&wire.protocol_version)
            .filter(|version| version.era() == Era::Legacy)
            .ok_or_else(|| {
                let text = sanitise(&wire.protocol_version, limits::STATUS_TEXT);
                ProtocolViolation::UnsupportedVersion(text)
            })?;
        Ok(Self {
            version,
            server_info: object(wire.server_info).and_then(ServerInfo::parse),
            capabilities_raw: object(wire.capabilities).unwrap_or("{}").to_owned(),
        })
    }

    /// Does the backend announce changes of its tools?
    #[must_use]
    pub fn announces_tools(&self) -> bool {
        announces_tools(&self.capabilities_raw)
    }
}

/// `tools.listChanged` of raw capabilities.
pub(super) fn announces_tools(capabilities_raw: &str) -> bool {
    use crate::jsonrpc::raw::top_level;
    top_level(capabilities_raw, "tools").and_then(|tools| top_level(tools, "listChanged"))
        == Some("true")
}
