//! A gateway from files, as somebody without a cluster runs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{remote, virtual_server};
use super::{GatewayProcess, SOON};
use crate::eventually::eventually;
use crate::http::{self, LegacyClient};

/// A gateway, its folder of objects, and what a test asks of it.
#[derive(Debug)]
pub struct Local {
    pub gateway: GatewayProcess,
    objects: PathBuf,
    _dir: TempDir,
}

impl Local {
    /// Starts a gateway over remotes of these names and URLs; `extra` is merged into the spec of
    /// the VirtualMCPServer.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn start(backends: &[(&str, String)], extra: Value) -> Result<Self> {
        let mut objects = vec![virtual_server("local", extra)];
        objects.extend(backends.iter().map(|(name, url)| remote(name, url)));
        Self::of(&objects).await
    }

    /// Starts a gateway over these objects.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn of(manifests: &[Value]) -> Result<Self> {
        Self::with_flags(manifests, &[]).await
    }

    /// Starts a gateway over remotes of these names and URLs with further flags.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn flagged(backends: &[(&str, String)], flags: &[&str]) -> Result<Self> {
        let mut objects = vec![virtual_server("local", json!({}))];
        objects.extend(backends.iter().map(|(name, url)| remote(name, url)));
        Self::with_flags(&objects, flags).await
    }

    async fn with_flags(manifests: &[Value], flags: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let objects = dir.path().join("objects");
        std::fs::create_dir(&objects)?;
        for manifest in manifests {
            write(&objects, manifest)?;
        }
        let gateway = GatewayProcess::from_files(&objects, flags, dir.path()).await?;
        Ok(Self {
            gateway,
            objects,
            _dir: dir,
        })
    }

    /// The folder that the gateway watches.
    #[must_use]
    pub fn objects(&self) -> &Path {
        &self.objects
    }

    /// Adds or changes an object.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn apply(&self, manifest: &Value) -> Result<()> {
        write(&self.objects, manifest)
    }

    /// Removes an object.
    ///
    /// # Errors
    /// There is none of that kind and name.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.objects.join(file(kind, name)))?)
    }

    /// Waits until `/status` shows this phase.
    ///
    /// # Errors
    /// Not in time; the error carries the last answer.
    pub async fn until_phase(&self, phase: &str, within: Duration) -> Result<Value> {
        eventually(&format!("phase {phase}"), within, || async {
            let status = http::get(self.gateway.admin, "/status").await?.json()?;
            ensure!(status["phase"] == json!(phase), "{status}");
            Ok(status)
        })
        .await
    }

    /// A legacy client, once all backends are ready.
    ///
    /// # Errors
    /// Not in time.
    pub async fn ready_client(&self) -> Result<LegacyClient> {
        self.until_phase("Ready", SOON).await?;
        LegacyClient::open(self.gateway.listen).await
    }
}

fn file(kind: &str, name: &str) -> String {
    format!("{}-{name}.json", kind.to_lowercase())
}

/// Whole or not at all: a half-written file would be a bad file.
fn write(folder: &Path, manifest: &Value) -> Result<()> {
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    let path = folder.join(file(kind, name));
    let draft = folder.join(format!(".{kind}-{name}.draft"));
    std::fs::write(&draft, serde_json::to_vec_pretty(manifest)?)?;
    Ok(std::fs::rename(draft, path)?)
}
