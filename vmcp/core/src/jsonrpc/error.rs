//! The error object of JSON-RPC, and why an envelope could not be read.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An `error` member. `data` stays as it came.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    pub code: i64,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The same error with `data`.
    #[must_use]
    pub fn with_data(mut self, data: &serde_json::Value) -> Self {
        self.data = RawValue::from_string(data.to_string()).ok();
        self
    }

    /// Raw JSON of `data`.
    #[must_use]
    pub fn data_raw(&self) -> Option<&str> {
        self.data.as_deref().map(RawValue::get)
    }
}

impl PartialEq for RpcError {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message == other.message
            && self.data_raw() == other.data_raw()
    }
}

/// Why a body is no JSON-RPC message. All permanent: the same bytes fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("body is not JSON")]
    Syntax,
    #[error("JSON is nested deeper than {} levels", crate::limits::JSON_DEPTH)]
    TooDeep,
    #[error("a batch, where this revision has none")]
    Batch,
    #[error("a batch of more than {} messages", crate::limits::BATCH)]
    BatchTooLarge,
    #[error("not a JSON-RPC 2.0 message: {0}")]
    Invalid(&'static str),
}

impl ParseError {
    /// JSON-RPC's own code: -32700 for what is not JSON, -32600 for what is not JSON-RPC.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self {
            Self::Syntax => -32_700,
            Self::TooDeep | Self::Batch | Self::BatchTooLarge | Self::Invalid(_) => -32_600,
        }
    }

    #[must_use]
    pub fn to_rpc_error(&self) -> RpcError {
        RpcError::new(self.code(), self.to_string())
    }
}
