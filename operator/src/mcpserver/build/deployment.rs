//! The Deployment of a workload: the image as it is, with restricted rights, a writable
//! /tmp and a writable home.
//!
//! Readiness is the open port for now: that a process listens, not that MCP works. The
//! handshake as readiness comes with the images that carry `vmcp probe`.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, PodSecurityContext, PodSpec, Probe, TCPSocketAction,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use vmcp_crds::mcpserver::{Workload, WorkloadVolume};

use crate::mcpserver::validate::ValidatedWorkload;
use crate::owner::Owner;
use crate::pod_spec::{MCP_PORT, pod_template, restricted, runtime_default, some_list, tcp_port};

/// Name of the container.
const CONTAINER: &str = "server";
/// Home of the user, writable although the root is not.
const HOME: &str = "/home/mcp";
const TMP: &str = "/tmp";
/// Seconds between two looks at the port.
const READINESS_PERIOD: i32 = 5;
/// Seconds that one look may take.
const READINESS_TIMEOUT: i32 = 2;
const READINESS_FAILURES: i32 = 3;

#[must_use]
pub fn deployment(owner: &Owner, workload: &ValidatedWorkload) -> Deployment {
    let spec = &workload.spec;
    let pod = PodSpec {
        automount_service_account_token: Some(false),
        security_context: Some(pod_security(spec)),
        image_pull_secrets: some_list(spec.image_pull_secrets.clone()),
        containers: vec![container(spec)],
        volumes: Some(volumes(spec)),
        ..PodSpec::default()
    };
    let restarted_at = workload.restarted_at.as_deref();
    Deployment {
        metadata: owner.child_meta(),
        spec: Some(DeploymentSpec {
            replicas: Some(spec.replicas),
            selector: LabelSelector {
                match_labels: Some(owner.selector()),
                ..LabelSelector::default()
            },
            template: pod_template(owner, restarted_at, spec.pod_template.as_ref(), pod),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn container(spec: &Workload) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(spec.image.clone()),
        image_pull_policy: spec
            .image_pull_policy
            .map(|policy| policy.as_str().to_owned()),
        command: some_list(spec.command.clone()),
        args: some_list(spec.args.clone()),
        env: Some(env(spec)),
        env_from: some_list(spec.env_from.clone()),
        ports: Some(vec![tcp_port(MCP_PORT, spec.port)]),
        readiness_probe: Some(readiness()),
        resources: spec.resources.clone(),
        security_context: Some(restricted(spec.security_context.read_only_root_filesystem)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(spec)),
        ..Container::default()
    }
}

/// The author's environment, and a home where it names none.
fn env(spec: &Workload) -> Vec<EnvVar> {
    let mut env = Vec::with_capacity(spec.env.len() + 1);
    if !spec.env.iter().any(|variable| variable.name == "HOME") {
        env.push(EnvVar {
            name: "HOME".to_owned(),
            value: Some(HOME.to_owned()),
            ..EnvVar::default()
        });
    }
    env.extend(spec.env.iter().cloned());
    env
}

fn readiness() -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::String(MCP_PORT.to_owned()),
            ..TCPSocketAction::default()
        }),
        period_seconds: Some(READINESS_PERIOD),
        timeout_seconds: Some(READINESS_TIMEOUT),
        failure_threshold: Some(READINESS_FAILURES),
        ..Probe::default()
    }
}

/// A user that the spec leaves to the image may be a named one, and a pod that must not
/// run as root cannot start with it: so only a number is held to be no root.
fn pod_security(spec: &Workload) -> PodSecurityContext {
    let security = &spec.security_context;
    PodSecurityContext {
        run_as_user: security.run_as_user,
        run_as_group: security.run_as_group,
        fs_group: security.fs_group,
        run_as_non_root: security.run_as_user.map(|_| true),
        seccomp_profile: Some(runtime_default()),
        ..PodSecurityContext::default()
    }
}

fn volumes(spec: &Workload) -> Vec<Volume> {
    let own = ["tmp", "home"].map(|name| Volume {
        name: own_volume(name),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    });
    own.into_iter()
        .chain(spec.volumes.iter().map(authors_volume))
        .collect()
}

fn mounts(spec: &Workload) -> Vec<VolumeMount> {
    let mount = |name: String, path: &str| VolumeMount {
        name,
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    let own = [
        mount(own_volume("tmp"), TMP),
        mount(own_volume("home"), HOME),
    ];
    let authors = spec
        .volumes
        .iter()
        .map(|volume| mount(authors_name(volume), &volume.mount_path));
    own.into_iter().chain(authors).collect()
}

fn authors_volume(volume: &WorkloadVolume) -> Volume {
    Volume {
        name: authors_name(volume),
        empty_dir: volume.empty_dir.clone(),
        config_map: volume.config_map.clone(),
        secret: volume.secret.clone(),
        persistent_volume_claim: volume.persistent_volume_claim.clone(),
        ..Volume::default()
    }
}

fn own_volume(name: &str) -> String {
    format!("vmcp-{name}")
}

/// A prefix of its own: an author's name is never one of ours.
fn authors_name(volume: &WorkloadVolume) -> String {
    format!("data-{}", volume.name)
}
