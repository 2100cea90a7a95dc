//! A control plane belongs to somebody, and leaves nothing behind when he goes, however he goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use vmcp_tests::controlplane::{ControlPlane, Controllers, Options, clean_leftovers, shared};
use vmcp_tests::eventually::eventually;
use vmcp_tests::process::{Launch, Program, Signal};

const SOON: Duration = Duration::from_secs(30);
/// A whole control plane starts, on a busy machine.
const STARTED: Duration = Duration::from_secs(100);

/// Whether a process of this id runs; a zombie does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

fn pids_in(directory: &Path) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir(directory.join("pids"))? {
        pids.push(fs::read_to_string(entry?.path())?.parse()?);
    }
    Ok(pids)
}

async fn gone(pids: &[u32]) -> Result<()> {
    eventually("the servers are gone", SOON, || async {
        let left: Vec<&u32> = pids.iter().filter(|&&pid| runs(pid)).collect();
        ensure!(left.is_empty(), "{left:?} run");
        Ok(())
    })
    .await
}

/// Issue 3, Build 2: tests of recovery need an API server that dies and comes back with its data.
#[tokio::test]
async fn a_private_api_server_comes_back_on_its_port_with_its_data() -> Result<()> {
    let plane = ControlPlane::start(Options {
        controllers: Controllers::Absent,
        ..Options::default()
    })
    .await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.admin().await?, "default");
    let kept = serde_json::from_value(json!({ "metadata": { "name": "kept" } }))?;
    maps.create(&PostParams::default(), &kept).await?;
    let (directory, pids) = (plane.directory().to_owned(), pids_in(plane.directory())?);

    plane.kill_apiserver()?;
    let down = maps.get("kept").await;
    let restarted = Instant::now();
    plane.restart_apiserver().await?;
    println!("API server ready again after {:?}", restarted.elapsed());
    let up = maps.get("kept").await?;

    assert!(down.is_err(), "a dead server answered");
    assert_eq!(up.metadata.name.as_deref(), Some("kept"));
    assert_eq!(plane.casualty(), None);
    let all = [pids, pids_in(plane.directory())?].concat();
    drop(plane);
    assert!(
        all.iter().all(|&pid| !runs(pid)),
        "a server outlived its handle"
    );
    assert!(!directory.exists(), "its folder outlived its handle");
    Ok(())
}

/// Starts `cluster up` and returns it with the folder of its control plane, once that is ready.
async fn cluster_up(folder: &Path, more: &[&str]) -> Result<(Program, PathBuf)> {
    let cluster = Launch::ours("cluster")?
        .args(["up", "--announce"])
        .arg(folder)
        .args(more)
        .start(folder.join("log"))?;
    let directory = eventually("an announcement", STARTED, || async {
        if cluster.exited()?.is_some() {
            return Ok(None);
        }
        Ok(Some(PathBuf::from(fs::read_to_string(
            folder.join("current"),
        )?)))
    })
    .await?;
    match directory {
        Some(directory) => Ok((cluster, directory)),
        None => bail!("cluster ended: {}", cluster.log()),
    }
}

/// Issue 3, Build 2: killed servers and folders of a crashed run are gone after the next start.
#[tokio::test]
async fn what_a_killed_run_left_is_removed_and_nothing_else() -> Result<()> {
    let place = tempfile::tempdir()?;
    let (cluster, directory) = cluster_up(place.path(), &[]).await?;
    let pids = pids_in(&directory)?;
    // A server that the kernel did not kill, as if it had been started without that promise, and a
    // process whose id stands in the folder but which works elsewhere.
    let survivor = Launch::new("tail")
        .arg("-f")
        .arg(directory.join("cluster.json"))
        .start(place.path().join("survivor"))?;
    let stranger = Launch::new("sleep")
        .arg("600")
        .start(place.path().join("stranger"))?;
    for (name, program) in [("survivor", &survivor), ("stranger", &stranger)] {
        fs::write(directory.join("pids").join(name), program.pid().to_string())?;
    }
    let running = shared().await?;

    clean_leftovers()?;
    let while_it_runs = directory.exists() && survivor.exited()?.is_none();
    cluster.signal(Signal::KILL)?;
    cluster.wait(SOON).await?;
    gone(&pids).await?;
    let left = directory.exists();
    clean_leftovers()?;

    assert!(
        while_it_runs,
        "a running control plane was taken for a leftover"
    );
    assert!(left, "nothing was left to clean");
    assert!(!directory.exists());
    survivor.wait(SOON).await.context("the survivor")?;
    assert!(stranger.exited()?.is_none(), "a stranger was killed");
    running.admin().await?.apiserver_version().await?;
    Ok(())
}

/// Issue 3, Build 2: `make cluster` ends on Ctrl-C, and by itself when no test uses it any more.
#[tokio::test]
async fn a_control_plane_for_a_person_cleans_up_after_itself() -> Result<()> {
    let [first, second] = [tempfile::tempdir()?, tempfile::tempdir()?];

    let (interrupted, one) = cluster_up(first.path(), &[]).await?;
    let (idle, other) = cluster_up(second.path(), &["--idle-exit", "1"]).await?;
    let pids = [pids_in(&one)?, pids_in(&other).unwrap_or_default()].concat();
    interrupted.signal(Signal::INT)?;
    let statuses = [interrupted.wait(SOON).await?, idle.wait(SOON).await?];

    assert!(statuses.iter().all(std::process::ExitStatus::success));
    assert!(interrupted.log().contains("export KUBECONFIG="));
    assert!(!one.exists() && !other.exists());
    assert!(!second.path().join("current").exists(), "still announced");
    gone(&pids).await
}

/// Issue 3, Build 2: one server around a whole test run, with the exit code of the run.
#[tokio::test]
async fn a_wrapped_command_finds_the_control_plane_and_decides_the_exit_code() -> Result<()> {
    let script = format!(
        "test -s \"$KUBECONFIG\" && echo \"at $VMCP_TEST_CLUSTER\" && exec {} get ns -o name",
        vmcp_tests::tools::find("kubectl")?.display()
    );

    let good = Launch::ours("cluster")?
        .args(["run", "--", "sh", "-c", &script])
        .run(STARTED)
        .await?;
    let bad = Launch::ours("cluster")?
        .args(["run", "--", "sh", "-c", "exit 7"])
        .run(STARTED)
        .await?;

    let out = good.ok()?;
    assert!(out.contains("namespace/default"), "{out}");
    let directory = out
        .lines()
        .find_map(|line| line.strip_prefix("at "))
        .context("the folder")?;
    assert!(!Path::new(directory).exists());
    assert_eq!(bad.status.code(), Some(7));
    let kept = bad
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("control plane: logs kept in "))
        .context("the logs of a failed run")?;
    let kept = Path::new(kept);
    assert!(fs::read_to_string(kept.join("log/kube-apiserver.log"))?.len() > 100);
    assert!(!kept.join("pki").exists(), "keys were kept");
    fs::remove_dir_all(kept)?;
    Ok(())
}

/// Issue 3, Build 2: a missing program fails loudly and says what to do.
#[tokio::test]
async fn a_folder_of_programs_that_is_not_whole_is_refused() -> Result<()> {
    let empty = tempfile::tempdir()?;

    let output = Launch::ours("cluster")?
        .args(["run", "--", "true"])
        .env("KUBEBUILDER_ASSETS", empty.path())
        .run(SOON)
        .await?;

    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("KUBEBUILDER_ASSETS") && output.stderr.contains("holds no etcd"),
        "{}",
        output.stderr
    );
    Ok(())
}

/// Issue 3, Build 2: nothing was built, and the error says what to run.
#[tokio::test]
async fn programs_that_were_not_built_are_named_with_the_command_that_builds_them() -> Result<()> {
    let empty = tempfile::tempdir()?;

    let output = Launch::ours("cluster")?
        .args(["run", "--", "true"])
        .env_remove("KUBEBUILDER_ASSETS")
        .env("VMCP_CACHE", empty.path())
        .run(SOON)
        .await?;

    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("tests/tools/build.sh etcd"),
        "{}",
        output.stderr
    );
    Ok(())
}
