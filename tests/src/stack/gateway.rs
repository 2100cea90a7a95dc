//! A gateway as a process: in a cluster, or from files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, ResourceExt as _};
use vmcp_crds::VirtualMCPServer;

use super::install::folder;
use crate::controlplane::ControlPlane;
use crate::eventually::eventually;
use crate::process::{Launch, Program};

/// How long the operator may take to make the ServiceAccount of a gateway.
const ACCOUNT: Duration = Duration::from_secs(30);

/// What differs between the replicas of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Its name as a pod: the holder of the Lease.
    pub pod: String,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
}

impl GatewayOptions {
    /// A replica of this name on free ports.
    #[must_use]
    pub fn replica(pod: &str) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            pod: pod.to_owned(),
            listen: any,
            admin: any,
        }
    }
}

/// A running gateway. Killed when dropped.
#[derive(Debug)]
pub struct GatewayProcess {
    pub program: Program,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// Where other replicas go.
    pub peer: Option<SocketAddr>,
}

impl GatewayProcess {
    /// Plays the kubelet for one pod of the Deployment `vmcp-<name>`: waits for the ServiceAccount
    /// that the operator makes and starts the gateway under its token.
    ///
    /// # Errors
    /// The operator makes none, or the gateway ends.
    pub async fn in_cluster(
        plane: &ControlPlane,
        namespace: &str,
        name: &str,
        options: &GatewayOptions,
        dir: &Path,
    ) -> Result<Self> {
        let account = format!("vmcp-{name}");
        let client = plane.admin().await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        eventually(
            "the operator makes the gateway's account",
            ACCOUNT,
            || async { Ok(accounts.get(&account).await?) },
        )
        .await?;
        let object = Api::<VirtualMCPServer>::namespaced(client, namespace)
            .get(name)
            .await?;
        let uid = object.uid().context("an object without uid")?;
        let dir = folder(dir, &options.pod)?;
        let kubeconfig = plane.kubeconfig_for(namespace, &account, &dir).await?;
        let launch = Launch::ours("vmcp")?
            .arg("serve")
            .env("KUBECONFIG", kubeconfig)
            .env("VMCP_NAMESPACE", namespace)
            .env("VMCP_NAME", name)
            .env("VMCP_UID", uid)
            .env("POD_NAME", &options.pod);
        Self::start(launch, options, &dir).await
    }

    /// A gateway without a cluster, on free ports; `extra` are further arguments.
    ///
    /// # Errors
    /// The gateway ends.
    pub async fn from_files(files: &Path, extra: &[&str], dir: &Path) -> Result<Self> {
        Self::trusting(None, files, extra, dir).await
    }

    /// As [`Self::from_files`], with this file of certificates as the roots of its machine.
    ///
    /// # Errors
    /// As [`Self::from_files`].
    pub async fn trusting(
        roots: Option<&Path>,
        files: &Path,
        extra: &[&str],
        dir: &Path,
    ) -> Result<Self> {
        let mut launch = Launch::ours("vmcp")?
            .args(["serve", "-f"])
            .arg(files)
            .args(extra);
        if let Some(roots) = roots {
            launch = launch.env("SSL_CERT_FILE", roots);
        }
        let dir = folder(dir, "gateway")?;
        Self::start(launch, &GatewayOptions::replica("local"), &dir).await
    }

    async fn start(launch: Launch, options: &GatewayOptions, dir: &Path) -> Result<Self> {
        let ready: PathBuf = dir.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let program = launch
            .args(["--listen", &options.listen.to_string()])
            .args(["--admin", &options.admin.to_string()])
            .args(["--log-format", "text"])
            .arg("--ready-file")
            .arg(&ready)
            .start(dir.join("log"))?;
        let bound = super::addresses(&program, &ready).await?;
        let listen = bound.listen.context("a gateway that listens nowhere")?;
        Ok(Self {
            program,
            listen,
            admin: bound.admin,
            peer: bound.peer,
        })
    }

    /// The URL that clients use.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.listen)
    }

    /// A URL of the admin port.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }
}
