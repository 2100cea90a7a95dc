//! A deleted MCPServer leaves `status.discoveredBackends` although no gateway runs (R2.8, the
//! operator's side). With gateways: `cluster_deletion`.

mod operator_kit;

use std::time::Duration;

use anyhow::{Result, ensure};
use operator_kit::Kit;
use serde_json::{Value, json};
use vmcp_tests::eventually::eventually;

/// R2.8: from the deletion, or from the first live writer, whichever is later.
const GONE: Duration = Duration::from_secs(5);

/// A URL at which nobody needs to answer: the operator connects to nothing.
const NOWHERE: &str = "http://127.0.0.1:9/mcp";

async fn with_servers(prefix: &str, names: &[&str]) -> Result<Kit> {
    let kit = Kit::start(prefix).await?;
    for name in names {
        kit.world.add_remote(name, NOWHERE).await?;
    }
    kit.world.add_virtual("all", json!({})).await?;
    let count = names.len();
    kit.until_virtual("all", "all servers are listed", |status| {
        entries(status).len() == count
    })
    .await?;
    Ok(kit)
}

fn entries(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = status["discoveredBackends"].as_array();
    list.into_iter()
        .flatten()
        .map(|entry| (text(&entry["name"]), text(&entry["uid"])))
        .collect()
}

/// Waits, for as long as R2.8 allows, until exactly these servers are listed and counted.
async fn only(kit: &Kit, expected: &[(String, String)]) -> Result<()> {
    eventually("the entry is gone", GONE, || async {
        let object = kit.virtual_object("all").await?;
        let status = &object["status"];
        ensure!(entries(status) == expected, "{status}");
        ensure!(status["backendCount"] == expected.len(), "{status}");
        ensure!(
            status["backends"] == format!("0/{}", expected.len()),
            "{status}"
        );
        Ok(())
    })
    .await
}

async fn identity(kit: &Kit, name: &str) -> Result<(String, String)> {
    let object = kit.server(name).await?;
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    Ok((name.to_owned(), uid.to_owned()))
}

/// R2.8: no gateway runs.
#[tokio::test]
async fn a_deleted_server_leaves_the_status_without_any_gateway() -> Result<()> {
    let kit = with_servers("prune", &["one", "two"]).await?;

    kit.world.delete_server("one").await?;

    only(&kit, &[identity(&kit, "two").await?]).await
}

/// R2.8: the last backend.
#[tokio::test]
async fn the_last_deleted_server_leaves_an_empty_list() -> Result<()> {
    let kit = with_servers("last", &["one"]).await?;

    kit.world.delete_server("one").await?;

    only(&kit, &[]).await
}

/// R2.8: a new server of the same name, at once, is another backend: nothing of the old one stays.
#[tokio::test]
async fn a_server_created_again_at_once_is_listed_with_its_own_uid() -> Result<()> {
    let kit = with_servers("again", &["one"]).await?;
    let old = identity(&kit, "one").await?;

    kit.world.delete_server("one").await?;
    kit.world.add_remote("one", NOWHERE).await?;

    let new = identity(&kit, "one").await?;
    ensure!(new != old);
    only(&kit, &[new]).await
}

/// R2.8: the operator is down during the deletion.
#[tokio::test]
async fn a_server_deleted_while_the_operator_is_down_leaves_when_it_is_back() -> Result<()> {
    let mut kit = with_servers("down", &["one", "two"]).await?;
    kit.operator.program.terminate(operator_kit::QUICK).await?;

    kit.world.delete_server("one").await?;
    kit.operator = kit.world.operator().await?;
    kit.until_leads().await?;

    only(&kit, &[identity(&kit, "two").await?]).await
}

/// R2.8: a server that the selector no longer matches leaves too, and comes back with its label.
#[tokio::test]
async fn a_server_that_is_no_longer_selected_leaves_the_status() -> Result<()> {
    let kit = with_servers("label", &["one", "two"]).await?;
    let both = [identity(&kit, "one").await?, identity(&kit, "two").await?];
    let label = |value: Value| json!({ "metadata": { "labels": { "set": value } } });

    kit.patch_server("one", label(json!("other"))).await?;
    only(&kit, &both[1..]).await?;

    kit.patch_server("one", label(json!("main"))).await?;
    only(&kit, &both).await
}
