//! `MCPServer.spec`: where the server is and how to speak to it.

#![expect(
    clippy::duplicated_attributes,
    reason = "two printer columns may share a type"
)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MCPServerStatus, Workload};
use crate::health::HealthCheckSpec;
use crate::schema::rules;
use crate::tools::Tools;

/// One MCP server, wherever it runs: a workload of ours, a Service that exists
/// already, or a URL outside the cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vmcp.dev",
    version = "v1alpha1",
    kind = "MCPServer",
    plural = "mcpservers",
    singular = "mcpserver",
    shortname = "mcpsrv",
    category = "mcp",
    namespaced,
    status = "MCPServerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One MCP server, wherever it runs.",
    scale(
        spec_replicas_path = ".spec.workload.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Transport", type_ = "string", json_path = ".spec.transport"),
    printcolumn(name = "Tools", type_ = "integer", json_path = ".status.tools"),
    printcolumn(
        name = "Failures",
        type_ = "integer",
        json_path = ".status.consecutiveFailures"
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(
        name = "URL",
        type_ = "string",
        json_path = ".status.url",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::mcpserver_spec()))]
pub struct MCPServerSpec {
    /// Run this image in the cluster. Exactly one of workload, service, remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// A Service of the same namespace that exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// A server outside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
    /// How the server is spoken to: streamable-http, or sse for servers of 2024-11-05.
    #[serde(default)]
    pub transport: Transport,
    /// HTTP path of the MCP endpoint; /mcp if absent, /sse with transport sse.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$")
    )]
    pub path: Option<String>,
    /// The Host header to send to a server that insists on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 259),
        regex(
            pattern = r"^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$"
        )
    )]
    pub host_header: Option<String>,
    /// URIs to route to this server although no list of its shows them, by their beginnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 2, max = 1024),
            regex(pattern = r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]*$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub resource_uri_prefixes: Vec<String>,
    /// What a client sees when the server forgot its session: Reinitialize opens another one and
    /// marks the first result, Fail ends the client's session with HTTP 404.
    #[serde(default)]
    pub session_loss: SessionLoss,
    /// Protocol era: auto detects it; modern is 2026-07-28 and later, legacy before.
    #[serde(default)]
    pub protocol: Protocol,
    /// Filters and overrides of its tools, on its own names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
    /// Overrides the gateway's defaults for this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSpec>,
    /// Deadlines of calls to this server.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What happens to its tools while it is down.
    #[serde(default)]
    pub catalog: Catalog,
}

impl MCPServerSpec {
    /// Path of the MCP endpoint, with the default of the transport.
    #[must_use]
    pub fn effective_path(&self) -> &str {
        self.path
            .as_deref()
            .unwrap_or_else(|| self.transport.default_path())
    }
}

/// A Service of the same namespace that exists already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A server outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::remote()))]
pub struct Remote {
    /// Where the server is, for example `https://mcp.example.com/mcp`.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^[!-~]+$"))]
    pub url: String,
    /// Accept plain http: everything, credentials included, then travels readable.
    #[serde(default)]
    pub allow_insecure: bool,
}

/// How the server is spoken to.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Transport {
    #[default]
    #[serde(rename = "streamable-http")]
    StreamableHttp,
    #[serde(rename = "sse")]
    Sse,
}

impl Transport {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable-http",
            Self::Sse => "sse",
        }
    }

    /// Path of the endpoint where the spec names none.
    #[must_use]
    pub const fn default_path(self) -> &'static str {
        match self {
            Self::StreamableHttp => "/mcp",
            Self::Sse => "/sse",
        }
    }
}

/// Protocol era of the server.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Auto,
    Modern,
    Legacy,
}

/// What a client sees when the server forgot its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionLoss {
    #[default]
    Reinitialize,
    Fail,
}

impl Protocol {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }
}

/// Deadlines of calls to this server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::timeouts()))]
pub struct Timeouts {
    /// Until the TCP (and TLS) connection stands.
    #[serde(default = "Timeouts::default_connect")]
    #[schemars(range(min = 1, max = 60))]
    pub connect_seconds: i32,
    /// A whole call, body included.
    #[serde(default = "Timeouts::default_call")]
    #[schemars(range(min = 1, max = 3600))]
    pub call_seconds: i32,
}

impl Timeouts {
    const fn default_connect() -> i32 {
        5
    }

    const fn default_call() -> i32 {
        300
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_seconds: Self::default_connect(),
            call_seconds: Self::default_call(),
        }
    }
}

/// What happens to the server's tools while it is down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::catalog()))]
pub struct Catalog {
    /// Keep: listed as last seen. KeepFor: for keepForSeconds. Hide: gone while it is down.
    #[serde(default)]
    pub policy: CatalogPolicy,
    /// With policy KeepFor, and only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub keep_for_seconds: Option<i32>,
}

/// What a client sees of a server that is down.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum CatalogPolicy {
    #[default]
    Keep,
    KeepFor,
    Hide,
}
