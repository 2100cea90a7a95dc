//! Lists that outlive the process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmcp_tests::backend::{Backend, Script, Shelf};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{GatewayProcess, SOON, remote, virtual_server};

/// A stop with nothing under way.
const STOPPED: Duration = Duration::from_secs(12);

async fn start(folder: &Path) -> Result<GatewayProcess> {
    let cache = folder.join("cache");
    let flags = [
        "--cache-dir",
        cache.to_str().unwrap_or_default(),
        "--drain-seconds",
        "0",
    ];
    GatewayProcess::from_files(&folder.join("objects"), &flags, folder).await
}

fn write(folder: &Path, name: &str, manifest: &Value) -> Result<()> {
    let draft = folder.join("draft");
    std::fs::write(&draft, manifest.to_string())?;
    Ok(std::fs::rename(draft, folder.join("objects").join(name))?)
}

fn kept(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder.join("cache"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    Ok(paths)
}

async fn until_kept(folder: &Path, count: usize) -> Result<()> {
    eventually("the lists are kept", SOON, || async {
        let found = kept(folder)?.len();
        ensure!(found == count, "{found} files");
        Ok(())
    })
    .await
}

/// R4.5, R4.13: a restarted gateway lists before any backend is up, says that the lists may be old,
/// and calls fail honestly; what is broken on disk costs a warning; a removed backend's file goes.
#[tokio::test]
async fn a_restarted_gateway_lists_before_any_backend_is_up() -> Result<()> {
    let one = Backend::start(Script::legacy().with_shelf(Shelf::small("one"))).await?;
    let two = Backend::start(Script::modern()).await?;
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("objects"))?;
    write(dir.path(), "all.json", &virtual_server("local", json!({})))?;
    write(dir.path(), "one.json", &remote("one", &one.url()))?;
    write(dir.path(), "two.json", &remote("two", &two.url()))?;
    let gateway = start(dir.path()).await?;
    until_kept(dir.path(), 2).await?;
    let tools = LegacyClient::open(gateway.listen).await?.tools().await?;
    gateway.program.terminate(STOPPED).await?;
    one.stop().await;
    two.stop().await;

    let gateway = start(dir.path()).await?;
    let client = LegacyClient::open(gateway.listen).await?;

    ensure!(
        tools.len() == 8 && client.tools().await? == tools,
        "{tools:?}"
    );
    let prompts = client.result("prompts/list", json!({})).await?;
    ensure!(prompts["prompts"][0]["name"] == "one_greet", "{prompts}");
    let stale = |name: &str| json!({"backend": name, "entries": "stale"});
    let told = &prompts["_meta"]["vmcp.dev/partial"];
    ensure!(*told == json!([stale("one"), stale("two")]), "{told}");
    for tool in ["one_echo", "two_echo"] {
        let answer = client.call(tool, json!({"text": "x"})).await?;
        ensure!(answer["error"]["code"] == -32001, "{answer}");
    }

    std::fs::remove_file(dir.path().join("objects/two.json"))?;
    until_kept(dir.path(), 1).await?;
    gateway.program.terminate(STOPPED).await?;
    std::fs::write(&kept(dir.path())?[0], "{\"version\":1,")?;
    let gateway = start(dir.path()).await?;
    gateway
        .program
        .wait_for_line("kept lists are not used", SOON)
        .await?;
    ensure!(
        LegacyClient::open(gateway.listen)
            .await?
            .tools()
            .await?
            .is_empty()
    );
    one.restart().await?;
    eventually("the lists are back", Duration::from_secs(30), || async {
        let answer = http::modern(gateway.listen, "tools/list", json!({}))
            .await?
            .json()?;
        ensure!(
            answer["result"]["tools"].as_array().map(Vec::len) == Some(4),
            "{answer}"
        );
        Ok(())
    })
    .await
}
