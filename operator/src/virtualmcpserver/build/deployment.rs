//! The Deployment of a gateway. A roll loses no call: a new pod is ready before an old
//! one goes, and the old one has `drainSeconds` to finish.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PodSecurityContext, PodSpec, Probe, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use vmcp_crds::VirtualMCPServerSpec;
use vmcp_crds::mcpserver::WorkloadSecurityContext;

use crate::pod_spec::{MCP_PORT, pod_template, restricted, runtime_default, some_map, tcp_port};
use crate::virtualmcpserver::keys::{MOUNT, VOLUME};
use crate::virtualmcpserver::validate::ValidatedGateway;

const CONTAINER: &str = "gateway";
/// Where a gateway serves MCP, whatever the Service's port.
const GATEWAY_PORT: i32 = 8080;
const ADMIN: &str = "admin";
const ADMIN_PORT: i32 = 9090;
const PEER: &str = "peer";
/// Where replicas speak to each other. Not a port of the Service; each replica knows it.
const PEER_PORT: i32 = 9091;
/// Seconds between two looks at /readyz.
const READINESS_PERIOD: i32 = 2;
/// Seconds between two looks at /healthz.
const LIVENESS_PERIOD: i32 = 10;
/// Seconds that one look may take.
const PROBE_TIMEOUT: i32 = 3;
const PROBE_FAILURES: i32 = 3;
/// Where the last good lists of the backends outlive a container.
const CACHE: &str = "cache";
const CACHE_DIR: &str = "/var/cache/vmcp";
/// Twice of what a gateway keeps there: a volume that is full gets the pod evicted.
const CACHE_SIZE: &str = "128Mi";
/// Everybody: the image is `FROM scratch` and its files are readable by all.
const USER: i64 = WorkloadSecurityContext::DEFAULT_ID;

#[must_use]
pub fn deployment(gateway: &ValidatedGateway) -> Deployment {
    let (owner, spec) = (&gateway.owner, &gateway.spec);
    let pod = PodSpec {
        automount_service_account_token: Some(true),
        termination_grace_period_seconds: Some(grace(spec.drain_seconds)),
        security_context: Some(PodSecurityContext {
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            run_as_non_root: Some(true),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(gateway)],
        volumes: Some(vec![gateway.keys.volume(), cache()]),
        ..PodSpec::default()
    };
    let restarted_at = gateway.restarted_at.as_deref();
    let mut metadata = owner.child_meta();
    metadata.annotations = some_map(gateway.keys.annotations());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(spec.replicas),
            selector: LabelSelector {
                match_labels: Some(owner.selector()),
                ..LabelSelector::default()
            },
            strategy: Some(surge_first()),
            template: pod_template(owner, restarted_at, spec.pod_template.as_ref(), pod),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The kubelet kills after this: later than the gateway is done by itself, whatever happens to it.
fn grace(drain_seconds: i32) -> i64 {
    i64::from(drain_seconds) + i64::from(VirtualMCPServerSpec::STOP_SECONDS)
}

fn surge_first() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::Int(1)),
        }),
    }
}

fn container(gateway: &ValidatedGateway) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(gateway.settings.gateway_image.clone()),
        args: Some(vec![
            "serve".to_owned(),
            format!("--drain-seconds={}", gateway.spec.drain_seconds),
            format!("--cache-dir={CACHE_DIR}"),
        ]),
        env: Some(env(gateway)),
        ports: Some(vec![
            tcp_port(MCP_PORT, GATEWAY_PORT),
            tcp_port(ADMIN, ADMIN_PORT),
            tcp_port(PEER, PEER_PORT),
        ]),
        readiness_probe: Some(probe("/readyz", READINESS_PERIOD)),
        liveness_probe: Some(probe("/healthz", LIVENESS_PERIOD)),
        resources: gateway.spec.resources.clone(),
        volume_mounts: Some(vec![
            VolumeMount {
                name: VOLUME.to_owned(),
                mount_path: MOUNT.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: CACHE.to_owned(),
                mount_path: CACHE_DIR.to_owned(),
                ..VolumeMount::default()
            },
        ]),
        security_context: Some(restricted(Some(true))),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn cache() -> Volume {
    Volume {
        name: CACHE.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(Quantity(CACHE_SIZE.to_owned())),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Who it is: the UID, so that a gateway never writes the status of a namesake.
fn env(gateway: &ValidatedGateway) -> Vec<EnvVar> {
    let value = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let owner = &gateway.owner;
    vec![
        value("VMCP_NAMESPACE", &owner.namespace),
        value("VMCP_NAME", &owner.name),
        value("VMCP_UID", &owner.uid),
        value("VMCP_SESSION_KEYS", MOUNT),
        EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.name".to_owned(),
                    api_version: Some("v1".to_owned()),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
    ]
}

fn probe(path: &str, period: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(PROBE_TIMEOUT),
        failure_threshold: Some(PROBE_FAILURES),
        ..Probe::default()
    }
}
