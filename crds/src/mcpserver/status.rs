//! `MCPServer.status`. Every field is optional, so that each writer applies its own
//! group of fields and no other.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::clip;
use crate::phase::McpServerPhase;
use crate::schema::embedded;

/// What is known about the server. Written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MCPServerStatus {
    /// Generation of the spec that this status speaks of; -1 until the first visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// One word for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<McpServerPhase>,
    /// The facts behind the phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::conditions")]
    pub conditions: Vec<Condition>,
    /// Where gateways reach the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub url: Option<String>,
    /// Pods of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub replicas: Option<i32>,
    /// Pods that answer an MCP handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ready_replicas: Option<i32>,
    /// Label selector of the pods, for autoscalers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub selector: Option<String>,
    /// Attempts to start since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub attempt: Option<i32>,
    /// When the last attempt to start was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt_time: Option<Time>,
    /// When the next attempt to start is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_time: Option<Time>,
    /// What is wrong and what would fix it; empty when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub message: Option<String>,
    /// Failed checks in a row, the largest of all observers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub consecutive_failures: Option<i32>,
    /// Container restarts of the pods that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub restarts: Option<i32>,
    /// Number of tools that the server lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub tools: Option<i32>,
    /// MCP revision in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub protocol_version: Option<String>,
    /// What the server says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<ServerInfo>,
    /// Number of gateways that watch this server now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub observers: Option<i32>,
}

/// What a server says it is; not checked by anyone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Name of the implementation.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub name: String,
    /// Version of the implementation.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub version: String,
}

impl ServerInfo {
    /// Longest name that the schema accepts, in characters.
    pub const MAX_NAME: usize = 256;
    /// Longest version that the schema accepts, in characters.
    pub const MAX_VERSION: usize = 128;

    /// What a server said, cut to what the schema accepts: a server that says too much
    /// must never make a status write fail.
    #[must_use]
    pub fn clipped(name: &str, version: &str) -> Self {
        Self {
            name: clip(name, Self::MAX_NAME),
            version: clip(version, Self::MAX_VERSION),
        }
    }
}
