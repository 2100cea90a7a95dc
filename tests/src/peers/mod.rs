//! MCP clients and servers that nobody here wrote.
//!
//! Owns their installation (`tests/peers/install.sh`, pinned, cached outside the checkout) and how
//! each is started and asked. Never skips: a tool that is missing is an error that names it. Our
//! own part of them, `tests/peers/scripts`, only drives their libraries.

mod client;
mod features;
#[expect(
    deprecated,
    reason = "logging, sampling and roots are deprecated, and served until they are removed"
)]
mod rmcp;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::process::Launch;

pub use client::{Client, ClientReport};
pub use features::{Plan, Tester, Verdicts};
pub use server::{PeerServer, Server, Transport};

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// The installed peers.
#[derive(Clone, Debug)]
pub struct Peers {
    folder: PathBuf,
}

/// Finds the installed peers; installs them first where that was not done yet (about 90 s, with
/// progress on standard error).
///
/// # Errors
/// A tool is missing or a package cannot be installed; the installer has said which.
pub fn installed() -> Result<Peers> {
    if let Some(folder) = FOLDER.get() {
        return Ok(Peers {
            folder: folder.clone(),
        });
    }
    let script = sources().join("install.sh");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        script.display(),
        output.status
    );
    let said = String::from_utf8(output.stdout).context("the installer's answer")?;
    let folder = PathBuf::from(said.lines().last().unwrap_or_default());
    ensure!(
        folder.join(".complete").is_file(),
        "{} is not complete",
        folder.display()
    );
    Ok(Peers {
        folder: FOLDER.get_or_init(|| folder).clone(),
    })
}

impl Peers {
    /// A program of ours or of an npm package, under the pinned Node.js.
    pub(crate) fn node(&self, script: impl AsRef<Path>) -> Launch {
        Launch::new(self.folder.join("npm/node_modules/node/bin/node"))
            .env("VMCP_PEERS", &self.folder)
            .arg(script.as_ref())
    }

    /// A file of an npm package.
    pub(crate) fn npm_file(&self, path: &str) -> PathBuf {
        self.folder.join("npm/node_modules").join(path)
    }

    fn npm_bin(&self, name: &str) -> PathBuf {
        self.folder.join("npm/node_modules/.bin").join(name)
    }

    /// A program of the Python environment `venv`.
    fn python(&self, venv: &str, program: &str) -> PathBuf {
        self.folder.join(venv).join("bin").join(program)
    }

    fn script(&self, name: &str) -> PathBuf {
        sources().join("scripts").join(name)
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
