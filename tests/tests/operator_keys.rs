//! Session keys of a gateway on a real API server: made before they are named, never twice, and
//! replaced in two rolls.

mod operator_kit;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use operator_kit::Kit;
use serde_json::{Value, json};

/// Names of the mounted Secrets, the one that seals first.
fn mounted(deployment: &Value) -> Vec<String> {
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array();
    let mut volumes = volumes.into_iter().flatten();
    let volume = volumes.find(|volume| volume["name"] == "session-keys");
    let sources = volume.and_then(|volume| volume["projected"]["sources"].as_array());
    let mut names: Vec<(String, String)> = sources
        .into_iter()
        .flatten()
        .map(|source| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let secret = &source["secret"];
            (text(&secret["items"][0]["path"]), text(&secret["name"]))
        })
        .collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}

async fn secrets(kit: &Kit) -> Result<Vec<Secret>> {
    let mut all = kit
        .api::<Secret>()
        .list(&ListParams::default())
        .await?
        .items;
    all.retain(|secret| {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        name.starts_with("vmcp-all-key-")
    });
    Ok(all)
}

/// Plays the Deployment controller and the kubelets: all pods are of the newest template.
async fn roll_out(kit: &Kit) -> Result<()> {
    let api = kit.api::<Deployment>();
    let generation = api.get("vmcp-all").await?.metadata.generation;
    let status = json!({ "status": { "observedGeneration": generation, "replicas": 2,
        "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2 } });
    let patch = Patch::Merge(status);
    api.patch_status("vmcp-all", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// As [`roll_out`], again and again until the operator has seen it: the real Deployment controller
/// has the last word on that status, and says that no pod is available.
async fn keep_rolled_out(kit: &Kit) -> Result<Value> {
    loop {
        roll_out(kit).await?;
        // Only to leave the real controller and the operator their turns.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Decision 4: a key exists before the Deployment names it; it is immutable, goes with its owner,
/// and neither another visit nor another operator makes a second one.
#[tokio::test]
async fn a_gateway_gets_one_session_key_and_keeps_it() -> Result<()> {
    let mut kit = Kit::start("keys").await?;
    kit.world
        .add_virtual("all", json!({ "replicas": 2 }))
        .await?;

    let deployment = kit
        .until::<Deployment>("vmcp-all", "a key is mounted", |found| {
            mounted(found).len() == 1
        })
        .await?;
    let found = secrets(&kit).await?;
    ensure!(found.len() == 1, "{} keys", found.len());
    let secret = &found[0];
    ensure!(secret.metadata.name.as_deref() == Some(&*mounted(&deployment)[0]));
    ensure!(secret.immutable == Some(true));
    let key = secret.data.as_ref().and_then(|data| data.get("key"));
    ensure!(key.context("no key")?.0.len() == 32);
    let owners = secret.metadata.owner_references.as_ref();
    ensure!(owners.context("no owner")?[0].name == "all");

    kit.restart().await?;
    kit.until_leads().await?;
    kit.patch_virtual("all", json!({ "spec": { "drainSeconds": 60 } }))
        .await?;
    let after = kit
        .until::<Deployment>("vmcp-all", "the new spec", |found| {
            found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 90
        })
        .await?;
    ensure!(mounted(&after) == mounted(&deployment));
    kit.until_quiet().await?;
    let count = secrets(&kit).await?.len();
    ensure!(count == 1, "{count} keys");
    Ok(())
}

/// Decision 4: first every replica learns to open the new key, then they seal with it, and the old
/// one stays for the sessions that it sealed.
#[tokio::test]
async fn a_rotation_learns_the_new_key_before_it_seals_with_it() -> Result<()> {
    let kit = Kit::start("rotate").await?;
    kit.world
        .add_virtual("all", json!({ "replicas": 2 }))
        .await?;
    let before = kit
        .until::<Deployment>("vmcp-all", "a key is mounted", |found| {
            mounted(found).len() == 1
        })
        .await?;
    let old = mounted(&before).remove(0);
    roll_out(&kit).await?;
    kit.until_quiet().await?;

    let ask = json!({ "metadata": { "annotations": { "vmcp.dev/rotateSessionKeys": "1" } } });
    kit.patch_virtual("all", ask).await?;
    let learning = kit
        .until::<Deployment>("vmcp-all", "the new key is learnt", |found| {
            mounted(found).len() == 2
        })
        .await?;
    let names = mounted(&learning);
    ensure!(
        names[0] == old,
        "it seals with a key that not all can open: {names:?}"
    );
    // Not before all pods have it: the roll is under way.
    kit.until_quiet().await?;
    let found = serde_json::to_value(kit.api::<Deployment>().get("vmcp-all").await?)?;
    ensure!(mounted(&found) == names, "{:?}", mounted(&found));

    let new = names[1].clone();
    let sealing = tokio::select! {
        found = kit.until::<Deployment>("vmcp-all", "the new key seals", |found| {
            mounted(found).first() == Some(&new)
        }) => found?,
        failed = keep_rolled_out(&kit) => failed?,
    };
    ensure!(mounted(&sealing) == [new, old], "{:?}", mounted(&sealing));
    roll_out(&kit).await?;
    kit.until_quiet().await?;
    let count = secrets(&kit).await?.len();
    ensure!(count == 2, "{count} keys");
    let writes = kit.writes_during(std::time::Duration::from_secs(3)).await;
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}
