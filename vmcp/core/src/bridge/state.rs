//! What a call that waits for input leaves with its client, inside `requestState`.

use serde::{Deserialize, Serialize};

use super::{BridgeReason, bridge_error};
use crate::jsonrpc::RpcError;
use crate::limits;
use crate::session::Owner;

/// Layout of the claims; another layout gets another number.
const LAYOUT: u8 = 1;

/// The claims. Sealed by the caller: what opens was written by this gateway.
///
/// With `parked`, one process keeps the call. Without, nothing is kept anywhere: the request is to
/// be sent anew once the person has been where it was sent, by whichever replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateClaims {
    #[serde(rename = "v")]
    layout: u8,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    call: Option<u64>,
    /// How often the client has been asked, this time included.
    #[serde(rename = "n")]
    pub round: u32,
    /// `None` for an anonymous client.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub expires: u64,
    /// See [`super::request_digest`].
    #[serde(rename = "d")]
    pub digest: [u8; 32],
}

/// When a waiting call may be continued, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How often the client has been asked, this time included.
    pub round: u32,
    /// `None` for an anonymous client.
    pub principal: Option<String>,
    /// Seconds since 1970.
    pub expires: u64,
    /// See [`super::request_digest`].
    pub digest: [u8; 32],
}

/// Why a state is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("requestState is not valid")]
    Malformed,
    #[error("requestState is of another principal")]
    Principal,
    #[error("requestState is of another request")]
    Request,
    #[error("the call was not continued in time and has been given up")]
    Expired,
    #[error("the call is gone")]
    Gone,
}

impl StateError {
    /// As the client is to hear it. Why exactly a state is refused is for nobody to try out.
    #[must_use]
    pub fn to_rpc(self, server: &str) -> RpcError {
        match self {
            Self::Malformed | Self::Principal | Self::Request => bridge_error(
                BridgeReason::StateInvalid,
                server,
                "requestState is not valid for this request",
            ),
            Self::Expired | Self::Gone => bridge_error(
                BridgeReason::ParkedCallLost,
                server,
                "the call that waited for input is gone",
            ),
        }
    }
}

impl StateClaims {
    /// Of a call that this process keeps.
    #[must_use]
    pub fn parked(owner: Owner, call: u64, terms: Terms) -> Self {
        Self {
            owner: Some(owner),
            call: Some(call),
            ..Self::repeat(terms)
        }
    }

    /// Of a call that is to be made once more.
    #[must_use]
    pub fn repeat(terms: Terms) -> Self {
        Self {
            layout: LAYOUT,
            owner: None,
            call: None,
            round: terms.round,
            principal: terms.principal,
            expires: terms.expires,
            digest: terms.digest,
        }
    }

    /// Who keeps the call, and under which number.
    #[must_use]
    pub fn kept(&self) -> Option<(&Owner, u64)> {
        self.owner.as_ref().zip(self.call)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing strings and numbers to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// # Errors
    /// When the bytes are no claims of this layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() > limits::STATE_CLAIMS {
            return Err(StateError::Malformed);
        }
        let claims: Self = serde_json::from_slice(bytes).map_err(|_| StateError::Malformed)?;
        if claims.layout == LAYOUT && claims.owner.is_some() == claims.call.is_some() {
            Ok(claims)
        } else {
            Err(StateError::Malformed)
        }
    }

    /// May this principal continue this request now?
    ///
    /// # Errors
    /// When it is somebody else's state, of another request, or too old.
    pub fn check(
        &self,
        principal: Option<&str>,
        digest: &[u8; 32],
        now: u64,
    ) -> Result<(), StateError> {
        if self.principal.as_deref() != principal {
            return Err(StateError::Principal);
        }
        if self.digest != *digest {
            return Err(StateError::Request);
        }
        if self.expires <= now {
            Err(StateError::Expired)
        } else {
            Ok(())
        }
    }
}
