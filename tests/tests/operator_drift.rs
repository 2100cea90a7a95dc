//! Fields that the API server replaces as a whole (selectors, tolerations, subjects): what leaves
//! the spec leaves the cluster, and what somebody adds is undone.

mod operator_kit;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Patch, PatchParams};
use operator_kit::Kit;
use serde_json::{Value, json};

/// A repair is one event and one write.
const SECONDS: Duration = Duration::from_secs(5);

fn workload() -> Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": { "name": "git", "labels": { "set": "main" } },
        "spec": { "workload": {
            "image": "registry.example/git:1",
            "env": [{ "name": "HOST", "value": "a" }, { "name": "URL", "value": "http://$(HOST)" }],
            "podTemplate": {
                "nodeSelector": { "disk": "ssd", "zone": "a" },
                "tolerations": [{ "key": "gpu", "operator": "Exists" },
                    { "key": "spot", "operator": "Exists" }],
            },
        } },
    })
}

/// As somebody with `kubectl patch` does it.
async fn meddle<K: operator_kit::Kind>(kit: &Kit, name: &str, patch: Value) -> Result<()> {
    let patch = Patch::Merge(patch);
    let params = PatchParams::default();
    kit.api::<K>().patch(name, &params, &patch).await?;
    Ok(())
}

/// How often the operator told of a rollout of the server.
async fn rollouts(kit: &Kit) -> Result<i32> {
    let events = kit.api::<Event>().list(&ListParams::default()).await?;
    let told = events.items.iter().filter(|event| {
        event.reason.as_deref() == Some("RolloutStarted")
            && event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some("git")
    });
    Ok(told
        .map(|event| event.series.as_ref().map_or(1, |series| series.count))
        .sum())
}

/// Build 4: a key, a toleration and an order that leave the spec leave the Deployment. API, events:
/// a rollout is told once. Show: steady
/// state writes nothing.
#[tokio::test]
async fn what_leaves_an_atomic_field_of_the_spec_leaves_the_deployment() -> Result<()> {
    let kit = Kit::start("atomic").await?;
    kit.create(&workload()).await?;
    kit.until::<Deployment>("mcp-git", "both keys", |found| {
        let pod = &found["spec"]["template"]["spec"];
        pod["nodeSelector"] == json!({ "disk": "ssd", "zone": "a" })
    })
    .await?;
    kit.until_quiet().await?;
    // Taking over what the creation left is a write, and no rollout.
    let told = rollouts(&kit).await?;
    ensure!(told == 1, "{told}");

    let changed = json!({ "spec": { "workload": {
        "env": [{ "name": "URL", "value": "http://$(HOST)" }, { "name": "HOST", "value": "a" }],
        "podTemplate": {
            "nodeSelector": { "zone": null },
            "tolerations": [{ "key": "spot", "operator": "Exists" }],
        },
    } } });
    let start = Instant::now();
    kit.patch_server("git", changed).await?;

    kit.until::<Deployment>("mcp-git", "one of each, URL before HOST", |found| {
        let pod = &found["spec"]["template"]["spec"];
        let env = pod["containers"][0]["env"].as_array();
        let names = env.into_iter().flatten().map(|variable| &variable["name"]);
        let names: Vec<&Value> = names.filter(|name| *name != "HOME").collect();
        pod["nodeSelector"] == json!({ "disk": "ssd" })
            && pod["tolerations"] == json!([{ "key": "spot", "operator": "Exists" }])
            && names == ["URL", "HOST"]
    })
    .await?;
    ensure!(start.elapsed() < SECONDS, "{:?}", start.elapsed());

    kit.until_quiet().await?;
    let writes = kit.writes_during(Duration::from_secs(10)).await;
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

/// Build 4: a stranger's account in our binding would have a gateway's rights, and a Service that
/// selects more than our labels has no endpoints: both are put right within seconds. Show: steady
/// state writes nothing.
#[tokio::test]
async fn what_somebody_adds_to_a_selector_or_to_subjects_is_undone() -> Result<()> {
    let kit = Kit::start("drift").await?;
    kit.create(&workload()).await?;
    kit.world.add_virtual("all", json!({})).await?;
    kit.until_exists::<Deployment>("mcp-git").await?;
    kit.until_exists::<Deployment>("vmcp-all").await?;
    kit.until_quiet().await?;
    let binding = kit.until_exists::<RoleBinding>("vmcp-all").await?;
    let service = kit.until_exists::<Service>("mcp-git").await?;
    let subjects = serde_json::to_value(&binding)?["subjects"].clone();
    let selector = serde_json::to_value(&service)?["spec"]["selector"].clone();
    let mut more = subjects.clone();
    let stranger = json!({ "kind": "ServiceAccount", "name": "eve", "namespace": "default" });
    more.as_array_mut()
        .into_iter()
        .for_each(|list| list.push(stranger.clone()));
    ensure!(more != subjects, "no subjects: {subjects}");

    let start = Instant::now();
    meddle::<RoleBinding>(&kit, "vmcp-all", json!({ "subjects": more })).await?;
    meddle::<Service>(
        &kit,
        "mcp-git",
        json!({ "spec": { "selector": { "no": "pod" } } }),
    )
    .await?;

    kit.until::<RoleBinding>("vmcp-all", "our subject alone", |found| {
        found["subjects"] == subjects
    })
    .await?;
    kit.until::<Service>("mcp-git", "our labels alone", |found| {
        found["spec"]["selector"] == selector
    })
    .await?;
    ensure!(start.elapsed() < SECONDS, "{:?}", start.elapsed());

    kit.until_quiet().await?;
    let writes = kit.writes_during(Duration::from_secs(10)).await;
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}
