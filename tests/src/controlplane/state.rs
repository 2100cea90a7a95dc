//! What one process tells others about a control plane that it runs: a JSON file in its folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Grows with each change of [`State`], so that no process reads what another version wrote.
pub(super) const STATE_VERSION: u32 = 1;

/// Appears by a rename once everything is ready.
const FILE: &str = "cluster.json";

/// The coordinates of a running control plane.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub url: String,
    pub ca_pem: String,
    pub directory: PathBuf,
    pub admin_kubeconfig: PathBuf,
    pub kubectl: PathBuf,
    pub audit_log: PathBuf,
    pub api_ready_ms: u64,
    pub ready_ms: u64,
}

impl State {
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let bytes = fs::read(&path)
            .with_context(|| format!("no control plane runs in {}", directory.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    pub fn write(&self) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).context("the state as JSON")?;
        replace(&self.directory.join(FILE), &bytes)
    }
}

/// Writes a file so that a reader sees all of it or nothing.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("writing {}", path.display()))
}
