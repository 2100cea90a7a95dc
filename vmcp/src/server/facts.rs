//! Headers of a request, by meaning.
//!
//! Owns the reading of what a client says outside the body. Judges nothing but media types.

use std::borrow::Cow;

use hyper::Uri;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};

use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, ProtocolVersion, header};

use super::endpoint::Endpoint;
use crate::gateway::message::{Accepts, EndpointPath, Facts};

/// The `Accept` of the specification.
const BOTH: &str = "application/json, text/event-stream";

/// What the client's `Accept` leaves us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Json,
    Events,
    Either,
    /// Neither of the two that there are.
    Nothing,
}

impl Wanted {
    /// No `Accept` at all means that everything is welcome.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        // As clients are told to write it, and do.
        if values.peek().is_none_or(|first| *first == BOTH) {
            return Self::Either;
        }
        let (mut json, mut events) = (false, false);
        for range in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let range = range.split(';').next().unwrap_or_default().trim();
            let any = range == "*/*";
            json |= any || is_any(range, &["application/json", "application/*"]);
            events |= any || is_any(range, &["text/event-stream", "text/*"]);
        }
        match (json, events) {
            (true, true) => Self::Either,
            (true, false) => Self::Json,
            (false, true) => Self::Events,
            (false, false) => Self::Nothing,
        }
    }
}

const JSON: &str = "application/json";

/// Headers that say one thing.
const SINGLE: [&str; 5] = [
    header::MCP_SESSION_ID,
    header::MCP_PROTOCOL_VERSION,
    header::MCP_METHOD,
    header::MCP_NAME,
    header::LAST_EVENT_ID,
];

pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(super) fn facts<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    endpoint: &Endpoint,
    wanted: Wanted,
) -> Facts<'a> {
    let mut facts = Facts {
        session: None,
        protocol_version: None,
        method: None,
        name: None,
        accepts: match wanted {
            Wanted::Json | Wanted::Nothing => Accepts::JsonOnly,
            Wanted::Events | Wanted::Either => Accepts::JsonOrEvents,
        },
        last_event_id: None,
        param_headers: Vec::new(),
        path: EndpointPath::All,
    };
    for (name, value) in headers {
        let name = name.as_str();
        let place = match name {
            header::MCP_SESSION_ID => &mut facts.session,
            header::MCP_PROTOCOL_VERSION => &mut facts.protocol_version,
            header::MCP_METHOD => &mut facts.method,
            header::MCP_NAME => &mut facts.name,
            header::LAST_EVENT_ID => &mut facts.last_event_id,
            _ => {
                if name.starts_with(header::MCP_PARAM_PREFIX)
                    && let Ok(value) = value.to_str()
                {
                    facts.param_headers.push((name.into(), value.into()));
                }
                continue;
            }
        };
        // One that comes twice is refused.
        if place.is_none() {
            *place = value.to_str().ok().map(Cow::Borrowed);
        }
    }
    match endpoint {
        Endpoint::Mcp(path) => facts.path = path.clone(),
        Endpoint::Events => facts.session = None,
        Endpoint::Messages => facts.session = session_in(uri),
    }
    facts
}

/// What is wrong with headers of which one decides and several are there: another reader may have
/// gone by another of them.
pub(super) fn repeated(headers: &HeaderMap) -> Option<RpcError> {
    if headers.len() == headers.keys_len() {
        return None;
    }
    let twice = |name: &&&str| headers.get_all(**name).iter().nth(1).is_some();
    let name = SINGLE.iter().find(twice)?;
    let modern = headers
        .get_all(header::MCP_PROTOCOL_VERSION)
        .iter()
        .filter_map(|value| ProtocolVersion::parse(value.to_str().ok()?))
        .any(|version| version.era() == Era::Modern);
    let code = if modern {
        code::HEADER_MISMATCH
    } else {
        code::INVALID_REQUEST
    };
    Some(RpcError::new(code, format!("header {name} stands twice")))
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    text(headers, CONTENT_TYPE).is_some_and(|value| {
        value == JSON || {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case(JSON)
        }
    })
}

/// `sessionId` as we wrote it into the `endpoint` event: it needs no escapes.
fn session_in(uri: &Uri) -> Option<Cow<'_, str>> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("sessionId=").map(Cow::Borrowed))
}

fn is_any(range: &str, known: &[&str]) -> bool {
    known.iter().any(|known| range.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn wanted(accept: &str) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        Wanted::of(&headers)
    }

    #[test]
    fn accept_is_read_by_media_type() {
        assert_eq!(Wanted::of(&HeaderMap::new()), Wanted::Either);
        assert_eq!(
            wanted("application/json, text/event-stream"),
            Wanted::Either
        );
        assert_eq!(wanted("text/event-stream;q=0.5,*/*"), Wanted::Either);
        assert_eq!(wanted("Application/JSON"), Wanted::Json);
        assert_eq!(wanted("text/event-stream"), Wanted::Events);
        assert_eq!(wanted("text/html, application/xml"), Wanted::Nothing);
    }

    #[test]
    fn the_session_of_messages_stands_in_the_query() {
        let uri: Uri = "/messages?x=1&sessionId=abc-_".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("mcp-session-id", HeaderValue::from_static("other"));

        let facts = facts(&headers, &uri, &Endpoint::Messages, Wanted::Either);

        assert_eq!(facts.session.as_deref(), Some("abc-_"));
    }
}
