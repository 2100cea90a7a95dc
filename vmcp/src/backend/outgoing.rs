//! The HTTP requests that MCP is made of.
//!
//! Owns which headers go with which era, and nothing else: no socket, no reply. Pure, so that the
//! header rules of the specification are tests. Sends no header of a client's: what may pass is
//! decided elsewhere and comes in by name.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use url::Url;

use vmcp_core::mcp::{ProtocolVersion, header};

use super::link::Outgoing;
use crate::snapshot::Endpoint;

// Names and values that are the same each time are made once: a call is mostly headers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPT_REPLY: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("vmcp/", env!("CARGO_PKG_VERSION")));
const MCP_SESSION_ID: HeaderName = HeaderName::from_static(header::MCP_SESSION_ID);
const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static(header::MCP_PROTOCOL_VERSION);
const MCP_METHOD: HeaderName = HeaderName::from_static(header::MCP_METHOD);
const MCP_NAME: HeaderName = HeaderName::from_static(header::MCP_NAME);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static(header::LAST_EVENT_ID);

/// More headers than any of our requests has.
const HEADERS: usize = 12;

/// Longest session id that is remembered; the specification sets no bound.
const MAX_SESSION_ID_BYTES: usize = 1024;

/// An `Mcp-Session-Id` of a backend. Opaque, and whoever knows it can use the session: never
/// printed.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Box<str>);

/// The header is no session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 1 to {MAX_SESSION_ID_BYTES} visible ASCII characters")]
pub struct InvalidSessionId;

impl SessionId {
    /// # Errors
    /// Anything but visible ASCII (specification 2025-11-25, transports, session management).
    pub fn parse(text: &str) -> Result<Self, InvalidSessionId> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_SESSION_ID_BYTES || !visible {
            return Err(InvalidSessionId);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl TryFrom<String> for SessionId {
    type Error = InvalidSessionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0.into()
    }
}

/// In which era, and as which session, a message is sent.
#[derive(Clone, Copy, Debug)]
pub enum Voice<'a> {
    /// `initialize`, and all of 2024-11-05: no header of MCP's own.
    Plain,
    /// After the handshake.
    Legacy {
        version: ProtocolVersion,
        session: Option<&'a SessionId>,
    },
    Modern {
        version: ProtocolVersion,
        method: &'a str,
        name: Option<&'a str>,
    },
}

/// Does the connection end with this request?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Yes,
    No,
}

/// Where requests of one URL go, as their heads say it.
#[derive(Clone, Debug)]
pub struct Address {
    uri: Uri,
    host: HeaderValue,
}

impl Address {
    /// # Errors
    /// A configured host header that no HTTP header can carry.
    pub fn of(url: &Url, endpoint: &Endpoint) -> Result<Self, http::Error> {
        let uri = match url.query() {
            Some(query) => format!("{}?{query}", url.path()).try_into()?,
            None => url.path().try_into()?,
        };
        let host = match (&endpoint.host_header, url.port()) {
            (Some(host), _) => HeaderValue::from_str(host)?,
            (None, Some(port)) => HeaderValue::from_str(&format!("{}:{port}", name(url)))?,
            (None, None) => HeaderValue::from_str(name(url))?,
        };
        Ok(Self { uri, host })
    }

    /// A POST of one JSON-RPC message.
    ///
    /// # Errors
    /// A name that no HTTP header can carry.
    pub fn post(&self, voice: Voice<'_>, body: Bytes) -> Result<Outgoing, http::Error> {
        let mut request = self.start(Method::POST, body);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, ACCEPT_REPLY);
        speak(headers, voice)?;
        Ok(request)
    }

    fn get(&self, voice: Voice<'_>) -> Result<Outgoing, http::Error> {
        let mut request = self.start(Method::GET, Bytes::new());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, ACCEPT_STREAM);
        speak(headers, voice)?;
        Ok(request)
    }

    fn start(&self, method: Method, body: Bytes) -> Outgoing {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, AGENT);
        // No decompression: a small body must not become a large one here.
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        *request.headers_mut() = headers;
        request
    }
}

/// A POST of one JSON-RPC message to the backend's URL.
///
/// # Errors
/// A configured host header or a name that no HTTP header can carry.
pub fn post(endpoint: &Endpoint, voice: Voice<'_>, body: Vec<u8>) -> Result<Outgoing, http::Error> {
    post_to(&endpoint.url, endpoint, voice, body)
}

/// As [`post`], to another URL of the same origin (2024-11-05).
///
/// # Errors
/// As [`post`].
pub fn post_to(
    url: &Url,
    endpoint: &Endpoint,
    voice: Voice<'_>,
    body: Vec<u8>,
) -> Result<Outgoing, http::Error> {
    Address::of(url, endpoint)?.post(voice, body.into())
}

/// The GET that opens a 2024-11-05 stream.
///
/// # Errors
/// As [`post`].
pub fn get_stream(endpoint: &Endpoint) -> Result<Outgoing, http::Error> {
    Address::of(&endpoint.url, endpoint)?.get(Voice::Plain)
}

/// The GET that opens the event stream of a session, or goes on with one after an event of it.
///
/// # Errors
/// As [`post`].
pub fn listen(
    endpoint: &Endpoint,
    voice: Voice<'_>,
    after: Option<&str>,
) -> Result<Outgoing, http::Error> {
    let mut request = Address::of(&endpoint.url, endpoint)?.get(voice)?;
    // An id that no header can hold cannot be gone on with.
    if let Some(after) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
        request.headers_mut().insert(LAST_EVENT_ID, after);
    }
    Ok(request)
}

/// The DELETE that ends a session (T7).
///
/// # Errors
/// As [`post`].
pub fn delete(
    endpoint: &Endpoint,
    version: ProtocolVersion,
    session: &SessionId,
) -> Result<Outgoing, http::Error> {
    let voice = Voice::Legacy {
        version,
        session: Some(session),
    };
    let mut request = Address::of(&endpoint.url, endpoint)?.start(Method::DELETE, Bytes::new());
    let headers = request.headers_mut();
    headers.insert(ACCEPT, ACCEPT_REPLY);
    speak(headers, voice)?;
    Ok(request)
}

/// Says that the connection ends after this request.
#[must_use]
pub fn ending(mut request: Outgoing, last: Last) -> Outgoing {
    if last == Last::Yes {
        request
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    request
}

/// Adds `Mcp-Param-*` headers; no other may pass here.
///
/// # Errors
/// A name or a value that no header can carry.
pub fn add(request: &mut Outgoing, params: &[(Box<str>, Box<str>)]) -> Result<(), http::Error> {
    for (name, value) in params {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        if name.as_str().starts_with(header::MCP_PARAM_PREFIX) {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(())
}

fn name(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn speak(headers: &mut HeaderMap, voice: Voice<'_>) -> Result<(), http::Error> {
    match voice {
        Voice::Plain => {}
        Voice::Legacy { version, session } => {
            tell_version(headers, version);
            if let Some(id) = session {
                headers.insert(MCP_SESSION_ID, HeaderValue::from_str(id.as_str())?);
            }
        }
        Voice::Modern {
            version,
            method,
            name,
        } => {
            tell_version(headers, version);
            headers.insert(MCP_METHOD, HeaderValue::from_str(method)?);
            if let Some(name) = name {
                let name = header::encode_name(name);
                headers.insert(MCP_NAME, HeaderValue::from_str(&name)?);
            }
        }
    }
    Ok(())
}

/// The header exists since 2025-06-18; a 2025-03-26 server does not know it.
fn tell_version(headers: &mut HeaderMap, version: ProtocolVersion) {
    match version {
        ProtocolVersion::V2024_11_05 | ProtocolVersion::V2025_03_26 => {}
        _ => {
            let version = HeaderValue::from_static(version.as_str());
            headers.insert(MCP_PROTOCOL_VERSION, version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(request: &'a Outgoing, name: &str) -> Option<&'a str> {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
    }

    /// Headers by era (mcp.md, "Revisions").
    #[test]
    fn each_era_has_its_headers() {
        let endpoint = Endpoint::plain("http://h:8080/mcp?x=1");
        let session = SessionId::parse("abc").unwrap();

        let plain = post(&endpoint, Voice::Plain, Vec::new()).unwrap();
        assert_eq!(header(&plain, "mcp-protocol-version"), None);
        assert_eq!(header(&plain, "mcp-session-id"), None);
        assert_eq!(header(&plain, "host"), Some("h:8080"));
        assert_eq!(header(&plain, "accept-encoding"), Some("identity"));
        assert_eq!(plain.uri(), "/mcp?x=1");

        let version = ProtocolVersion::V2025_06_18;
        let voice = Voice::Legacy {
            version,
            session: Some(&session),
        };
        let legacy = post(&endpoint, voice, Vec::new()).unwrap();
        assert_eq!(header(&legacy, "mcp-protocol-version"), Some("2025-06-18"));
        assert_eq!(header(&legacy, "mcp-session-id"), Some("abc"));

        // The version header came with 2025-06-18.
        let voice = Voice::Legacy {
            version: ProtocolVersion::V2025_03_26,
            session: None,
        };
        let older = post(&endpoint, voice, Vec::new()).unwrap();
        assert_eq!(header(&older, "mcp-protocol-version"), None);

        let voice = Voice::Modern {
            version: ProtocolVersion::V2026_07_28,
            method: "tools/call",
            name: Some("w\u{e9}tter"),
        };
        let modern = post(&endpoint, voice, Vec::new()).unwrap();
        assert_eq!(header(&modern, "mcp-method"), Some("tools/call"));
        assert_eq!(header(&modern, "mcp-name"), Some("=?base64?d8OpdHRlcg==?="));
        assert_eq!(header(&modern, "mcp-session-id"), None);
    }

    /// T3: the Host that a server insists on; a default port is not part of it otherwise.
    #[test]
    fn the_host_is_the_urls_unless_the_spec_names_one() {
        let mut endpoint = Endpoint::plain("https://tools.example/mcp");
        let request = post(&endpoint, Voice::Plain, Vec::new()).unwrap();
        assert_eq!(header(&request, "host"), Some("tools.example"));

        endpoint.host_header = Some("inner.example".into());
        let request = get_stream(&endpoint).unwrap();
        assert_eq!(header(&request, "host"), Some("inner.example"));

        endpoint.host_header = Some("bad\nvalue".into());
        assert!(post(&endpoint, Voice::Plain, Vec::new()).is_err());
    }

    /// A session id that no header may hold is none.
    #[test]
    fn session_ids_are_visible_ascii() {
        assert!(SessionId::parse("a-b_c.~!").is_ok());
        for bad in ["", "a b", "a\r\nb", "\u{e9}", &"x".repeat(2000)] {
            assert!(SessionId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
