//! Which of our endpoints a path means, and what may be done there.
//!
//! Owns the paths and the methods of each. Never looks at a body.

use hyper::Method;

use vmcp_core::id::BackendName;
use vmcp_core::limits;
use vmcp_core::mcp::{Era, ProtocolVersion};

use crate::gateway::message::{Accepts, EndpointPath, Facts};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/mcp` and `/mcp/{backend}`.
    Mcp(EndpointPath),
    /// `/sse`: the stream of a 2024-11-05 client.
    Events,
    /// `/messages`: what such a client says.
    Messages,
}

/// Why a method is not served, whatever the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("method not allowed here")]
    Method { allowed: &'static str },
    /// The specification knows this one status for a GET that gets no stream.
    #[error("GET needs header Accept: text/event-stream")]
    NoStream { allowed: &'static str },
    #[error("revision 2026-07-28 has neither GET nor DELETE")]
    Modern { allowed: &'static str },
    #[error("header MCP-Protocol-Version names no revision that is served here")]
    Version,
}

impl Endpoint {
    pub(super) const PATHS: &str = "/mcp, /mcp/{backend}, /sse and /messages";

    /// `None`: there is no such path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        match path {
            "/mcp" => Some(Self::Mcp(EndpointPath::All)),
            "/sse" => Some(Self::Events),
            "/messages" => Some(Self::Messages),
            _ => {
                let name = path.strip_prefix("/mcp/").and_then(backend)?;
                Some(Self::Mcp(EndpointPath::Backend(name)))
            }
        }
    }

    pub(super) const fn methods(&self) -> &'static str {
        match self {
            Self::Mcp(_) => "GET, POST, DELETE, OPTIONS",
            Self::Events => "GET, OPTIONS",
            Self::Messages => "POST, OPTIONS",
        }
    }

    /// What can be refused by method and headers alone.
    pub(super) fn check(&self, method: &Method, facts: &Facts<'_>) -> Result<(), Refused> {
        let allowed = self.methods();
        match (self, method) {
            (Self::Mcp(_) | Self::Messages, &Method::POST) => Ok(()),
            (Self::Mcp(_), &Method::GET | &Method::DELETE) => {
                let version = facts
                    .protocol_version
                    .as_deref()
                    .map(ProtocolVersion::parse);
                match version {
                    Some(None) => return Err(Refused::Version),
                    Some(Some(version)) if version.era() == Era::Modern => {
                        let allowed = "POST, OPTIONS";
                        return Err(Refused::Modern { allowed });
                    }
                    _ => {}
                }
                if method == Method::GET && facts.accepts == Accepts::JsonOnly {
                    let allowed = "POST, DELETE, OPTIONS";
                    return Err(Refused::NoStream { allowed });
                }
                Ok(())
            }
            (Self::Events, &Method::GET) if facts.accepts == Accepts::JsonOnly => {
                Err(Refused::NoStream { allowed: "OPTIONS" })
            }
            (Self::Events, &Method::GET) => Ok(()),
            _ => Err(Refused::Method { allowed }),
        }
    }
}

/// A name as it may stand in `metadata.name`; anything else names no backend.
fn backend(encoded: &str) -> Option<BackendName> {
    let name = decoded(encoded)?;
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let fits = bytes.len() <= limits::BACKEND_NAME
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(is_plain)
        && bytes.iter().all(|byte| is_plain(byte) || *byte == b'-');
    fits.then(|| BackendName(name.into()))
}

/// Percent-decoded; `None` for a broken escape or what is no text.
fn decoded(encoded: &str) -> Option<String> {
    if !encoded.contains('%') {
        return Some(encoded.to_owned());
    }
    let mut bytes = encoded.bytes();
    let mut out = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: Option<&str>, accepts: Accepts) -> Facts<'_> {
        Facts {
            session: None,
            protocol_version: version.map(Into::into),
            method: None,
            name: None,
            accepts,
            last_event_id: None,
            param_headers: Vec::new(),
            path: EndpointPath::All,
        }
    }

    #[test]
    fn a_path_names_everything_or_one_backend() {
        let one = |name: &str| {
            let name = BackendName(name.into());
            Some(Endpoint::Mcp(EndpointPath::Backend(name)))
        };
        assert_eq!(
            Endpoint::parse("/mcp"),
            Some(Endpoint::Mcp(EndpointPath::All))
        );
        assert_eq!(Endpoint::parse("/mcp/time-2"), one("time-2"));
        assert_eq!(Endpoint::parse("/mcp/%74ime%2D2"), one("time-2"));
        assert_eq!(Endpoint::parse("/sse"), Some(Endpoint::Events));
        assert_eq!(Endpoint::parse("/messages"), Some(Endpoint::Messages));
    }

    #[test]
    fn a_path_that_can_name_no_backend_is_none() {
        let long = format!("/mcp/{}", "a".repeat(limits::BACKEND_NAME + 1));
        for path in [
            "/",
            "/mcp/",
            "/mcp/a/b",
            "/mcp/a%2Fb",
            "/mcp/%",
            "/mcp/%4",
            "/mcp/%zz",
            "/mcp/%ff",
            "/mcp/%+41",
            "/mcp/A",
            "/mcp/..",
            "/mcp/-a",
            "/mcp/a-",
            "/mcp/1a",
            "/mcp/a.b",
            "/mcp/a%00",
            "/sse/",
            "/mcpx",
            &long,
        ] {
            assert_eq!(Endpoint::parse(path), None, "{path}");
        }
    }

    #[test]
    fn modern_clients_have_only_post() {
        let mcp = Endpoint::Mcp(EndpointPath::All);
        let modern = facts(Some("2026-07-28"), Accepts::JsonOrEvents);

        assert_eq!(mcp.check(&Method::POST, &modern), Ok(()));
        for method in [Method::GET, Method::DELETE] {
            let refused = Refused::Modern {
                allowed: "POST, OPTIONS",
            };
            assert_eq!(mcp.check(&method, &modern), Err(refused), "{method}");
        }
    }

    #[test]
    fn a_version_that_nobody_knows_is_refused_on_every_method() {
        let mcp = Endpoint::Mcp(EndpointPath::All);
        let odd = facts(Some("1999-01-01"), Accepts::JsonOrEvents);
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(mcp.check(&method, &odd), Err(Refused::Version), "{method}");
        }
    }

    #[test]
    fn every_endpoint_has_its_own_methods() {
        let any = facts(None, Accepts::JsonOrEvents);
        for (endpoint, allowed) in [
            (
                Endpoint::Mcp(EndpointPath::All),
                &["GET", "POST", "DELETE"][..],
            ),
            (Endpoint::Events, &["GET"]),
            (Endpoint::Messages, &["POST"]),
        ] {
            for method in ["GET", "POST", "DELETE", "PUT", "HEAD", "PATCH"] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let checked = endpoint.check(&method, &any).is_ok();
                assert_eq!(checked, allowed.contains(&method.as_str()), "{method}");
            }
        }
    }
}
