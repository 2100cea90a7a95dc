//! Errors towards clients: codes and `data`.
//!
//! Owns the contract of R3: which code a failure has in which era, and what stands in `data`. Never
//! lets foreign text through unmasked.

use serde_json::{Map, Value};

use super::Era;
use crate::jsonrpc::RpcError;
use crate::limits;
use crate::reason::ProbeReason;
use crate::text::sanitise;

/// JSON-RPC's and MCP's own codes, and ours.
pub mod code {
    pub const PARSE_ERROR: i64 = -32_700;
    pub const INVALID_REQUEST: i64 = -32_600;
    pub const METHOD_NOT_FOUND: i64 = -32_601;
    pub const INVALID_PARAMS: i64 = -32_602;
    pub const INTERNAL_ERROR: i64 = -32_603;
    /// Legacy: an id that names no session, sent with HTTP 404. The reference servers' own code.
    pub const SESSION_NOT_FOUND: i64 = -32_001;
    /// Legacy only; modern servers say [`INVALID_PARAMS`].
    pub const RESOURCE_NOT_FOUND: i64 = -32_002;
    pub const HEADER_MISMATCH: i64 = -32_020;
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32_021;
    pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32_022;
    pub const URL_ELICITATION_REQUIRED: i64 = -32_042;

    pub const LEGACY_UNAVAILABLE: i64 = -32_001;
    pub const LEGACY_TIMEOUT: i64 = -32_002;
    pub const LEGACY_AUTHENTICATION: i64 = -32_003;
    /// Outside the range that the modern specification reserves.
    pub const MODERN_UNAVAILABLE: i64 = -31_001;
    pub const MODERN_TIMEOUT: i64 = -31_002;
    pub const MODERN_AUTHENTICATION: i64 = -31_003;
    pub const MODERN_PARKED_LOST: i64 = -31_004;
}

/// What went wrong between us and the backend, as a client needs to tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientErrorKind {
    BackendUnavailable,
    Timeout,
    /// A time-out on `resources/*`, where the legacy -32002 means "not found".
    ResourceTimeout,
    /// Authentication to the backend failed.
    Authentication,
    /// A parked call is gone.
    ParkedCallLost,
}

impl ClientErrorKind {
    #[must_use]
    pub const fn code(self, era: Era) -> i64 {
        match (era, self) {
            (Era::Legacy, Self::BackendUnavailable | Self::ParkedCallLost) => {
                code::LEGACY_UNAVAILABLE
            }
            (Era::Legacy, Self::Timeout) => code::LEGACY_TIMEOUT,
            (Era::Legacy, Self::ResourceTimeout) => code::INTERNAL_ERROR,
            (Era::Legacy, Self::Authentication) => code::LEGACY_AUTHENTICATION,
            (Era::Modern, Self::BackendUnavailable) => code::MODERN_UNAVAILABLE,
            (Era::Modern, Self::Timeout | Self::ResourceTimeout) => code::MODERN_TIMEOUT,
            (Era::Modern, Self::Authentication) => code::MODERN_AUTHENTICATION,
            (Era::Modern, Self::ParkedCallLost) => code::MODERN_PARKED_LOST,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::BackendUnavailable => "backend unavailable",
            Self::Timeout | Self::ResourceTimeout => "backend timed out",
            Self::Authentication => "authentication to the backend failed",
            Self::ParkedCallLost => "parked call lost",
        }
    }
}

/// The error object: exact code, and `data: {reason, server, detail, retryAfterMs?}`.
#[must_use]
pub fn client_error(
    era: Era,
    kind: ClientErrorKind,
    server: &str,
    reason: ProbeReason,
    detail: &str,
    retry_after_ms: Option<u64>,
) -> RpcError {
    let mut data = Map::new();
    data.insert("reason".to_owned(), reason.as_str().into());
    data.insert("server".to_owned(), server.into());
    data.insert(
        "detail".to_owned(),
        sanitise(detail, limits::STATUS_TEXT).into(),
    );
    if let Some(millis) = retry_after_ms {
        data.insert("retryAfterMs".to_owned(), millis.into());
    }
    let message = format!("{}: {server} ({reason})", kind.text());
    RpcError::new(kind.code(era), message).with_data(&Value::Object(data))
}
