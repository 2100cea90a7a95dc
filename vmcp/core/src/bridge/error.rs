//! What cannot be bridged, as either side is to hear it.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Input;
use crate::jsonrpc::RpcError;
use crate::limits;
use crate::mcp::error::code;
use crate::text::sanitise;

/// `data.reason` of an error that the bridge itself makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeReason {
    /// The state is not one of ours, or of another request or principal.
    StateInvalid,
    /// The parked call is gone: resumed already, expired, or its process ended.
    ParkedCallLost,
    /// The client did not answer in time.
    InputTimeout,
    /// The call asked in too many rounds.
    InputRoundsExceeded,
    /// The backend asks for what this client's revision or connection cannot give.
    InputUnsupported,
    /// The backend asks in a way that the specification does not know.
    InputMalformed,
    /// Too many calls are parked.
    TooManyParked,
    /// The person declined to open the URL without which the backend does not go on.
    ElicitationDeclined,
}

impl BridgeReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StateInvalid => "StateInvalid",
            Self::ParkedCallLost => "ParkedCallLost",
            Self::InputTimeout => "InputTimeout",
            Self::InputRoundsExceeded => "InputRoundsExceeded",
            Self::InputUnsupported => "InputUnsupported",
            Self::InputMalformed => "InputMalformed",
            Self::TooManyParked => "TooManyParked",
            Self::ElicitationDeclined => "ElicitationDeclined",
        }
    }

    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::StateInvalid => code::INVALID_PARAMS,
            Self::ParkedCallLost => code::MODERN_PARKED_LOST,
            Self::InputTimeout
            | Self::InputRoundsExceeded
            | Self::InputUnsupported
            | Self::InputMalformed
            | Self::TooManyParked
            | Self::ElicitationDeclined => code::INTERNAL_ERROR,
        }
    }
}

/// For the client: exact code, and `data: {reason, server, detail}`.
#[must_use]
pub fn bridge_error(reason: BridgeReason, server: &str, detail: &str) -> RpcError {
    let detail = sanitise(detail, limits::STATUS_TEXT);
    let message = format!("{detail} ({})", reason.as_str());
    let mut data = Map::new();
    data.insert("reason".to_owned(), reason.as_str().into());
    data.insert("server".to_owned(), server.into());
    data.insert("detail".to_owned(), detail.into());
    RpcError::new(reason.code(), message).with_data(&Value::Object(data))
}

/// For the backend: its question has no answer, and why.
#[must_use]
pub fn refusal(reason: BridgeReason, detail: &str) -> RpcError {
    RpcError::new(reason.code(), detail)
        .with_data(&serde_json::json!({ "reason": reason.as_str() }))
}

/// For a modern client: what it would have to declare (HTTP 400).
#[must_use]
pub fn missing_capability(input: Input) -> RpcError {
    let declaration = input.declaration();
    let data = format!(r#"{{"requiredCapabilities":{declaration}}}"#);
    RpcError {
        data: RawValue::from_string(data).ok(),
        ..RpcError::new(
            code::MISSING_CLIENT_CAPABILITY,
            format!("the request needs a client capability: {declaration}"),
        )
    }
}
