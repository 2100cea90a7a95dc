//! The control plane that the other tests stand on is a real one, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde_json::json;

use vmcp_tests::controlplane::{ControlPlane, Controllers, Options, clean_leftovers, shared};
use vmcp_tests::eventually::eventually;
use vmcp_tests::process::{Launch, Program, Signal};

const SOON: Duration = Duration::from_secs(30);
/// A whole control plane starts, on a busy machine.
const STARTED: Duration = Duration::from_secs(100);

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("key".to_owned(), "value".to_owned())])),
        ..ConfigMap::default()
    }
}

async fn client_of(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn status_of<T>(answer: kube::Result<T>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

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

/// Issue 3, Build 2: the server is of the version that the charts ask for, and says so.
#[tokio::test]
async fn the_api_server_is_ready_and_knows_its_version() -> Result<()> {
    let plane = shared().await?;
    println!(
        "API ready after {:?}, controllers after {:?}",
        plane.api_ready_after(),
        plane.ready_after()
    );

    let version = plane.admin().await?.apiserver_version().await?;
    let kubectl = plane.kubectl_run(&["version", "-o", "json"]).await?.ok()?;

    assert_eq!(
        (version.major.as_str(), version.minor.as_str()),
        ("1", "36")
    );
    let kubectl: serde_json::Value = serde_json::from_str(&kubectl)?;
    assert_eq!(kubectl["clientVersion"]["gitVersion"], "v1.36.4");
    assert_eq!(kubectl["serverVersion"]["gitVersion"], "v1.36.4");
    Ok(())
}

/// Issue 3, Build 2: RBAC decides, so that a missing rule of ours is found by a test.
#[tokio::test]
async fn a_service_account_may_do_only_what_a_role_says() -> Result<()> {
    let plane = shared().await?;
    let namespace = plane.namespace("rbac").await?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = plane
        .kubeconfig_for(&namespace.name, "default", folder.path())
        .await?;
    let client = client_of(&kubeconfig).await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);

    let before = maps.list(&ListParams::default()).await;
    let role = ["--verb=list", "--resource=configmaps"];
    let ns = format!("-n{}", namespace.name);
    plane
        .kubectl_run(&[&["create", "role", "reader", &ns], &role[..]].concat())
        .await?
        .ok()?;
    let account = format!("--serviceaccount={}:default", namespace.name);
    plane
        .kubectl_run(&[
            "create",
            "rolebinding",
            "reader",
            &ns,
            "--role=reader",
            &account,
        ])
        .await?
        .ok()?;

    assert_eq!(status_of(before), Some(403));
    eventually("the role is known", SOON, || async {
        Ok(maps.list(&ListParams::default()).await?)
    })
    .await?;
    let write = maps.create(&PostParams::default(), &config_map("no")).await;
    assert_eq!(status_of(write), Some(403));
    Ok(())
}

/// Issue 3, Build 2: nobody is let in without saying who he is, or with a token that was made up.
#[tokio::test]
async fn a_request_without_a_valid_token_is_refused() -> Result<()> {
    let plane = shared().await?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = plane
        .kubeconfig_for("default", "default", folder.path())
        .await?;
    let text = fs::read_to_string(&kubeconfig)?;
    let token = plane.token("default", "default").await?;
    let [without, made_up] = ["without", "made-up"].map(|name| folder.path().join(name));
    let mut file: serde_json::Value = serde_json::from_str(&text)?;
    file["users"][0]["user"] = json!({});
    fs::write(&without, file.to_string())?;
    // The signature is the last part: without its first byte it fits nothing.
    let (claims, signature) = token.rsplit_once('.').context("a token")?;
    let forged = format!("{claims}.{}A", &signature[1..]);
    file["users"][0]["user"] = json!({ "token": forged });
    fs::write(&made_up, file.to_string())?;

    let anonymous = client_of(&without).await?.apiserver_version().await;
    let forger = client_of(&made_up).await?.apiserver_version().await;
    let known = client_of(&kubeconfig).await?.apiserver_version().await;

    assert_eq!(status_of(anonymous), Some(401));
    assert_eq!(status_of(forger), Some(401));
    known.context("the genuine token")?;
    let mode = fs::metadata(&kubeconfig)?.permissions().mode();
    assert_eq!(mode & 0o077, 0, "a token that others can read");
    Ok(())
}

/// Issue 3, Show: writes are counted from the audit log, so that it must record who wrote what.
#[tokio::test]
async fn the_audit_log_records_who_did_what_to_which_object() -> Result<()> {
    let plane = shared().await?;
    let namespace = plane.namespace("audit").await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.admin().await?, &namespace.name);
    let folder = tempfile::tempdir()?;
    let stranger = plane
        .kubeconfig_for(&namespace.name, "default", folder.path())
        .await?;

    let mark = plane.audit().mark();
    maps.create(&PostParams::default(), &config_map("seen"))
        .await?;
    maps.get("seen").await?;
    let refused: Api<ConfigMap> = Api::default_namespaced(client_of(&stranger).await?);
    let refusal = refused.delete("seen", &DeleteParams::default()).await;

    assert_eq!(status_of(refusal.map(|_| ())), Some(403));
    let account = format!("system:serviceaccount:{}:default", namespace.name);
    eventually("three events", SOON, || async {
        let events = plane.audit().since(&mark);
        let seen: Vec<_> = events
            .iter()
            .filter(|event| event.namespace == namespace.name && event.resource == "configmaps")
            .filter(|event| !event.user.starts_with("system:serviceaccount:kube-system:"))
            .filter(|event| !event.user_agent.starts_with("kube-"))
            .map(|event| {
                (
                    event.user.as_str(),
                    event.verb.as_str(),
                    event.name.as_str(),
                    event.code,
                )
            })
            .collect();
        let wanted = [
            ("admin", "create", "seen", 201),
            ("admin", "get", "seen", 200),
            (account.as_str(), "delete", "seen", 403),
        ];
        ensure!(seen == wanted, "{seen:?}");
        let writes = events.iter().filter(|event| event.is_write());
        ensure!(writes.clone().any(|event| event.verb == "create"));
        ensure!(writes.clone().all(|event| event.verb != "get"));
        Ok(())
    })
    .await?;
    Ok(())
}

/// Issue 3, Build 2: a namespace per test, usable at once and deleted afterwards.
#[tokio::test]
async fn a_namespace_has_a_service_account_and_goes_away_with_its_handle() -> Result<()> {
    let plane = shared().await?;
    let namespaces: Api<Namespace> = Api::all(plane.admin().await?);

    let dropped = plane.namespace("short").await?;
    let finished = plane.namespace("short").await?;
    let names = [dropped.name.clone(), finished.name.clone()];
    let token = plane.token(&dropped.name, "default").await?;
    drop(dropped);
    finished.finish().await?;

    assert_ne!(names[0], names[1]);
    assert_eq!(token.split('.').count(), 3, "a JWT");
    for name in &names {
        eventually("the namespace is gone", SOON, || async {
            ensure!(namespaces.get_opt(name).await?.is_none(), "{name} is there");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Issue 3, Build 4 counts on it: owner references remove, Deployments make Pods.
#[tokio::test]
async fn the_controllers_make_pods_and_collect_garbage() -> Result<()> {
    let plane = shared().await?;
    let namespace = plane.namespace("work").await?;
    let client = plane.admin().await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace.name);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace.name);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace.name);
    let replica_sets: Api<ReplicaSet> = Api::namespaced(client, &namespace.name);
    let owner: Deployment = serde_json::from_value(json!({
        "metadata": { "name": "owner" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "a" } },
            "template": {
                "metadata": { "labels": { "app": "a" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] },
            },
        },
    }))?;

    let owner = deployments.create(&PostParams::default(), &owner).await?;
    let mut owned = config_map("owned");
    owned.metadata.owner_references = Some(vec![OwnerReference {
        api_version: Deployment::api_version(&()).into_owned(),
        kind: Deployment::kind(&()).into_owned(),
        name: "owner".to_owned(),
        uid: owner.metadata.uid.context("a UID")?,
        ..OwnerReference::default()
    }]);
    maps.create(&PostParams::default(), &owned).await?;

    eventually("two pending Pods", SOON, || async {
        let list = pods.list(&ListParams::default()).await?;
        let phases: Vec<_> = list
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.phase.as_deref())
            .collect();
        ensure!(phases == ["Pending", "Pending"], "{phases:?}");
        Ok(())
    })
    .await?;
    deployments
        .delete("owner", &DeleteParams::default())
        .await?;
    eventually("nothing is left", SOON, || async {
        ensure!(maps.get_opt("owned").await?.is_none(), "the ConfigMap");
        let sets = replica_sets.list(&ListParams::default()).await?;
        ensure!(sets.items.is_empty(), "the ReplicaSet");
        let left = pods.list(&ListParams::default()).await?;
        ensure!(left.items.is_empty(), "the Pods");
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
    maps.create(&PostParams::default(), &config_map("kept"))
        .await?;
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
