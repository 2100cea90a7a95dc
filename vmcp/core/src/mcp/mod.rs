//! The MCP messages that a gateway must understand itself, in both eras.
//!
//! Owns versions, method names, header values, the handshakes, list pages, request metadata and
//! error codes. Everything else in a message stays raw. Never invents content: the closed list of
//! what a gateway may change is kept by whoever calls this.

mod discover;
mod initialize;
mod kind;
mod list;
mod params;
mod tool_result;
mod version;

pub mod error;
pub mod header;
pub mod header_params;
pub mod meta;
pub mod method;
pub mod progress;
pub mod subscription;
pub mod task;

pub use discover::{DiscoverResult, UnsupportedVersions, discover_params, discover_result};
pub use initialize::{InitializeResult, initialize_params, initialize_result};
pub use kind::{Kind, PerKind};
pub use list::{CacheScope, ListPage, RawEntry, parse_page};
pub use meta::ModernMeta;
pub use method::known_method;
pub use params::{INPUT_RESPONSES, Params, REQUEST_STATE, subject_of};
pub use tool_result::is_tool_error;
pub use version::{Era, ProtocolVersion};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits;
use crate::text::sanitise;

/// What a server says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerInfo {
    pub name: String,
    #[serde(default)]
    pub version: String,
}

impl ServerInfo {
    /// From a raw `Implementation` object; `None` where it has no name. Texts are made fit to be
    /// shown: they go into status and logs.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        let found: Self = serde_json::from_str(raw).ok()?;
        Some(Self {
            name: sanitise(&found.name, limits::STATUS_TEXT),
            version: sanitise(&found.version, limits::STATUS_TEXT),
        })
    }
}

/// A well-formed answer that is not what MCP demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolViolation {
    #[error("{0}: {1}")]
    Shape(&'static str, String),
    #[error("{0} lacks {1:?}")]
    Missing(&'static str, &'static str),
    #[error("protocol version {0:?} is not supported")]
    UnsupportedVersion(String),
}

impl ProtocolViolation {
    fn shape(what: &'static str, error: &serde_json::Error) -> Self {
        Self::Shape(what, sanitise(&error.to_string(), limits::STATUS_TEXT))
    }
}

/// The raw text of an optional member, where it is an object.
fn object(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|raw| raw.starts_with('{'))
}
