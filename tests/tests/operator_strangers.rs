//! An object that has the name that we want and is not ours is never touched, says why nothing
//! moves, and survives the deletion of ours.

mod operator_kit;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, PostParams};
use operator_kit::{Kit, kstatus, says};
use serde_json::json;

fn workload() -> serde_json::Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": { "name": "git" },
        "spec": { "workload": { "image": "registry.example/git:1" } },
    })
}

async fn strangers_service(kit: &Kit) -> Result<Service> {
    let service = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "mcp-git" },
        "spec": { "ports": [{ "port": 1234 }], "selector": { "app": "theirs" } },
    }))?;
    Ok(kit
        .api::<Service>()
        .create(&PostParams::default(), &service)
        .await?)
}

/// Show, strangers: never touched, `Stalled=True NameConflict`, nothing that depends on it is made,
/// and it outlives ours. R2.10: once it is gone, everything goes on by itself.
#[tokio::test]
async fn a_strangers_service_is_never_touched_and_survives() -> Result<()> {
    let kit = Kit::start("stranger").await?;
    let before = strangers_service(&kit).await?;
    kit.create(&workload()).await?;

    let stalled = kit
        .until_server("git", "it is stalled", |status| {
            says(status, "Stalled") == "True/NameConflict"
        })
        .await?;
    ensure!(kstatus(&stalled) == "Failed");
    let message = stalled["status"]["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("Service \"mcp-git\" exists and is not ours"),
        "{message}"
    );
    kit.until_quiet().await?;
    ensure!(
        kit.api::<Service>().get("mcp-git").await? == before,
        "it was touched"
    );
    ensure!(kit.api::<Deployment>().get_opt("mcp-git").await?.is_none());

    kit.world.delete_server("git").await?;
    kit.until_gone::<ServiceAccount>("mcp-git").await?;
    ensure!(
        kit.api::<Service>().get("mcp-git").await? == before,
        "it went along"
    );

    kit.create(&workload()).await?;
    kit.until_server("git", "it is stalled again", |status| {
        says(status, "Stalled") == "True/NameConflict"
    })
    .await?;
    kit.api::<Service>()
        .delete("mcp-git", &DeleteParams::default())
        .await?;
    kit.until_exists::<Deployment>("mcp-git").await?;
    kit.until_server("git", "it goes on", |status| {
        says(status, "Stalled") == "False/Reconciled"
    })
    .await?;
    Ok(())
}

/// Show, strangers: an account that is not ours is not given a gateway's rights, and no gateway
/// runs as it.
#[tokio::test]
async fn a_strangers_account_gets_no_rights() -> Result<()> {
    let kit = Kit::start("account").await?;
    let account = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "vmcp-all" },
    }))?;
    let accounts = kit.api::<ServiceAccount>();
    let before = accounts.create(&PostParams::default(), &account).await?;

    kit.world.add_virtual("all", json!({})).await?;

    let stalled = kit
        .until_virtual("all", "it is stalled", |status| {
            says(status, "Stalled") == "True/NameConflict" && status["phase"] == "Failed"
        })
        .await?;
    ensure!(kstatus(&stalled) == "Failed");
    ensure!(says(&stalled["status"], "Ready") == "False/NameConflict");
    kit.until_quiet().await?;
    ensure!(accounts.get("vmcp-all").await? == before, "it was touched");
    ensure!(
        kit.api::<RoleBinding>()
            .get_opt("vmcp-all")
            .await?
            .is_none()
    );
    ensure!(kit.api::<Deployment>().get_opt("vmcp-all").await?.is_none());
    Ok(())
}

/// Show, strangers: an object with our name and labels, but another controller, is a stranger's too.
#[tokio::test]
async fn labels_alone_make_nothing_ours() -> Result<()> {
    let kit = Kit::start("labels").await?;
    let service = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "mcp-git", "labels": {
            "app.kubernetes.io/managed-by": "vmcp-operator", "vmcp.dev/mcpserver": "git" } },
        "spec": { "ports": [{ "port": 1234 }] },
    }))?;
    let services = kit.api::<Service>();
    let before = services.create(&PostParams::default(), &service).await?;

    kit.create(&workload()).await?;

    kit.until_server("git", "it is stalled", |status| {
        says(status, "Stalled") == "True/NameConflict"
    })
    .await?;
    ensure!(services.get("mcp-git").await? == before, "it was touched");
    Ok(())
}
