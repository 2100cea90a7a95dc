//! The operator with rights on the whole cluster, on a control plane of its own: beside the shared
//! one's operators, which serve one namespace each, it would fight over their objects.

mod operator_kit;

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
use vmcp_tests::controlplane::{ControlPlane, Namespace, Options, OwnedControlPlane};
use vmcp_tests::eventually::eventually;
use vmcp_tests::stack::{
    OperatorProcess, SYSTEM, Scope, apply_yaml, install, remote, virtual_server,
};

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

    let virtuals: Api<vmcp_crds::VirtualMCPServer> =
        Api::namespaced(cluster.client.clone(), &namespace.name);
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
