//! The operator with rights on the whole cluster, on a control plane of its own: beside the shared
//! one's operators, which serve one namespace each, it would fight over their objects.

mod operator_kit;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use operator_kit::QUICK;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use vmcp_crds::phase::BackendState;
use vmcp_crds::{MCPServer, VirtualMCPServer};
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::controlplane::{ControlPlane, Namespace, Options, OwnedControlPlane};
use vmcp_tests::eventually::eventually;
use vmcp_tests::stack::{
    GatewayOptions, GatewayProcess, OperatorProcess, SOON, SYSTEM, Scope, apply_yaml, entry,
    install, remote, virtual_server,
};

/// A deleted server's entry would be gone by then: the grace of a living gateway and a visit, twice.
const PRUNED: Duration = Duration::from_secs(8);

struct Cluster {
    operator: OperatorProcess,
    client: Client,
    plane: OwnedControlPlane,
    _dir: TempDir,
}

impl Cluster {
    async fn start() -> Result<Self> {
        let plane = ControlPlane::start(Options::default()).await?;
        install(&plane, SYSTEM, Scope::Cluster).await?;
        let dir = tempfile::tempdir()?;
        let operator = OperatorProcess::start(&plane, SYSTEM, Scope::Cluster, dir.path()).await?;
        let client = plane.admin().await?;
        Ok(Self {
            operator,
            client,
            plane,
            _dir: dir,
        })
    }

    async fn with_gateway(&self, prefix: &str) -> Result<Namespace> {
        let namespace = self.plane.namespace(prefix).await?;
        let text = virtual_server("all", json!({})).to_string();
        apply_yaml(&self.plane, &namespace.name, &text).await?;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &namespace.name);
        eventually("the gateway's Deployment", QUICK, || async {
            deployments.get("vmcp-all").await.context("none yet")
        })
        .await
        .with_context(|| self.operator.program.log_tail())?;
        Ok(namespace)
    }
}

/// Build 4, RBAC: with the cluster roles one operator serves every namespace, gateways get the
/// cluster role, and nothing that it asks for is refused.
#[tokio::test]
async fn one_operator_serves_every_namespace_with_the_rights_of_the_install_file() -> Result<()> {
    let cluster = Cluster::start().await?;
    let audit = cluster.plane.audit();
    let mark = audit.mark();

    for prefix in ["first", "second"] {
        let namespace = cluster.with_gateway(prefix).await?;
        let bindings: Api<RoleBinding> = Api::namespaced(cluster.client.clone(), &namespace.name);
        let role = bindings.get("vmcp-all").await?.role_ref;
        ensure!(
            role.kind == "ClusterRole" && role.name == "vmcp-gateway",
            "{role:?}"
        );
    }

    let ours = format!("system:serviceaccount:{SYSTEM}:vmcp-operator");
    let asked: Vec<_> = audit
        .since(&mark)
        .into_iter()
        .filter(|e| e.user == ours)
        .collect();
    ensure!(asked.len() > 10, "only {} requests seen", asked.len());
    let refused: Vec<_> = asked
        .iter()
        .filter(|e| matches!(e.code, 401 | 403))
        .collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// Build 4: an object of our kind that cannot be decoded (an older or newer schema let it in) gets an
/// event, is skipped, and stops no other.
#[tokio::test]
async fn an_object_that_cannot_be_decoded_is_skipped_with_an_event() -> Result<()> {
    let cluster = Cluster::start().await?;
    let namespace = cluster.with_gateway("odd").await?;
    loosen_schema(&cluster.client).await?;
    let mut odd = remote("odd", "https://a.example/mcp");
    odd["spec"] = json!({ "remote": "nonsense" });
    eventually("the loose schema lets it in", QUICK, || async {
        apply_yaml(&cluster.plane, &namespace.name, &odd.to_string()).await
    })
    .await?;

    let good = remote("good", "https://b.example/mcp").to_string();
    apply_yaml(&cluster.plane, &namespace.name, &good).await?;

    let virtuals: Api<VirtualMCPServer> = Api::namespaced(cluster.client.clone(), &namespace.name);
    eventually("the other one is listed", QUICK, || async {
        let status = virtuals.get("all").await?.status.context("no status")?;
        let names: Vec<&str> = status
            .discovered_backends
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        ensure!(names == ["good"], "{names:?}");
        Ok(())
    })
    .await?;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &namespace.name);
    eventually("the event about the odd one", QUICK, || async {
        let found = events.list(&ListParams::default()).await?.items;
        let told = found.iter().any(|event| {
            event.reason.as_deref() == Some("UndecodableObject")
                && event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some("odd")
        });
        ensure!(told, "{} other events", found.len());
        Ok(())
    })
    .await
}

/// R2.8, decision 7: a server that cannot be decoded is not deleted: the operator leaves the entry
/// that a living gateway wrote, and nobody fights over it.
#[tokio::test]
async fn the_entry_of_a_server_that_can_no_longer_be_decoded_stays() -> Result<()> {
    let cluster = Cluster::start().await?;
    let namespace = cluster.with_gateway("odd").await?;
    let backend = Backend::start(Script::legacy()).await?;
    for name in ["odd", "good"] {
        let text = remote(name, &backend.url()).to_string();
        apply_yaml(&cluster.plane, &namespace.name, &text).await?;
    }
    let options = GatewayOptions::replica("all-0");
    let dir = tempfile::tempdir()?;
    let _gateway =
        GatewayProcess::in_cluster(&cluster.plane, &namespace.name, "all", &options, dir.path())
            .await?;
    let virtuals: Api<VirtualMCPServer> = Api::namespaced(cluster.client.clone(), &namespace.name);
    let is_listed = || async {
        let status = virtuals.get("all").await?.status.context("no status")?;
        let found = entry(&status, "odd").is_some_and(|found| found.state == BackendState::Ready);
        ensure!(found, "{}", serde_json::to_string(&status)?);
        Ok(())
    };
    eventually("the gateway serves it", SOON, is_listed).await?;
    loosen_schema(&cluster.client).await?;
    let servers: Api<MCPServer> = Api::namespaced(cluster.client.clone(), &namespace.name);
    // Another type of a field that the gateway's view of the object needs.
    let odd: Patch<Value> = Patch::Merge(json!({ "spec": { "timeout": { "connect": 5 },
        "remote": { "url": ["nonsense"] } } }));
    eventually("the loose schema lets it in", QUICK, || async {
        let params = PatchParams::default();
        let patched = servers.patch_metadata("odd", &params, &odd).await?;
        ensure!(patched.metadata.generation > Some(1), "still as it was");
        Ok(())
    })
    .await?;

    let decoded = servers.get("odd").await;
    ensure!(decoded.is_err(), "it can be decoded: {decoded:?}");
    // A change of the other one makes the operator look at the entries again.
    let label: Patch<Value> = Patch::Merge(json!({ "metadata": { "labels": { "now": "odd" } } }));
    servers
        .patch_metadata("good", &PatchParams::default(), &label)
        .await?;
    let mark = cluster.plane.audit().mark();
    let end = Instant::now() + PRUNED;
    while Instant::now() < end {
        let status = virtuals.get("all").await?.status.context("no status")?;
        let found = entry(&status, "odd").is_some();
        ensure!(found, "{}", serde_json::to_string(&status)?);
        // Sampling: a removal would be undone by the gateway a second later.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ours = format!("system:serviceaccount:{SYSTEM}:vmcp-operator");
    let events = cluster.plane.audit().since(&mark);
    let pruned = events
        .iter()
        .any(|e| e.user == ours && e.verb == "patch" && e.resource == "virtualmcpservers");
    ensure!(!pruned, "the operator wrote: {events:#?}");
    Ok(())
}

/// Takes the schema of `spec` away from MCPServer.
async fn loosen_schema(client: &Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let loose = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let operations: Value = json!([{ "op": "replace", "path": path, "value": loose }]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(operations)?);
    let params = PatchParams::default();
    definitions
        .patch("mcpservers.vmcp.dev", &params, &patch)
        .await?;
    Ok(())
}
