//! `MCPServer.spec.workload`: the image to run, and the closed list of pod settings
//! that an author of an MCPServer may choose.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, EnvFromSource, EnvVar, LocalObjectReference,
    PersistentVolumeClaimVolumeSource, ResourceRequirements, SecretVolumeSource,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pod::PodTemplate;
use crate::schema::{embedded, rules};

/// Run this image in the cluster, one pod per replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Container image.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^\S+$"))]
    pub image: String,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(max = 4096)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(max = 4096)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub args: Vec<String>,
    /// Environment of the container. A reference that cannot be resolved keeps it from starting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::env")]
    pub env: Vec<EnvVar>,
    /// All keys of ConfigMaps and Secrets as environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::env_from")]
    pub env_from: Vec<EnvFromSource>,
    /// Port that the server listens on.
    #[serde(default = "Workload::default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Number of pods; 0 stops the server.
    #[serde(default = "Workload::default_replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Who the server runs as. {} leaves the user to the image.
    #[serde(default)]
    pub security_context: WorkloadSecurityContext,
    /// Compute resources of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::resources")]
    pub resources: Option<ResourceRequirements>,
    /// When the image is pulled; the cluster's rule if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets for the image registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "embedded::image_pull_secrets")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Volumes of the container. /tmp and /home/mcp are writable always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules::volumes()
        )
    )]
    pub volumes: Vec<WorkloadVolume>,
    /// What else the pod carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

impl Workload {
    const fn default_port() -> i32 {
        8080
    }

    const fn default_replicas() -> i32 {
        1
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            image: String::new(),
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            env_from: Vec::new(),
            port: Self::default_port(),
            replicas: Self::default_replicas(),
            security_context: WorkloadSecurityContext::default(),
            resources: None,
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            volumes: Vec::new(),
            pod_template: None,
        }
    }
}

/// Who the server runs as. The defaults stand for the whole object: a field left out
/// of a given object is left to the image, so `{}` leaves it everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSecurityContext {
    /// User id of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Primary group id of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Group that owns the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub fs_group: Option<i64>,
    /// Whether the image's own files cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root_filesystem: Option<bool>,
}

impl WorkloadSecurityContext {
    /// The user and group of a server that says nothing.
    pub const DEFAULT_ID: i64 = 65532;

    /// What `{}` in the spec means: everything is left to the image.
    #[must_use]
    pub const fn of_image() -> Self {
        Self {
            run_as_user: None,
            run_as_group: None,
            fs_group: None,
            read_only_root_filesystem: None,
        }
    }
}

impl Default for WorkloadSecurityContext {
    fn default() -> Self {
        Self {
            run_as_user: Some(Self::DEFAULT_ID),
            run_as_group: Some(Self::DEFAULT_ID),
            fs_group: Some(Self::DEFAULT_ID),
            read_only_root_filesystem: Some(true),
        }
    }
}

/// When the image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// One volume and where it is mounted. There is no hostPath on purpose: whoever may
/// create an MCPServer must not gain the node by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::volume()))]
pub struct WorkloadVolume {
    /// Name of the volume, unique in the list.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Where the container sees it.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^/[^:\s]*[^:\s/]$"))]
    pub mount_path: String,
    /// Empty at the start of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::empty_dir")]
    pub empty_dir: Option<EmptyDirVolumeSource>,
    /// The keys of a ConfigMap as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::config_map_volume")]
    pub config_map: Option<ConfigMapVolumeSource>,
    /// The keys of a Secret as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::secret_volume")]
    pub secret: Option<SecretVolumeSource>,
    /// A claim that exists already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded::claim_volume")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
}
