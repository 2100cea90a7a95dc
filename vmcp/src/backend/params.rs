//! The params of a call, as its backend is to read them.
//!
//! Owns what of the client's `_meta` goes on: to a modern backend all of it, and what is missing; to
//! a legacy one nothing that its era does not know. Our progress token stands in for the client's.

use std::borrow::Cow;

use vmcp_core::jsonrpc::{self, RequestId, raw};
use vmcp_core::mcp::{ProtocolVersion, meta, progress};

use crate::gateway::port::{KnownMeta, UpstreamRequest};

/// `clientInfo` where the client gives none.
const OWN_INFO: &str = concat!(
    r#"{"name":"vmcp","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// Our progress token and the client's, raw.
pub(super) type Token = Option<(Box<str>, Box<str>)>;

/// Our token is the id of the request.
pub(super) fn legacy<'a>(
    request: &'a UpstreamRequest,
    id: &RequestId,
) -> (Token, Option<Cow<'a, str>>) {
    let params = request.params.as_deref();
    if request.known_meta == KnownMeta::Absent {
        debug_assert!(params.is_none_or(|raw| raw::top_level(raw, "_meta").is_none()));
        return (None, params.map(Cow::Borrowed));
    }
    let Some(params) = params.map(meta::legacy_params) else {
        return (None, None);
    };
    let Some(theirs) = progress::wanted(&params) else {
        return (None, Some(params));
    };
    let token = (id.to_raw().into(), theirs.into());
    let params = progress::with_token(&params, id.to_raw()).into_owned();
    (Some(token), Some(params.into()))
}

/// With all that the request says of its client.
pub(super) fn modern<'a>(
    request: &'a UpstreamRequest,
    id: &RequestId,
    version: ProtocolVersion,
) -> (Token, Option<Cow<'a, str>>) {
    let params = request.params.as_deref();
    if request.known_meta == KnownMeta::Says(version) {
        debug_assert_eq!(params, Some(&*told(request, version, &None)));
        debug_assert!(params.and_then(progress::wanted).is_none());
        return (None, params.map(Cow::Borrowed));
    }
    let wanted = params.and_then(progress::wanted);
    let token: Token = wanted.map(|theirs| (id.to_raw().into(), theirs.into()));
    let params = told(request, version, &token);
    (token, Some(params.into()))
}

fn told(request: &UpstreamRequest, version: ProtocolVersion, token: &Token) -> String {
    let client = Client {
        capabilities: request.client_capabilities.as_deref(),
        info: request.client_info.as_deref(),
        log_level: request.log_level.as_deref(),
    };
    let ours = token.as_ref().map(|(ours, _)| &**ours);
    client.in_params(request.params.as_deref(), version, ours)
}

/// What a modern backend is told of the client, raw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) capabilities: Option<&'a str>,
    pub(super) info: Option<&'a str>,
    pub(super) log_level: Option<&'a str>,
}

impl Client<'_> {
    /// The params with all of it.
    pub(super) fn in_params(
        self,
        params: Option<&str>,
        version: ProtocolVersion,
        progress_token: Option<&str>,
    ) -> String {
        let version = jsonrpc::quote(version.as_str());
        let mut members = vec![
            (meta::PROTOCOL_VERSION, &*version),
            (meta::CLIENT_CAPABILITIES, self.capabilities.unwrap_or("{}")),
            (meta::CLIENT_INFO, self.info.unwrap_or(OWN_INFO)),
        ];
        members.extend(self.log_level.map(|level| (meta::LOG_LEVEL, level)));
        members.extend(progress_token.map(|token| (meta::PROGRESS_TOKEN, token)));
        meta::with_meta(params, &members)
    }
}
