//! Which tools are shown and what is said of them: the same fields on the names of one server
//! (MCPServer `tools`) and on exposed names (VirtualMCPServer `aggregation.tools`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;

/// Filters and overrides of tools. A rule that means no tool is a warning, never fatal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tools {
    /// Show these only; * stands for any text. All if absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 128)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub include: Vec<String>,
    /// Never show these, nor let them be called; * stands for any text. Beats include.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 128)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub exclude: Vec<String>,
    /// What to say of single tools instead of what their server says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub overrides: Vec<ToolOverride>,
}

/// What to say of one tool. What it does not name stays as the server says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::tool_override()))]
pub struct ToolOverride {
    /// The tool's name before the override.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its name from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub rename: Option<String>,
    /// Its description.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub description: Option<String>,
    /// Its annotations; those that are absent here stay as the server says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ToolAnnotations>,
}

/// Annotations of a tool, as MCP defines them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub title: Option<String>,
    /// It changes nothing. A call may then be sent twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// It may destroy something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// A second call with the same arguments changes nothing more. A call may then be sent twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It reaches things outside of its server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}
