//! CRDs and RBAC, as a platform engineer would install them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::root;
use crate::controlplane::ControlPlane;
use crate::process::Launch;

/// Name of the Helm release, and by the chart's rule of everything in it.
pub const RELEASE: &str = "vmcp-operator";

/// Namespace of the operator in `deploy/install.yaml`.
pub const SYSTEM: &str = "vmcp-system";

const HELM_DEADLINE: Duration = Duration::from_secs(60);

/// Kinds of the chart that give rights; without a kubelet its Deployment would start nothing.
const RIGHTS: [&str; 6] = [
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// Which namespaces the operator serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them: the cluster roles of `deploy/install.yaml`, for namespace [`SYSTEM`].
    Cluster,
    /// Only the release's own: the chart's roles, so that tests share a cluster.
    Namespace,
}

/// Installs the CRDs and the chart's rights into an existing namespace.
///
/// # Errors
/// kubectl or helm fails; the error carries what it wrote.
pub async fn install(plane: &ControlPlane, namespace: &str, scope: Scope) -> Result<()> {
    let crds = root()?.join("crds");
    let crds = crds
        .to_str()
        .context("the path of the checkout is not UTF-8")?;
    // Server-side, because tests install at the same time, and the client-side form reads first.
    run(
        plane,
        &["apply", "--server-side", "--force-conflicts", "-f", crds],
    )
    .await?;
    let established = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "-f",
        crds,
    ];
    run(plane, &established).await?;
    apply_yaml(plane, namespace, &rights(namespace, scope).await?).await
}

/// `kubectl apply` of a YAML or JSON text, as the administrator.
///
/// # Errors
/// kubectl fails; the error carries what it wrote.
pub async fn apply_yaml(plane: &ControlPlane, namespace: &str, text: &str) -> Result<()> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    std::fs::write(file.path(), text)?;
    let path = file
        .path()
        .to_str()
        .context("the temporary path is not UTF-8")?;
    run(plane, &["apply", "-n", namespace, "-f", path]).await
}

async fn run(plane: &ControlPlane, args: &[&str]) -> Result<()> {
    let output = plane.kubectl_run(args).await?;
    ensure!(
        output.success(),
        "kubectl {}: {}{}",
        args.join(" "),
        output.stdout,
        output.stderr
    );
    Ok(())
}

async fn rights(namespace: &str, scope: Scope) -> Result<String> {
    let rendered = match scope {
        Scope::Cluster => {
            ensure!(
                namespace == SYSTEM,
                "deploy/install.yaml is for namespace {SYSTEM}"
            );
            std::fs::read_to_string(root()?.join("deploy/install.yaml"))?
        }
        Scope::Namespace => {
            let helm = Launch::new(crate::tools::find("helm")?)
                .args(["template", RELEASE, "--namespace", namespace])
                .args(["--set", &format!("watchNamespaces={{{namespace}}}")])
                .arg(root()?.join("charts/vmcp-operator"));
            helm.run(HELM_DEADLINE)
                .await?
                .ok()
                .context("helm template")?
        }
    };
    only_rights(&rendered)
}

fn only_rights(rendered: &str) -> Result<String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(rendered).context("what helm rendered")?;
    let items: Vec<Value> = documents
        .into_iter()
        .filter(|object| {
            object["kind"]
                .as_str()
                .is_some_and(|kind| RIGHTS.contains(&kind))
        })
        .collect();
    ensure!(!items.is_empty(), "the chart renders no rights");
    Ok(serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())
}

/// A folder for one program's kubeconfig, ready file and log.
pub(super) fn folder(path: &Path, name: &str) -> Result<std::path::PathBuf> {
    let folder = path.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
