//! Headers of a request, by meaning.
//!
//! Owns the reading of what a client says outside the body. Judges nothing but media types.

use hyper::Uri;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use vmcp_core::mcp::header;

use super::endpoint::Endpoint;
use crate::gateway::message::{Accepts, EndpointPath, Facts};

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
        if values.peek().is_none() {
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

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(super) fn facts(headers: &HeaderMap, uri: &Uri, endpoint: &Endpoint, wanted: Wanted) -> Facts {
    let owned = |name| text(headers, name).map(Box::from);
    let (session, path) = match endpoint {
        Endpoint::Mcp(path) => (owned(header::MCP_SESSION_ID), path.clone()),
        Endpoint::Events => (None, EndpointPath::All),
        Endpoint::Messages => (session_in(uri), EndpointPath::All),
    };
    Facts {
        session,
        protocol_version: owned(header::MCP_PROTOCOL_VERSION),
        method: owned(header::MCP_METHOD),
        name: owned(header::MCP_NAME),
        accepts: match wanted {
            Wanted::Json | Wanted::Nothing => Accepts::JsonOnly,
            Wanted::Events | Wanted::Either => Accepts::JsonOrEvents,
        },
        last_event_id: owned(header::LAST_EVENT_ID),
        param_headers: param_headers(headers),
        path,
    }
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &str| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    };
    text(headers, CONTENT_TYPE.as_str()).is_some_and(essence)
}

/// `sessionId` as we wrote it into the `endpoint` event: it needs no escapes.
fn session_in(uri: &Uri) -> Option<Box<str>> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("sessionId=").map(Box::from))
}

/// Arguments that a modern client repeats in headers.
fn param_headers(headers: &HeaderMap) -> Vec<(Box<str>, Box<str>)> {
    let params = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str();
        let value = value.to_str().ok()?;
        name.starts_with(header::MCP_PARAM_PREFIX)
            .then(|| (name.into(), value.into()))
    });
    params.collect()
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
