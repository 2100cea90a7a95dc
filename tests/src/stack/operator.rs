//! The operator as a process.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::install::{RELEASE, Scope, folder};
use crate::controlplane::ControlPlane;
use crate::process::{Launch, Program};

/// A running operator. Killed when dropped.
#[derive(Debug)]
pub struct OperatorProcess {
    pub program: Program,
    pub admin: SocketAddr,
}

impl OperatorProcess {
    /// Starts it in `namespace`, where [`super::install`] was called before; `dir` takes its files.
    ///
    /// # Errors
    /// It ends, or says not where it listens.
    pub async fn start(
        plane: &ControlPlane,
        namespace: &str,
        scope: Scope,
        dir: &Path,
    ) -> Result<Self> {
        let dir = folder(dir, "operator")?;
        let kubeconfig = plane.kubeconfig_for(namespace, RELEASE, &dir).await?;
        let ready = dir.join("ready.json");
        // A restart must not read where its predecessor listened.
        let _ = std::fs::remove_file(&ready);
        let mut launch = Launch::ours("vmcp-operator")?
            .args(["--admin", "127.0.0.1:0", "--log-format", "text"])
            .arg("--ready-file")
            .arg(&ready)
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", namespace)
            .env("POD_NAME", format!("operator-{}", std::process::id()));
        if scope == Scope::Namespace {
            launch = launch.args(["--namespaces", namespace]);
        }
        let program = launch.start(dir.join("log"))?;
        let admin = super::addresses(&program, &ready).await?.admin;
        Ok(Self { program, admin })
    }
}
