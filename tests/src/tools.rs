//! Where the programs of other projects lie that the tests run. `tests/tools/build.sh` alone
//! knows: it names their folder after the hash of the module files, or takes it from
//! `KUBEBUILDER_ASSETS`. Never builds, because that takes minutes and a test has less.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The program of this name: `kubectl`, `kube-apiserver`, `etcd`, `helm`, `kubeconform`, ...
///
/// # Errors
/// It was not built; the error says how to.
pub fn find(program: &str) -> Result<PathBuf> {
    let family = match program {
        "kubectl" => "kubernetes",
        name if name.starts_with("kube-") => "kubernetes",
        name => name,
    };
    let path = folder(family)?.join(program);
    ensure!(path.is_file(), "{} does not exist", path.display());
    Ok(path)
}

fn folder(family: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/build.sh");
    let output = Command::new("bash")
        .arg(&script)
        .args(["--find", family])
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
