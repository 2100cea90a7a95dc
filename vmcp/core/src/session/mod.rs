//! What a legacy session id says.
//!
//! Owns the claims inside an id and their encoding. Never seals or opens one: keys and randomness
//! are the caller's. Exists because the id is the session's only store (decision 8).

mod owner;
mod place;
mod telling;
mod will;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::mcp::ProtocolVersion;

pub use owner::{OwnedState, Owner};
pub use place::{rendezvous, successor};
pub use telling::{Attempt, News, Telling, Told};
pub use will::{Bequest, Subscribed, Will, Wills, next_revision};

/// Layout of the claims; another layout gets another number.
pub const CLAIMS_VERSION: u8 = 2;

/// Who opened a session, where, and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClaims {
    #[serde(rename = "v")]
    pub version: u8,
    /// UID of the VirtualMCPServer.
    #[serde(rename = "u")]
    pub virtual_uid: String,
    /// The endpoint it was opened at: `/mcp`, or one backend's.
    #[serde(rename = "p")]
    pub path: String,
    /// `None` for an anonymous client.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Raw object.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub client_info_raw: Option<String>,
    /// Raw object.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub client_capabilities_raw: Option<String>,
    #[serde(rename = "r")]
    pub protocol_version: ProtocolVersion,
    /// Seconds since 1970.
    #[serde(rename = "t")]
    pub issued: u64,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub expires: u64,
    /// The replica that opened it and serves it while it is ready.
    #[serde(rename = "o")]
    pub owner: Owner,
}

impl Default for SessionClaims {
    fn default() -> Self {
        Self {
            version: CLAIMS_VERSION,
            virtual_uid: String::new(),
            path: "/mcp".to_owned(),
            principal: None,
            client_info_raw: None,
            client_capabilities_raw: None,
            protocol_version: ProtocolVersion::LATEST_LEGACY,
            issued: 0,
            expires: 0,
            owner: Owner::default(),
        }
    }
}

/// Why claims are no good. To clients all of them are one: 404 (T10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("not session claims")]
    Malformed,
    #[error("session claims of another layout")]
    Version,
    #[error("session of another endpoint")]
    Foreign,
    #[error("session of another principal")]
    Principal,
    #[error("session has expired")]
    Expired,
}

impl SessionClaims {
    /// The claims as bytes. A client that describes itself at length (icons as data) loses its
    /// description rather than its session.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing strings and numbers to memory cannot fail.
        let whole = serde_json::to_vec(self).unwrap_or_default();
        if whole.len() <= limits::SESSION_CLAIMS || self.client_info_raw.is_none() {
            return whole;
        }
        let without = Self {
            client_info_raw: None,
            ..self.clone()
        };
        serde_json::to_vec(&without).unwrap_or_default()
    }

    /// # Errors
    /// When the bytes are no claims of this layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClaimsError> {
        if bytes.len() > limits::SESSION_CLAIMS {
            return Err(ClaimsError::Malformed);
        }
        let claims: Self = serde_json::from_slice(bytes).map_err(|_| ClaimsError::Malformed)?;
        if claims.version != CLAIMS_VERSION {
            return Err(ClaimsError::Version);
        }
        let raws = [&claims.client_info_raw, &claims.client_capabilities_raw];
        let objects = raws.into_iter().flatten().all(|raw| {
            raw.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(raw).is_ok()
        });
        if objects {
            Ok(claims)
        } else {
            Err(ClaimsError::Malformed)
        }
    }

    /// May this session be used here, by this principal, now?
    ///
    /// # Errors
    /// When it is of another endpoint or principal, or has expired.
    pub fn check(
        &self,
        virtual_uid: &str,
        path: &str,
        principal: Option<&str>,
        now: u64,
    ) -> Result<(), ClaimsError> {
        if self.virtual_uid != virtual_uid || self.path != path {
            return Err(ClaimsError::Foreign);
        }
        if self.principal.as_deref() != principal {
            return Err(ClaimsError::Principal);
        }
        if self.expires <= now {
            Err(ClaimsError::Expired)
        } else {
            Ok(())
        }
    }
}
