//! A namespace with our CRDs and rights, and what a test does in it.
//!
//! Owns the objects of one test and the questions that tests ask of them. Exists so that a test
//! reads as what a platform engineer does and sees; it asserts nothing itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;
use vmcp_crds::{MCPServer, VirtualMCPServer, VirtualMCPServerStatus};

use super::{GatewayOptions, GatewayProcess, OperatorProcess, Scope, install};
use crate::controlplane::{ControlPlane, Namespace, shared};
use crate::eventually::eventually;

/// How long a state that needs one check interval may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// One test's part of the shared cluster.
pub struct World {
    pub plane: ControlPlane,
    pub namespace: Namespace,
    pub client: Client,
    dir: TempDir,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("namespace", &self.namespace.name)
            .finish_non_exhaustive()
    }
}

impl World {
    /// A fresh namespace, CRDs and rights installed, nothing running.
    ///
    /// # Errors
    /// The control plane cannot be reached or refuses.
    pub async fn new(prefix: &str) -> Result<Self> {
        let plane = shared().await?;
        let namespace = plane.namespace(prefix).await?;
        install(&plane, &namespace.name, Scope::Namespace).await?;
        let client = plane.admin().await?;
        Ok(Self {
            plane,
            namespace,
            client,
            dir: tempfile::tempdir()?,
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.namespace.name
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// # Errors
    /// It ends at once.
    pub async fn operator(&self) -> Result<OperatorProcess> {
        OperatorProcess::start(&self.plane, self.name(), Scope::Namespace, self.dir()).await
    }

    /// The gateway of the VirtualMCPServer `name`, as its only pod.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn gateway(&self, name: &str) -> Result<GatewayProcess> {
        self.replica(name, &format!("{name}-0")).await
    }

    /// A pod of the gateway of `name`.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn replica(&self, name: &str, pod: &str) -> Result<GatewayProcess> {
        let options = GatewayOptions::replica(pod);
        GatewayProcess::in_cluster(&self.plane, self.name(), name, &options, self.dir()).await
    }

    #[must_use]
    pub fn servers(&self) -> Api<MCPServer> {
        Api::namespaced(self.client.clone(), self.name())
    }

    #[must_use]
    pub fn virtuals(&self) -> Api<VirtualMCPServer> {
        Api::namespaced(self.client.clone(), self.name())
    }

    /// Creates an MCPServer with label `set: main` at `url`.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn add_remote(&self, name: &str, url: &str) -> Result<MCPServer> {
        let server: MCPServer = serde_json::from_value(remote(name, url))?;
        Ok(self
            .servers()
            .create(&PostParams::default(), &server)
            .await?)
    }

    /// Creates a VirtualMCPServer over the label `set: main`; `extra` is merged into its spec.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn add_virtual(&self, name: &str, extra: Value) -> Result<VirtualMCPServer> {
        let object: VirtualMCPServer = serde_json::from_value(virtual_server(name, extra))?;
        Ok(self
            .virtuals()
            .create(&PostParams::default(), &object)
            .await?)
    }

    /// # Errors
    /// The API server refuses.
    pub async fn delete_server(&self, name: &str) -> Result<()> {
        self.servers()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// # Errors
    /// The API server refuses.
    pub async fn patch_server(&self, name: &str, patch: Value) -> Result<MCPServer> {
        let params = PatchParams::default();
        Ok(self
            .servers()
            .patch(name, &params, &Patch::Merge(patch))
            .await?)
    }

    /// The status as it is now.
    ///
    /// # Errors
    /// There is none.
    pub async fn status(&self, name: &str) -> Result<VirtualMCPServerStatus> {
        self.virtuals()
            .get(name)
            .await?
            .status
            .context("no status yet")
    }

    /// Waits for a phase.
    ///
    /// # Errors
    /// Not within the time; the error carries the last status.
    pub async fn until_phase(
        &self,
        name: &str,
        phase: &str,
        within: Duration,
    ) -> Result<VirtualMCPServerStatus> {
        self.until(name, &format!("phase {phase}"), within, |status| {
            status
                .phase
                .is_some_and(|found| format!("{found:?}") == phase)
        })
        .await
    }

    /// Waits until the status satisfies `good`.
    ///
    /// # Errors
    /// Not within the time; the error carries the last status.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        good: impl Fn(&VirtualMCPServerStatus) -> bool,
    ) -> Result<VirtualMCPServerStatus> {
        eventually(what, within, || async {
            let status = self.status(name).await?;
            ensure!(good(&status), "{}", serde_json::to_string(&status)?);
            Ok(status)
        })
        .await
    }

    /// `kubectl get` of a kind in this namespace, as a person sees it.
    ///
    /// # Errors
    /// kubectl fails.
    pub async fn kubectl_get(&self, kind: &str) -> Result<String> {
        let output = self
            .plane
            .kubectl_run(&["get", kind, "-n", self.name()])
            .await?;
        if !output.success() {
            bail!("kubectl get {kind}: {}", output.stderr);
        }
        Ok(output.stdout)
    }

    /// Where the test keeps a file.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The manifest of an MCPServer at a URL of this machine.
#[must_use]
pub fn remote(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1",
        "kind": "MCPServer",
        "metadata": { "name": name, "labels": { "set": "main" } },
        "spec": { "remote": { "url": url, "allowInsecure": true } },
    })
}

/// The manifest of a VirtualMCPServer over the label `set: main`.
#[must_use]
pub fn virtual_server(name: &str, extra: Value) -> Value {
    let mut spec = json!({ "backends": { "selector": { "matchLabels": { "set": "main" } } } });
    if let (Some(spec), Value::Object(extra)) = (spec.as_object_mut(), extra) {
        spec.extend(extra);
    }
    json!({
        "apiVersion": "vmcp.dev/v1alpha1",
        "kind": "VirtualMCPServer",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// The entry of a backend in a status.
#[must_use]
pub fn entry<'a>(status: &'a VirtualMCPServerStatus, name: &str) -> Option<&'a DiscoveredBackend> {
    status
        .discovered_backends
        .iter()
        .find(|backend| backend.name == name)
}

/// Status, reason and message of a condition: `True Degraded Some backends are unhealthy`.
#[must_use]
pub fn condition(status: &VirtualMCPServerStatus, kind: &str) -> String {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind);
    found.map_or_else(
        || "absent".to_owned(),
        |found| format!("{} {} {}", found.status, found.reason, found.message),
    )
}
