//! What crosses between the HTTP edge and the use-cases.
//!
//! Owns the request as the edge hands it over and the answer as the edge writes it. Knows status
//! codes as numbers and headers by meaning; never an HTTP library.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use vmcp_core::id::BackendName;
use vmcp_core::jsonrpc::{self, RequestId, RpcError};

/// Reply forms that the client's `Accept` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    JsonOnly,
    JsonOrEvents,
}

/// Header facts of one request, decoded as text and not yet judged. They lie in the request.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub session: Option<Cow<'a, str>>,
    pub protocol_version: Option<Cow<'a, str>>,
    pub method: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
    pub accepts: Accepts,
    /// Where a client that lost its stream wants to go on.
    pub last_event_id: Option<Cow<'a, str>>,
    /// `Mcp-Param-*`, names lower case, values as they came.
    pub param_headers: Vec<(Box<str>, Box<str>)>,
    pub path: EndpointPath,
}

impl Facts<'_> {
    /// For work that outlives the request.
    #[must_use]
    pub fn to_owned(&self) -> Facts<'static> {
        fn owned(text: Option<&Cow<'_, str>>) -> Option<Cow<'static, str>> {
            text.map(|text| Cow::Owned(text.to_string()))
        }
        Facts {
            session: owned(self.session.as_ref()),
            protocol_version: owned(self.protocol_version.as_ref()),
            method: owned(self.method.as_ref()),
            name: owned(self.name.as_ref()),
            accepts: self.accepts,
            last_event_id: owned(self.last_event_id.as_ref()),
            param_headers: self.param_headers.clone(),
            path: self.path.clone(),
        }
    }
}

/// Which of our endpoints was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum EndpointPath {
    /// `/mcp`: everything.
    #[default]
    All,
    /// `/mcp/{backend}`: one backend alone, under its own names.
    Backend(BackendName),
}

impl EndpointPath {
    const ALL: &str = "/mcp";

    /// Is this the path of the URL?
    #[must_use]
    pub fn is(&self, path: &str) -> bool {
        match self {
            Self::All => path == Self::ALL,
            Self::Backend(name) => {
                let rest = path.strip_prefix(Self::ALL);
                rest.and_then(|rest| rest.strip_prefix('/')) == Some(&*name.0)
            }
        }
    }
}

/// The path of the URL; sessions are bound to it.
impl fmt::Display for EndpointPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(Self::ALL),
            Self::Backend(name) => write!(f, "{}/{name}", Self::ALL),
        }
    }
}

/// What an event is, as its `event` field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Message,
    /// Where a 2024-11-05 client sends its messages.
    Endpoint,
}

/// One whole JSON-RPC message on a stream. Without data it only primes the client with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    pub kind: EventKind,
    /// For `Last-Event-ID`; only streams that can be resumed have them.
    pub id: Option<Box<str>>,
    pub data: Bytes,
}

impl From<Bytes> for ServerEvent {
    fn from(data: Bytes) -> Self {
        Self {
            kind: EventKind::Message,
            id: None,
            data,
        }
    }
}

/// The messages of a stream; the edge frames them as server-sent events.
pub type Messages = Pin<Box<dyn Stream<Item = ServerEvent> + Send>>;

/// What the edge writes back.
pub enum Answer {
    /// One JSON body.
    Json {
        status: u16,
        body: Bytes,
        session: Option<Box<str>>,
    },
    /// One JSON-RPC error.
    Error { status: u16, body: Bytes },
    /// No body: 202 for notifications, 204 for an ended session.
    Empty { status: u16 },
    /// A stream that ends with the response, or never for a listener.
    Events(Messages),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { status, body, .. } | Self::Error { status, body } => {
                write!(f, "Json({status}, {})", String::from_utf8_lossy(body))
            }
            Self::Empty { status } => write!(f, "Empty({status})"),
            Self::Events(_) => f.write_str("Events"),
        }
    }
}

impl Answer {
    /// A result with HTTP 200.
    #[must_use]
    pub fn result(id: &RequestId, result_raw: &str) -> Self {
        let body = jsonrpc::write_result(id, result_raw).into();
        Self::Json {
            status: 200,
            body,
            session: None,
        }
    }

    /// An error with the given HTTP status.
    #[must_use]
    pub fn error(status: u16, id: &RequestId, error: &RpcError) -> Self {
        let body = jsonrpc::write_error(id, error).into();
        Self::Error { status, body }
    }

    /// It tells the client that something is wrong.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::Error { .. })
    }
}
