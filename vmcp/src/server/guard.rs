//! Who may talk to the gateway at all: Host and Origin.
//!
//! Owns the decision against DNS rebinding and foreign web pages. Pure: it sees header texts and
//! the peer address, never a socket. `X-Forwarded-Host` is ignored on purpose: any client can
//! write it.

use std::net::IpAddr;

use crate::snapshot::Admission;

/// Why a request is refused before its body is read. Answered with HTTP 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("request has no Host header")]
    NoHost,
    #[error("host {0:?} is not allowed: add it to spec.allowedHosts or set spec.publicURL")]
    Host(String),
    #[error("origin {0:?} is not allowed: add it to spec.allowedOrigins")]
    Origin(String),
}

/// Decides by `Host` and `Origin`.
///
/// # Errors
/// Names the refused value and the field that would allow it.
pub fn admit(
    admission: &Admission,
    peer: IpAddr,
    host: Option<&str>,
    origin: Option<&str>,
) -> Result<(), Refused> {
    let host = host.ok_or(Refused::NoHost)?;
    let name = host_name(host);
    let local = peer.is_loopback() && is_local_name(name);
    let mut allowed = admission.hosts.iter();
    if !local && !allowed.any(|allowed| bare(allowed).eq_ignore_ascii_case(name)) {
        return Err(Refused::Host(host.to_owned()));
    }
    match origin {
        None => Ok(()),
        Some(origin) if is_listed(admission, origin) => Ok(()),
        Some(origin) if local && is_local_origin(origin) => Ok(()),
        Some(origin) => Err(Refused::Origin(origin.to_owned())),
    }
}

fn is_listed(admission: &Admission, origin: &str) -> bool {
    let mut listed = admission.origins.iter();
    listed.any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

fn is_local_origin(origin: &str) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| is_local_name(host_name(authority)))
}

/// The name in `name:port`, `[v6]:port` or `name`, without a root dot.
fn host_name(authority: &str) -> &str {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(inner, _)| inner),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(name, _)| name),
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// An address without the brackets that a URL puts around version 6.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

fn is_local_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 88, 0, 7));

    fn admission() -> Admission {
        Admission {
            hosts: vec!["vmcp-all.team.svc".into(), "mcp.example.com".into()],
            origins: vec!["https://app.example.com".into()],
        }
    }

    #[test]
    fn an_allowed_host_passes_with_any_port_case_and_root_dot() {
        for host in [
            "vmcp-all.team.svc",
            "VMCP-all.team.svc:8080",
            "mcp.example.com.:443",
        ] {
            assert_eq!(admit(&admission(), POD, Some(host), None), Ok(()), "{host}");
        }
    }

    #[test]
    fn an_allowed_address_of_version_6_passes_with_and_without_brackets() {
        for allowed in ["[2001:db8::1]", "2001:db8::1"] {
            let admission = Admission {
                hosts: vec![allowed.into()],
                ..Admission::default()
            };
            let host = Some("[2001:DB8::1]:8080");
            assert_eq!(admit(&admission, POD, host, None), Ok(()), "{allowed}");
        }
    }

    #[test]
    fn a_foreign_host_is_refused_by_name_and_field() {
        let refused = admit(&admission(), POD, Some("evil.example"), None);

        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("evil.example") && text.contains("spec.allowedHosts"),
            "{text}"
        );
    }

    #[test]
    fn localhost_counts_only_from_a_loopback_peer() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(
                admit(&admission(), LOOPBACK, Some(host), None),
                Ok(()),
                "{host}"
            );
            assert!(
                admit(&admission(), POD, Some(host), None).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn a_foreign_origin_is_refused_even_on_localhost() {
        let refused = admit(
            &admission(),
            LOOPBACK,
            Some("localhost:8080"),
            Some("https://evil.example"),
        );

        assert_eq!(
            refused,
            Err(Refused::Origin("https://evil.example".to_owned()))
        );
    }

    #[test]
    fn listed_and_local_origins_pass() {
        let listed = Some("https://App.example.com");
        assert_eq!(
            admit(&admission(), POD, Some("mcp.example.com"), listed),
            Ok(())
        );
        let local = Some("http://localhost:6274");
        assert_eq!(
            admit(&admission(), LOOPBACK, Some("localhost:8080"), local),
            Ok(())
        );
    }

    #[test]
    fn a_request_without_host_is_refused() {
        assert_eq!(
            admit(&admission(), LOOPBACK, None, None),
            Err(Refused::NoHost)
        );
    }
}
