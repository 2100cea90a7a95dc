//! The modern handshake that is none: `server/discover`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::initialize::announces_tools;
use super::{Era, ProtocolVersion, ProtocolViolation, ServerInfo, meta, object};
use crate::jsonrpc::{RpcError, quote, raw};
use crate::limits;
use crate::text::sanitise;

const WHAT: &str = "server/discover result";

/// Versions that are remembered of a server's list; more is noise.
const VERSIONS_KEPT: usize = 32;

/// Raw `params` of `server/discover`.
#[must_use]
pub fn discover_params(
    version: ProtocolVersion,
    client_name: &str,
    client_version: &str,
    capabilities_raw: &str,
) -> String {
    let info = format!(
        r#"{{"name":{},"version":{}}}"#,
        quote(client_name),
        quote(client_version)
    );
    meta::modern_params(None, version, capabilities_raw, Some(&info))
}

/// Raw result of `server/discover`, offering `capabilities_raw`.
#[must_use]
pub fn discover_result(server: &ServerInfo, capabilities_raw: &str, ttl_ms: u64) -> String {
    let versions: Vec<_> = ProtocolVersion::ALL
        .iter()
        .rev()
        .map(|version| quote(version.as_str()))
        .collect();
    let info = format!(
        r#"{{"name":{},"version":{}}}"#,
        quote(&server.name),
        quote(&server.version)
    );
    format!(
        r#"{{"resultType":"complete","supportedVersions":[{}],"capabilities":{capabilities_raw},"serverInfo":{info},"ttlMs":{ttl_ms},"cacheScope":"public","_meta":{{"{}":{info}}}}}"#,
        versions.join(","),
        meta::SERVER_INFO,
    )
}

/// What a backend answered to `server/discover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverResult {
    /// As the server spelled them, unknown ones too.
    pub supported: Vec<String>,
    pub server_info: Option<ServerInfo>,
    /// A raw object.
    pub capabilities_raw: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    supported_versions: Vec<String>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

impl DiscoverResult {
    /// From the raw result.
    ///
    /// # Errors
    /// When it is no `DiscoverResult`.
    pub fn parse(raw: &str) -> Result<Self, ProtocolViolation> {
        let wire: Wire<'_> =
            serde_json::from_str(raw).map_err(|error| ProtocolViolation::shape(WHAT, &error))?;
        let server_info = object(wire.meta)
            .and_then(|meta| raw::top_level(meta, meta::SERVER_INFO))
            .and_then(ServerInfo::parse)
            .or_else(|| object(wire.server_info).and_then(ServerInfo::parse));
        Ok(Self {
            supported: kept(wire.supported_versions),
            server_info,
            capabilities_raw: object(wire.capabilities).unwrap_or("{}").to_owned(),
        })
    }

    /// The newest modern revision that both speak.
    #[must_use]
    pub fn modern_version(&self) -> Option<ProtocolVersion> {
        best(&self.supported, Era::Modern)
    }

    /// The newest legacy revision in the list. Its absence proves nothing: some servers list only
    /// their modern revisions though they speak both.
    #[must_use]
    pub fn legacy_version(&self) -> Option<ProtocolVersion> {
        best(&self.supported, Era::Legacy)
    }

    /// Does the backend announce changes of its tools?
    #[must_use]
    pub fn announces_tools(&self) -> bool {
        announces_tools(&self.capabilities_raw)
    }
}

/// `data` of error -32022.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UnsupportedVersions {
    #[serde(default)]
    pub supported: Vec<String>,
}

impl UnsupportedVersions {
    /// `None` where the error is another one. Without readable data the list is empty.
    #[must_use]
    pub fn of(error: &RpcError) -> Option<Self> {
        if error.code != super::error::code::UNSUPPORTED_PROTOCOL_VERSION {
            return None;
        }
        let found: Self = error
            .data_raw()
            .and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default();
        Some(Self {
            supported: kept(found.supported),
        })
    }

    /// The newest revision of an era that both speak.
    #[must_use]
    pub fn version(&self, era: Era) -> Option<ProtocolVersion> {
        best(&self.supported, era)
    }
}

fn best(supported: &[String], era: Era) -> Option<ProtocolVersion> {
    let known = supported
        .iter()
        .filter_map(|text| ProtocolVersion::parse(text));
    known.filter(|version| version.era() == era).max()
}

fn kept(versions: Vec<String>) -> Vec<String> {
    versions
        .into_iter()
        .take(VERSIONS_KEPT)
        .map(|version| sanitise(&version, limits::NAME_WARN))
        .collect()
}
