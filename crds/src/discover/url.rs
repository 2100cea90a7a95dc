//! The URL of a backend, taken apart once.

use std::fmt;

use crate::mcpserver::{MCPServerSpec, Remote};

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendUrl {
    pub scheme: Scheme,
    /// As it stands in a URL: an IPv6 address has its brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// The two schemes that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme need not name.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a URL cannot be used; reads on from "the URL ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("cannot be parsed ({0})")]
    Syntax(::url::ParseError),
    #[error("has no http or https scheme")]
    Scheme,
    #[error("is plain http")]
    Insecure,
    #[error("has no host")]
    NoHost,
    #[error("holds a user name or a password")]
    Credentials,
    #[error("has a fragment")]
    Fragment,
    #[error("has port 0")]
    NoPort,
}

impl UrlError {
    /// What the author of the URL can do.
    pub(super) const fn fix(self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::NoHost => "write it as https://host[:port]/path",
            Self::Scheme => "begin it with https://",
            Self::Insecure => "use https, or set spec.remote.allowInsecure: true",
            Self::Credentials => "remove them: whoever may read the object could read them",
            Self::Fragment => "remove everything from the # on",
            Self::NoPort => "name a port of 1 to 65535, or none",
        }
    }
}

impl BackendUrl {
    /// The host as a resolver or a socket wants it: an IPv6 address without brackets.
    #[must_use]
    pub fn dial_host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// Host, and port where it is not the scheme's own: the value of a Host header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// A path in the URL stands; `spec.path` or the transport's default fills a missing one.
    pub(super) fn parse_remote(remote: &Remote, spec: &MCPServerSpec) -> Result<Self, UrlError> {
        let parsed = ::url::Url::parse(&remote.url).map_err(UrlError::Syntax)?;
        let scheme = match parsed.scheme() {
            "https" => Scheme::Https,
            "http" if remote.allow_insecure => Scheme::Http,
            "http" => return Err(UrlError::Insecure),
            _ => return Err(UrlError::Scheme),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if parsed.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let host = parsed
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(UrlError::NoHost)?;
        let port = parsed.port().unwrap_or_else(|| scheme.default_port());
        if port == 0 {
            return Err(UrlError::NoPort);
        }
        let mut path = match parsed.path() {
            "" | "/" => spec.effective_path().to_owned(),
            path => path.to_owned(),
        };
        if let Some(query) = parsed.query() {
            path.push('?');
            path.push_str(query);
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
            path,
        })
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority(),
            self.path
        )
    }
}
