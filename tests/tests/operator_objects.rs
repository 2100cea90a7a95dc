//! What the operator makes of an MCPServer and a VirtualMCPServer on a real API server, under the
//! rights of the chart: objects, their removal, drift, and silence when nothing is to be done.

mod operator_kit;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams};
use operator_kit::{Kit, QUICK, kstatus};
use serde_json::{Value, json};
use vmcp_crds::MCPServer;
use vmcp_tests::eventually::eventually;

fn workload(name: &str) -> Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": { "name": name, "labels": { "set": "main" } },
        "spec": { "workload": { "image": "registry.example/git:1", "port": 3000,
            "resources": { "limits": { "memory": "64Mi" }, "requests": { "cpu": "0.5" } } } },
    })
}

/// Build 4: a workload has a Deployment, a Service and an account without a token; the object says
/// where it is and that it is not ready.
#[tokio::test]
async fn a_workload_gets_its_objects_and_an_honest_status() -> Result<()> {
    let kit = Kit::start("objects").await?;

    kit.create(&workload("git")).await?;

    let deployment = kit.until_exists::<Deployment>("mcp-git").await?;
    let service = kit.until_exists::<Service>("mcp-git").await?;
    let account = kit.until_exists::<ServiceAccount>("mcp-git").await?;
    ensure!(account.automount_service_account_token == Some(false));
    let port = service.spec.and_then(|s| s.ports).context("ports")?[0].port;
    ensure!(port == 3000, "{port}");
    let owners = deployment.metadata.owner_references.context("an owner")?;
    ensure!(owners[0].controller == Some(true) && owners[0].name == "git");
    let url = format!("http://mcp-git.{}.svc:3000/mcp", kit.world.name());
    kit.until_server("git", "the first visit", |status| {
        status["url"] == json!(url)
            && status["phase"] == "Pending"
            && status["selector"].is_string()
    })
    .await?;
    // Nothing schedules pods here, so it never is ready: a dependent must wait.
    ensure!(kstatus(&kit.server("git").await?) == "InProgress");
    Ok(())
}

/// Build 4: a change of the spec reaches the objects, a field that left the spec leaves them, a
/// change that somebody else made to what is ours is undone, and additions of others stay.
#[tokio::test]
async fn objects_follow_the_spec_and_nobody_else() -> Result<()> {
    let kit = Kit::start("follow").await?;
    kit.create(&workload("git")).await?;
    kit.until_exists::<Deployment>("mcp-git").await?;
    kit.annotate::<Deployment>("mcp-git", "example.com/theirs")
        .await?;

    kit.patch_server(
        "git",
        json!({ "spec": { "workload": {
        "image": "registry.example/git:2", "resources": null } } }),
    )
    .await?;

    kit.until::<Deployment>("mcp-git", "image 2 without limits", |found| {
        let container = &found["spec"]["template"]["spec"]["containers"][0];
        let limits = &container["resources"];
        container["image"] == "registry.example/git:2" && limits.get("limits").is_none()
    })
    .await?;

    let api = kit.api::<Deployment>();
    let scale = Patch::Merge(json!({ "spec": { "replicas": 7 } }));
    api.patch("mcp-git", &PatchParams::default(), &scale)
        .await?;
    let found = kit
        .until::<Deployment>("mcp-git", "one replica again", |found| {
            found["spec"]["replicas"] == 1
        })
        .await?;
    let theirs = &found["metadata"]["annotations"]["example.com/theirs"];
    ensure!(theirs == "kept", "{theirs}");
    Ok(())
}

/// Build 4: what is no longer built is deleted: all of it when a workload becomes remote.
#[tokio::test]
async fn a_workload_that_becomes_remote_leaves_no_objects() -> Result<()> {
    let kit = Kit::start("remote").await?;
    kit.create(&workload("git")).await?;
    kit.until_exists::<Deployment>("mcp-git").await?;

    kit.patch_server(
        "git",
        json!({ "spec": { "workload": null,
        "remote": { "url": "https://git.example.com/mcp" } } }),
    )
    .await?;

    kit.until_gone::<Deployment>("mcp-git").await?;
    kit.until_gone::<Service>("mcp-git").await?;
    kit.until_gone::<ServiceAccount>("mcp-git").await?;
    kit.until_server("git", "the URL of the remote", |status| {
        status["url"] == "https://git.example.com/mcp" && status.get("replicas").is_none()
    })
    .await?;
    // No gateway selects it: that must not hold up what depends on it.
    ensure!(kstatus(&kit.server("git").await?) == "Current");
    Ok(())
}

/// Build 4: a gateway has its five objects, the budget only with several replicas; deleting the
/// VirtualMCPServer removes them all, without a finalizer.
#[tokio::test]
async fn a_gateway_gets_its_objects_and_they_go_with_it() -> Result<()> {
    let kit = Kit::start("gateway").await?;
    kit.world
        .add_virtual("all", json!({ "replicas": 2 }))
        .await?;

    let deployment = kit.until_exists::<Deployment>("vmcp-all").await?;
    kit.until_exists::<Service>("vmcp-all").await?;
    kit.until_exists::<ServiceAccount>("vmcp-all").await?;
    kit.until_exists::<PodDisruptionBudget>("vmcp-all").await?;
    let binding = kit.until_exists::<RoleBinding>("vmcp-all").await?;
    ensure!(binding.role_ref.name == "vmcp-gateway");
    ensure!(deployment.metadata.finalizers.is_none());
    kit.patch_virtual("all", json!({ "spec": { "replicas": 1 } }))
        .await?;
    kit.until_gone::<PodDisruptionBudget>("vmcp-all").await?;

    let object = kit.world.virtuals().get("all").await?;
    ensure!(object.metadata.finalizers.is_none());
    kit.world
        .virtuals()
        .delete("all", &DeleteParams::default())
        .await?;

    kit.until_gone::<Deployment>("vmcp-all").await?;
    kit.until_gone::<RoleBinding>("vmcp-all").await?;
    kit.until_gone::<ServiceAccount>("vmcp-all").await
}

/// Show: steady state writes nothing but Lease renewals, also where the API server rewrites what we
/// write (`cpu: 0.5` becomes `500m`), and also after a restart.
#[tokio::test]
async fn a_steady_state_writes_nothing() -> Result<()> {
    let mut kit = Kit::start("steady").await?;
    for name in ["one", "two", "three"] {
        kit.create(&workload(name)).await?;
        kit.until_exists::<Deployment>(&format!("mcp-{name}"))
            .await?;
    }
    kit.world
        .add_virtual("all", json!({ "replicas": 2 }))
        .await?;
    kit.until_virtual("all", "all backends are listed", |status| {
        status["backends"] == "0/3"
    })
    .await?;
    kit.until_quiet().await?;

    let writes = kit.writes_during(Duration::from_secs(10)).await;
    ensure!(writes.is_empty(), "{writes:#?}");
    let deployment = kit.until_exists::<Deployment>("mcp-one").await?;
    let cpu = serde_json::to_value(&deployment)?["spec"]["template"]["spec"]["containers"][0]
        ["resources"]["requests"]["cpu"]
        .clone();
    ensure!(cpu == "500m", "the server did not rewrite it: {cpu}");
    // A visit that finds everything as it wants it writes nothing either.
    let visits = kit.visits().await?;
    let mark = kit.world.plane.audit().mark();
    kit.annotate::<MCPServer>("one", "example.com/visit")
        .await?;
    eventually("a visit", QUICK, || async {
        ensure!(kit.visits().await? > visits, "none");
        Ok(())
    })
    .await?;
    kit.until_quiet().await?;
    let writes = kit.writes_since(&mark);
    ensure!(writes.is_empty(), "{writes:#?}");

    kit.restart().await?;
    kit.until_leads().await?;
    kit.until_quiet().await?;
    let writes = kit.writes_during(Duration::from_secs(5)).await;
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

/// R2.10: a VirtualMCPServer before its servers, a ref before what it names.
#[tokio::test]
async fn objects_that_come_in_any_order_end_in_the_same_state() -> Result<()> {
    let kit = Kit::start("order").await?;
    let refs = json!({ "backends": { "refs": [{ "name": "late" }] } });
    kit.world.add_virtual("all", refs).await?;
    kit.until_virtual("all", "the ref that names nobody", |status| {
        let entry = &status["discoveredBackends"][0];
        entry["name"] == "late" && entry["reason"] == "BackendNotFound"
    })
    .await?;

    kit.world
        .add_remote("late", "http://127.0.0.1:9/mcp")
        .await?;

    let uid = kit.server("late").await?["metadata"]["uid"].clone();
    kit.until_virtual("all", "the server that came later", |status| {
        let entry = &status["discoveredBackends"][0];
        entry["uid"] == uid && entry["reason"] == "Pending"
    })
    .await?;
    eventually("no event about a problem is left", QUICK, || async {
        let object = kit.virtual_object("all").await?;
        ensure!(kstatus(&object) == "InProgress", "{object}");
        Ok(())
    })
    .await
}
