//! The control plane that the other tests stand on is a real one: it authenticates, authorises,
//! audits, and its controllers work.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde_json::json;

use vmcp_tests::controlplane::shared;
use vmcp_tests::eventually::eventually;

const SOON: Duration = Duration::from_secs(30);

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
