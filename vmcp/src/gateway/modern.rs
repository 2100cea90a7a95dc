//! Requests of modern clients: revision 2026-07-28.
//!
//! Owns the per-request envelope: which headers and `_meta` members must be there and agree, in
//! the order in which the specification rejects, and the dispatch by method. No session, no state.

use std::time::Instant;

use serde_json::value::RawValue;

use vmcp_core::jsonrpc::{Message, Request, RpcError, raw};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{
    Era, ModernMeta, Params, ProtocolVersion, discover_result, header, known_method, meta, method,
    subject_of, task,
};

use super::Gateway;
use super::aim::is_forwarded;
use super::forward::{Asked, Caller};
use super::legacy::{CAPABILITIES, is_log_level, method_not_found, server_info};
use super::list::listed;
use super::message::{Answer, Facts};
use super::meter::RequestKind;
use super::port::{KnownMeta, SessionScope};
use super::tasks;

/// How long a client may keep the answer of `server/discover`: it changes with our version only.
const DISCOVER_TTL_MS: u64 = 60_000;

/// Does this message claim to be of a modern revision? The body decides first, as the
/// specification says; the header alone is enough, so that a lost envelope is told and not taken
/// for a legacy request.
pub(super) fn claims(facts: &Facts<'_>, message: &Message<'_>) -> bool {
    let params = match message {
        Message::Request(request) if request.method == method::SERVER_DISCOVER => return true,
        Message::Request(request) => request.params,
        Message::Notification(notification) => notification.params,
        Message::Response(_) => None,
    };
    let named = facts.protocol_version.as_deref();
    if named
        .and_then(ProtocolVersion::parse)
        .is_some_and(|version| version.era() == Era::Modern)
    {
        return true;
    }
    params
        .map(RawValue::get)
        .is_some_and(|params| meta::may_be_modern(params) && ModernMeta::parse(params).is_some())
}

impl Gateway {
    pub(super) async fn modern_request(&self, facts: &Facts<'_>, request: &Request<'_>) -> Answer {
        let started = Instant::now();
        let params = Params::read(&request.method, request.params.map_or("{}", RawValue::get));
        let envelope = match check(facts, &request.method, &params) {
            Ok(envelope) => envelope,
            Err((status, error)) => {
                let answer = Answer::error(status, &request.id, &error);
                self.record(&request.method, RequestKind::Other, &answer, started);
                return answer;
            }
        };
        if is_forwarded(&request.method) || task::is_about_task(&request.method) {
            let caller = modern_caller(facts, &envelope);
            let asked = Asked {
                id: &request.id,
                method: known_method(&request.method),
                known_meta: known_meta(&params, &envelope, &caller),
                params,
                started,
            };
            return self.forward(caller, &asked).await;
        }
        let answer = match &*request.method {
            method::SERVER_DISCOVER => Answer::result(&request.id, &self.discover_result()),
            method::SUBSCRIPTIONS_LISTEN => {
                let caller = modern_caller(facts, &envelope);
                self.listen(&caller, request).await
            }
            other => match listed(other) {
                Some(kind) => self.list(kind, Era::Modern, &facts.path, request),
                None => Answer::error(404, &request.id, &method_not_found(other)),
            },
        };
        let kind = RequestKind::of(&request.method);
        self.record(&request.method, kind, &answer, started);
        answer
    }

    fn discover_result(&self) -> String {
        let info = server_info(&self.snapshots.current.load().name);
        let extensions = format!(r#"{{"{}":{{}}}}"#, task::EXTENSION);
        let capabilities = raw::with_members(CAPABILITIES, &[("extensions", &extensions)]);
        discover_result(&info, &capabilities, DISCOVER_TTL_MS)
    }
}

pub(super) fn invalid_request(text: impl Into<String>) -> RpcError {
    RpcError::new(code::INVALID_REQUEST, text)
}

fn modern_caller(facts: &Facts<'_>, envelope: &ModernMeta<'_>) -> Caller {
    Caller {
        era: Era::Modern,
        scope: SessionScope::Lease,
        accepts: facts.accepts,
        capabilities: envelope.client_capabilities_raw.map(tasks::relayed),
        version: ProtocolVersion::LATEST_LEGACY,
        log_level: envelope
            .log_level_raw
            .filter(|raw| names_level(raw))
            .map(Into::into),
        info: envelope.client_info_raw.map(Into::into),
        path: facts.path.clone(),
        param_headers: facts.param_headers.clone(),
        cancel: None,
    }
}

fn names_level(raw: &str) -> bool {
    serde_json::from_str::<String>(raw).is_ok_and(|level| is_log_level(&level))
}

/// May a modern backend get `_meta` as it came?
fn known_meta(params: &Params<'_>, envelope: &ModernMeta<'_>, caller: &Caller) -> KnownMeta {
    let as_relayed = caller.capabilities.as_deref() == envelope.client_capabilities_raw;
    let says_who = envelope.client_info_raw.is_some();
    let is_clear = params.is_clear() && envelope.is_clear;
    if !(as_relayed && says_who && is_clear && envelope.progress_token_raw.is_none()) {
        return KnownMeta::Unread;
    }
    match ProtocolVersion::parse(&envelope.protocol_version) {
        Some(version) => KnownMeta::Says(version),
        None => KnownMeta::Unread,
    }
}

/// The envelope of a request, or the status and error that the specification asks for.
fn check<'a>(
    facts: &Facts<'_>,
    method: &str,
    params: &Params<'a>,
) -> Result<ModernMeta<'a>, (u16, RpcError)> {
    let Some(envelope) = params.meta().and_then(ModernMeta::of) else {
        return Err((400, missing(meta::PROTOCOL_VERSION)));
    };
    check_version(facts, &envelope)?;
    if envelope.client_capabilities_raw.is_none() {
        return Err((400, missing(meta::CLIENT_CAPABILITIES)));
    }
    check_header("Mcp-Method", facts.method.as_deref(), Some(method))?;
    if !has_name(method) {
        return Ok(envelope);
    }
    let header = match facts.name.as_deref().map(header::decode_name) {
        None => None,
        Some(Ok(name)) => Some(name),
        Some(Err(error)) => return Err((400, mismatch(format!("header Mcp-Name: {error}")))),
    };
    let named = params.subject().ok();
    check_header("Mcp-Name", header.as_deref(), named.as_deref())?;
    Ok(envelope)
}

/// Does `Mcp-Name` repeat what it is about? Of the subscriptions of legacy clients there is no more.
fn has_name(method: &str) -> bool {
    let gone = matches!(
        method,
        method::RESOURCES_SUBSCRIBE | method::RESOURCES_UNSUBSCRIBE
    );
    subject_of(method).is_some() && !gone
}

fn check_version(facts: &Facts<'_>, envelope: &ModernMeta<'_>) -> Result<(), (u16, RpcError)> {
    let requested = &*envelope.protocol_version;
    check_header(
        "MCP-Protocol-Version",
        facts.protocol_version.as_deref(),
        Some(requested),
    )?;
    let supported =
        ProtocolVersion::parse(requested).is_some_and(|version| version.era() == Era::Modern);
    if supported {
        return Ok(());
    }
    let supported: Vec<_> = ProtocolVersion::ALL
        .iter()
        .map(|version| version.as_str())
        .collect();
    let data = serde_json::json!({ "supported": supported, "requested": requested });
    let error = RpcError::new(
        code::UNSUPPORTED_PROTOCOL_VERSION,
        format!("unsupported protocol version: {requested}"),
    );
    Err((400, error.with_data(&data)))
}

fn check_header(
    name: &str,
    header: Option<&str>,
    body: Option<&str>,
) -> Result<(), (u16, RpcError)> {
    match (header, body) {
        (Some(header), Some(body)) if header == body => Ok(()),
        (None, _) => Err((400, mismatch(format!("header {name} is missing")))),
        // A body without the member is the method's own invalid-params error.
        (Some(_), None) => Ok(()),
        (Some(header), Some(body)) => Err((
            400,
            mismatch(format!(
                "header {name} is {header:?}, the body says {body:?}"
            )),
        )),
    }
}

fn mismatch(text: String) -> RpcError {
    RpcError::new(code::HEADER_MISMATCH, text)
}

fn missing(key: &str) -> RpcError {
    RpcError::new(
        code::INVALID_PARAMS,
        format!("params._meta[{key:?}] is missing"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::message::{Accepts, EndpointPath};
    use super::*;

    fn known(params: &str) -> KnownMeta {
        let facts = Facts {
            session: None,
            protocol_version: None,
            method: None,
            name: None,
            accepts: Accepts::JsonOrEvents,
            last_event_id: None,
            param_headers: Vec::new(),
            path: EndpointPath::All,
        };
        let params = Params::read(method::TOOLS_CALL, params);
        let envelope = params.meta().and_then(ModernMeta::of).unwrap();
        known_meta(&params, &envelope, &modern_caller(&facts, &envelope))
    }

    /// T22: `_meta` goes on unread only where a modern backend is to be told nothing else.
    #[test]
    fn what_would_be_told_otherwise_is_read() {
        let with = |capabilities: &str, more: &str| {
            format!(
                r#"{{"name":"t","_meta":{{"{}":"2026-07-28","{}":{capabilities}{more}}}}}"#,
                meta::PROTOCOL_VERSION,
                meta::CLIENT_CAPABILITIES
            )
        };
        let info = format!(r#","{}":{{"name":"c"}}"#, meta::CLIENT_INFO);
        let as_it_came = KnownMeta::Says(ProtocolVersion::V2026_07_28);

        assert_eq!(known(&with("{}", &info)), as_it_came);
        assert_eq!(known(&with("{}", &format!(r#"{info},"x":1"#))), as_it_came);
        let unread = [
            with("{}", ""),
            with("{}", &format!(r#"{info},"progressToken":1"#)),
            with("{}", &format!(r#"{info}{info}"#)),
            with(r#"{"extensions":{"x/y":{}}}"#, &info),
            with("{}", &info).replace(r#""name":"t""#, r#""name":"t","name":"u""#),
        ];
        for params in unread {
            assert_eq!(known(&params), KnownMeta::Unread, "{params}");
        }
    }
}
