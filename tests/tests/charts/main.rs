//! The charts and what is rendered from them: valid, fresh, accepted by the real API server, and
//! with no right beyond what api.md grants.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test stops it as the test itself would"
)]

mod rights;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use vmcp_tests::controlplane::{ControlPlane, shared};
use vmcp_tests::process::Output as Ran;
use vmcp_tests::sources;

fn root() -> PathBuf {
    sources::root().unwrap()
}

fn chart(name: &str) -> String {
    root()
        .join("charts")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

fn helm_path() -> PathBuf {
    let build = root().join("tests/tools/build.sh");
    let output = Command::new(build)
        .args(["--find", "helm"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Path::new(text(&output.stdout).trim()).join("helm")
}

fn helm(arguments: &[&str]) -> Output {
    Command::new(helm_path()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rendered YAML of the operator's chart; `--set` arguments in `values`.
fn rendered(namespace: &str, values: &[&str]) -> String {
    let chart = chart("vmcp-operator");
    let mut arguments = vec![
        "template",
        "vmcp-operator",
        &chart,
        "--namespace",
        namespace,
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    let output = helm(&arguments);
    assert!(
        output.status.success(),
        "{values:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    all.into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// Values that change every branch of the templates.
const VALUE_SETS: &[&[&str]] = &[
    &[],
    &["watchNamespaces={team-a,team-b}", "logFormat=text"],
    &[
        "replicas=3",
        "image.registry=registry.example",
        "image.tag=1.2.3",
        "gatewayImage.registry=registry.example",
        "imagePullSecrets[0].name=pull",
        "serviceAccount.annotations.a=b",
        "podAnnotations.a=b",
        "podLabels.a=b",
        "nodeSelector.disk=fast",
        "tolerations[0].key=dedicated",
        "tolerations[0].operator=Exists",
        "topologySpreadConstraints[0].maxSkew=1",
        "topologySpreadConstraints[0].topologyKey=zone",
        "topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=disk",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        "priorityClassName=system-cluster-critical",
        "metricsService.annotations.a=b",
    ],
];

/// Build 4: helm finds nothing to complain about in either chart.
#[test]
fn both_charts_pass_helm_lint() {
    for name in ["vmcp-operator", "vmcp-operator-crds"] {
        let output = helm(&["lint", "--strict", &chart(name)]);

        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

/// Build 8: a value that does not exist or cannot be is refused by name, not ignored.
#[test]
fn a_wrong_value_is_refused_by_name() {
    for (value, named) in [
        ("replicas=0", "replicas"),
        ("watchNamespace={a}", "watchNamespace"),
        ("logFormat=xml", "logFormat"),
        ("podLabels.app\\.kubernetes\\.io/name=mine", "podLabels"),
        ("watchNamespaces={Not A Name}", "watchNamespaces"),
    ] {
        let output = helm(&[
            "template",
            "vmcp-operator",
            &chart("vmcp-operator"),
            "--set",
            value,
        ]);

        let complaint = text(&output.stderr);
        assert!(!output.status.success(), "{value} was accepted");
        assert!(complaint.contains(named), "{value}: {complaint}");
    }
}

/// Build 4: `deploy/install.yaml` and the chart's copies of the CRDs are what `make generate`
/// would write now.
#[test]
fn rendered_files_are_fresh() {
    let fresh = tempfile::tempdir().unwrap();
    let output = Command::new(root().join("tests/tools/render.sh"))
        .args([helm_path().as_path(), fresh.path()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));

    for folder in ["deploy", "charts/vmcp-operator-crds/files"] {
        assert_eq!(
            files(&fresh.path().join(folder)),
            files(&root().join(folder)),
            "{folder} is stale: run `make generate`"
        );
    }
}

/// The YAML files of a folder: name and text.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Build 4: the chart installs the very definitions of crds/, and marks them to be kept.
#[test]
fn the_chart_of_the_crds_adds_nothing_but_the_keep_annotation() {
    let plain: Vec<Value> = files(&root().join("crds"))
        .iter()
        .flat_map(|(_, yaml)| documents(yaml))
        .collect();
    let render = |keep: &str| {
        let output = helm(&[
            "template",
            "crds",
            &chart("vmcp-operator-crds"),
            "--set",
            keep,
        ]);
        documents(&text(&output.stdout))
    };

    assert_eq!(plain.len(), 2);
    assert_eq!(render("keep=false"), plain);
    let mut kept = render("keep=true");
    for crd in &mut kept {
        let annotations = crd["metadata"]
            .as_object_mut()
            .unwrap()
            .shift_remove("annotations");
        assert_eq!(
            annotations,
            Some(serde_json::json!({"helm.sh/resource-policy": "keep"}))
        );
    }
    assert_eq!(kept, plain);
}

/// What kubectl says of `yaml` when the API server only checks it.
async fn dry_run(plane: &ControlPlane, yaml: &str) -> Ran {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let path = file.path().to_str().unwrap();
    plane
        .kubectl_run(&["apply", "--dry-run=server", "-f", path])
        .await
        .unwrap()
}

/// Build 4: the real API server accepts every object of the chart in every form, and its pods pass
/// the restricted profile.
#[tokio::test]
async fn the_api_server_accepts_the_chart_under_the_restricted_profile() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("charts").await.unwrap();
    let name = namespace.name.as_str();
    let profile = "pod-security.kubernetes.io/warn=restricted";
    plane
        .kubectl_run(&["label", "namespace", name, profile])
        .await
        .unwrap()
        .ok()
        .unwrap();
    let own_namespace = format!("watchNamespaces={{{name}}}");

    for values in VALUE_SETS
        .iter()
        .copied()
        .chain([[own_namespace.as_str()].as_slice()])
    {
        if values.contains(&VALUE_SETS[1][0]) {
            // Those namespaces do not exist here; the last set is of that form.
            continue;
        }
        let output = dry_run(&plane, &rendered(name, values)).await;

        assert!(output.success(), "{values:?}: {}", output.stderr);
        assert!(
            !output.stderr.contains("Warning"),
            "{values:?}: {}",
            output.stderr
        );
    }
    let careless = rendered(name, &[]).replace("runAsNonRoot: true", "runAsNonRoot: false");
    let refused = dry_run(&plane, &careless).await.stderr;
    assert!(refused.contains("would violate PodSecurity"), "{refused}");
    namespace.finish().await.unwrap();
}

/// Build 4: `deploy/install.yaml` is accepted whole, in the order in which it is written.
#[tokio::test]
async fn the_api_server_accepts_the_file_that_installs_everything() {
    let plane = shared().await.unwrap();
    let file = root().join("deploy/install.yaml");
    // A dry run creates nothing, so the namespace of the others must be there.
    let whole = std::fs::read_to_string(file).unwrap();
    let (namespace, rest) = whole.split_once("\n---").unwrap();
    assert!(namespace.contains("kind: Namespace"), "{namespace}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("namespace.yaml");
    std::fs::write(&path, namespace).unwrap();
    let path = path.to_str().unwrap();
    plane
        .kubectl_run(&["apply", "-f", path])
        .await
        .unwrap()
        .ok()
        .unwrap();

    let output = dry_run(&plane, rest).await;

    assert!(output.success(), "{}", output.stderr);
    assert!(
        !output.stderr.contains("would violate"),
        "{}",
        output.stderr
    );
    assert_eq!(output.stdout.lines().count(), 10, "{}", output.stdout);
}
