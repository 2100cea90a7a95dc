//! The one truth about a VirtualMCPServer, made once for every output (T6).
//!
//! Owns the report that goes into the CRD, `/status` and `/health`, the truth table of its phase and
//! conditions (api.md), and the rhythm of its publication. Never writes anything and never adds a
//! timestamp of its own: an unchanged world gives an equal report.

mod assess;
mod pacer;
mod server_health;

pub use assess::{MESSAGE_DEGRADED, Phase, Truth, build};
pub use pacer::{Change, Pacer, PublishDecision, change};
pub use server_health::{HealthReport, OverallStatus, ServerHealth, ServerStatus, server_health};

use serde::Serialize;

use crate::catalog::{CatalogHash, Conflict};
use crate::health::{Observed, ProbeReason, State};
use crate::id::BackendId;
use crate::mcp::{ProtocolVersion, ServerInfo};

/// One backend, as the registry knows it.
#[derive(Clone, Copy, Debug)]
pub struct BackendFacts<'a> {
    /// With an empty UID where a reference names no MCPServer.
    pub id: &'a BackendId,
    pub url: Option<&'a str>,
    /// As in the spec: `streamable-http` or `sse`.
    pub transport: &'a str,
    pub observed: &'a Observed,
    pub tools: usize,
    pub catalog_hash: Option<CatalogHash>,
    /// When the state changed last, milliseconds since 1970.
    pub last_transition_unix_ms: i64,
}

/// Has every backend a verdict, or used up its deadline for one?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRound {
    Pending,
    Done,
}

/// Can the spec work at all?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration<'a> {
    /// What is served is what the spec says.
    Valid,
    /// The spec cannot work and nothing is served. With the reason.
    Broken(&'a str),
}

/// What else the truth depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub observed_generation: i64,
    pub min_ready_backends: u32,
    pub first_round: FirstRound,
    pub configuration: Configuration<'a>,
    pub conflicts: &'a [Conflict],
    /// Tools in the merged list.
    pub tool_count: usize,
}

/// A condition without its time, which belongs to whoever writes it: it changes exactly when the
/// status does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportCondition {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub status: Truth,
    pub reason: &'static str,
    pub message: String,
}

/// `discoveredBackends[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedBackend {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub transport: String,
    #[serde(serialize_with = "as_text")]
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ProbeReason>,
    /// At most [`crate::limits::STATUS_TEXT`] bytes.
    pub message: String,
    pub consecutive_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<ServerInfo>,
    pub tools: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_hash: Option<String>,
    pub last_transition_unix_ms: i64,
}

/// The served facts of a VirtualMCPServer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub observed_generation: i64,
    pub phase: Phase,
    pub message: String,
    /// Ready and all, as in `3/4`.
    pub backends: String,
    pub backend_count: usize,
    pub ready_backend_count: usize,
    pub tool_count: usize,
    /// Sorted by name.
    pub discovered_backends: Vec<ReportedBackend>,
    /// `Ready`, `BackendsReady`, `BackendsDiscovered`, `ConflictsResolved`, in this order.
    pub conditions: Vec<ReportCondition>,
}

impl Report {
    /// A condition by its type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&ReportCondition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }
}

fn as_text<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}
