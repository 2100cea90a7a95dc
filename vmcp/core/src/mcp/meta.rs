//! `params._meta` of the modern era: what each request says about its client.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::jsonrpc::{quote, raw, unquote};

pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
pub const PROGRESS_TOKEN: &str = "progressToken";

static VERSION_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PROTOCOL_VERSION));

/// The members of `_meta` that are routed or decided on; raw where they only pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModernMeta<'a> {
    pub protocol_version: Cow<'a, str>,
    /// A raw object. Required by the specification; `None` is the caller's error to tell.
    pub client_capabilities_raw: Option<&'a str>,
    pub client_info_raw: Option<&'a str>,
    pub log_level_raw: Option<&'a str>,
    pub progress_token_raw: Option<&'a str>,
    /// Whoever reads it next finds the same: none of these stands twice, and the version is spelled
    /// as it is meant.
    pub is_clear: bool,
}

/// May these be params of a modern request? Legacy ones do not have the word, and looking for it is
/// far quicker than reading.
#[must_use]
pub fn may_be_modern(params: &str) -> bool {
    VERSION_WORD.find(params.as_bytes()).is_some() || params.contains('\\')
}

impl<'a> ModernMeta<'a> {
    /// From raw `params`. `None` where they name no protocol version: that is no modern request.
    #[must_use]
    pub fn parse(params: &'a str) -> Option<Self> {
        Self::of(raw::top_level(params, "_meta")?)
    }

    /// From a raw `_meta`, as [`Self::parse`].
    #[must_use]
    pub fn of(meta: &'a str) -> Option<Self> {
        let keys = [
            PROTOCOL_VERSION,
            CLIENT_CAPABILITIES,
            CLIENT_INFO,
            LOG_LEVEL,
            PROGRESS_TOKEN,
        ];
        let found = raw::Found::look(meta, keys);
        let object = |raw: &&str| raw.starts_with('{');
        let protocol_version = unquote(found.get(0)?)?;
        Some(Self {
            is_clear: found.is_clear() && matches!(protocol_version, Cow::Borrowed(_)),
            protocol_version,
            client_capabilities_raw: found.get(1).filter(object),
            client_info_raw: found.get(2).filter(object),
            log_level_raw: found.get(3),
            progress_token_raw: found.get(4),
        })
    }
}

/// Raw `params` with members set in their `_meta`; everything else in both stays.
#[must_use]
pub fn with_meta(params: Option<&str>, members: &[(&str, &str)]) -> String {
    let params = params.unwrap_or("{}");
    let meta = raw::top_level(params, "_meta")
        .filter(|raw| raw.starts_with('{'))
        .unwrap_or("{}");
    let meta = raw::set_members(meta, members);
    raw::set_members(params, &[("_meta", &meta)])
}

/// Raw `params` as a modern backend demands them: protocol version and capabilities, and who asks.
#[must_use]
pub fn modern_params(
    params: Option<&str>,
    version: super::ProtocolVersion,
    capabilities_raw: &str,
    client_info_raw: Option<&str>,
) -> String {
    let version = quote(version.as_str());
    let mut members = vec![
        (PROTOCOL_VERSION, &*version),
        (CLIENT_CAPABILITIES, capabilities_raw),
    ];
    members.extend(client_info_raw.map(|info| (CLIENT_INFO, info)));
    with_meta(params, &members)
}

/// Raw `params` as a legacy backend may see them: a server that knows both eras takes the modern
/// keys for a modern request and refuses it, because the header says otherwise (seen).
#[must_use]
pub fn legacy_params(params: &str) -> Cow<'_, str> {
    let Some(meta) = raw::top_level(params, "_meta") else {
        return Cow::Borrowed(params);
    };
    let kept = raw::without_members(
        meta,
        &[
            PROTOCOL_VERSION,
            CLIENT_CAPABILITIES,
            CLIENT_INFO,
            LOG_LEVEL,
        ],
    );
    match raw::members(&kept) {
        _ if kept == meta => Cow::Borrowed(params),
        Ok(members) if members.is_empty() => raw::without_members(params, &["_meta"]).into(),
        _ => raw::set_members(params, &[("_meta", &kept)]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T22: what a modern client says about itself stays behind, everything else goes on.
    #[test]
    fn a_legacy_backend_sees_nothing_of_the_modern_era() {
        let modern = modern_params(
            Some(r#"{"name":"a","arguments":{"n":1.0},"_meta":{"progressToken":7,"x.dev/y":1e2}}"#),
            crate::mcp::ProtocolVersion::V2026_07_28,
            "{}",
            Some(r#"{"name":"c","version":"1"}"#),
        );

        assert_eq!(
            legacy_params(&modern),
            r#"{"name":"a","arguments":{"n":1.0},"_meta":{"progressToken":7,"x.dev/y":1e2}}"#
        );
        let bare = modern_params(
            Some(r#"{"name":"a"}"#),
            crate::mcp::ProtocolVersion::V2026_07_28,
            "{}",
            None,
        );
        assert_eq!(legacy_params(&bare), r#"{"name":"a"}"#);
        assert_eq!(legacy_params(r#"{"name":"a"}"#), r#"{"name":"a"}"#);
    }
}
