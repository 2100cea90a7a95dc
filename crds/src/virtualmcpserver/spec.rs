//! `VirtualMCPServer.spec`: which servers, how their names are joined, how the
//! gateway runs.

#![expect(
    clippy::duplicated_attributes,
    reason = "two printer columns may share a type"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VirtualMCPServerStatus;
use crate::health::HealthCheckSpec;
use crate::pod::PodTemplate;
use crate::schema::{embedded, rules};
use crate::tools::Tools;

/// Many MCP servers behind one endpoint.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vmcp.dev",
    version = "v1alpha1",
    kind = "VirtualMCPServer",
    plural = "virtualmcpservers",
    singular = "virtualmcpserver",
    shortname = "vmcpsrv",
    category = "mcp",
    namespaced,
    status = "VirtualMCPServerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Many MCP servers behind one endpoint.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.backends"),
    printcolumn(name = "Tools", type_ = "integer", json_path = ".status.toolCount"),
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
#[schemars(extend("x-kubernetes-validations" = rules::virtual_spec()))]
pub struct VirtualMCPServerSpec {
    /// Which MCPServers of the namespace stand behind the endpoint.
    pub backends: Backends,
    /// How the servers' names are joined into one list.
    #[serde(default)]
    pub aggregation: Aggregation,
    /// Number of gateway pods.
    #[serde(default = "VirtualMCPServerSpec::default_replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Compute resources of the gateway's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,
    /// What else the gateway's pods carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// The Service in front of the gateway.
    #[serde(default)]
    pub service: GatewayService,
    /// Seconds that a stopping gateway gives to calls in flight.
    #[serde(default = "VirtualMCPServerSpec::default_drain_seconds")]
    #[schemars(range(min = 5, max = 3660))]
    pub drain_seconds: i32,
    /// Canonical URL of the endpoint; the Service's if absent. Its host is allowed.
    #[serde(rename = "publicURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^[!-~]+$"))]
    pub public_url: Option<String>,
    /// Host headers to accept beside the Service's names and publicURL's host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 259),
            regex(
                pattern = r"^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$"
            )
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allowed_hosts: Vec<String>,
    /// Origins of browsers to accept, for example `https://inspector.example.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 267),
            regex(pattern = r"^[a-z][a-z0-9+.-]*://[^\s/?#@]+$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allowed_origins: Vec<String>,
    /// Defaults for the servers that say nothing themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSpec>,
    /// With fewer ready servers the phase is Failed.
    #[serde(default = "VirtualMCPServerSpec::default_min_ready_backends")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_ready_backends: i32,
}

impl VirtualMCPServerSpec {
    /// Seconds that a gateway needs of a stop beside `drainSeconds`: to leave the rotation, to hand
    /// over what is left, and to close what it holds. A pod's grace period has room for both.
    pub const STOP_SECONDS: i32 = 30;

    const fn default_replicas() -> i32 {
        1
    }

    const fn default_drain_seconds() -> i32 {
        75
    }

    const fn default_min_ready_backends() -> i32 {
        1
    }
}

impl Default for VirtualMCPServerSpec {
    fn default() -> Self {
        Self {
            backends: Backends::default(),
            aggregation: Aggregation::default(),
            replicas: Self::default_replicas(),
            resources: None,
            pod_template: None,
            service: GatewayService::default(),
            drain_seconds: Self::default_drain_seconds(),
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            health_check: None,
            min_ready_backends: Self::default_min_ready_backends(),
        }
    }
}

/// Which MCPServers of the namespace: all that the selector matches and all refs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::backends()))]
pub struct Backends {
    /// Labels of MCPServers; {} matches every one of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::label_selector")]
    pub selector: Option<LabelSelector>,
    /// MCPServers by name, in the order of the merged list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub refs: Vec<BackendRef>,
}

/// One MCPServer by name. A missing one is reported, never fatal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// Name of the MCPServer.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Replaces the prefix of prefixFormat; may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9_./-]*$"))]
    pub prefix: Option<String>,
}

/// How the servers' names are joined into one list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aggregation {
    /// What happens to names that several servers use.
    #[serde(default)]
    pub conflict_resolution: ConflictResolution,
    /// Filters and overrides of tools, on exposed names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
}

/// What happens to names that several servers use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::conflict_resolution()))]
pub struct ConflictResolution {
    /// Prefix: every name gets its server's prefix. PrefixOnConflict: only names that
    /// clash. Priority: the first of priorityOrder wins. Manual: clashing names are hidden.
    #[serde(default)]
    pub strategy: ConflictStrategy,
    /// The prefix of a server; {backend} stands for its name.
    #[serde(default = "ConflictResolution::default_prefix_format")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_./{}-]+$"))]
    pub prefix_format: String,
    /// Names of MCPServers, most important first; the others follow by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub priority_order: Vec<String>,
}

impl ConflictResolution {
    /// What stands for the name of a backend in `prefixFormat`.
    pub const PLACEHOLDER: &str = "{backend}";

    fn default_prefix_format() -> String {
        format!("{}_", Self::PLACEHOLDER)
    }
}

impl Default for ConflictResolution {
    fn default() -> Self {
        Self {
            strategy: ConflictStrategy::default(),
            prefix_format: Self::default_prefix_format(),
            priority_order: Vec::new(),
        }
    }
}

/// What happens to names that several servers use.
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
pub enum ConflictStrategy {
    #[default]
    Prefix,
    PrefixOnConflict,
    Priority,
    Manual,
}

impl ConflictStrategy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "Prefix",
            Self::PrefixOnConflict => "PrefixOnConflict",
            Self::Priority => "Priority",
            Self::Manual => "Manual",
        }
    }
}

/// The Service in front of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayService {
    /// Type of the Service.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Port of the Service.
    #[serde(default = "GatewayService::default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Annotations of the Service, for load balancers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "embedded::annotations")]
    pub annotations: BTreeMap<String, String>,
}

impl GatewayService {
    const fn default_port() -> i32 {
        8080
    }
}

impl Default for GatewayService {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: Self::default_port(),
            annotations: BTreeMap::new(),
        }
    }
}

/// Type of the Service.
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
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

impl ServiceType {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}
