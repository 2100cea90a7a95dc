//! Both of our programs as processes against a real control plane, under the rights that we ship.
//!
//! Owns the installation of CRDs and chart RBAC into a control plane, and the start of operator and
//! gateway with tokens of exactly those ServiceAccounts. Never hands a program the administrator's
//! certificate: what the shipped roles forbid must fail here too.

mod gateway;
mod install;
mod local;
mod operator;
mod replicas;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::eventually::eventually;
use crate::process::Program;

pub use gateway::{GatewayOptions, GatewayProcess};
pub use install::{RELEASE, SYSTEM, Scope, apply_yaml, install};
pub use local::Local;
pub use operator::OperatorProcess;
pub use replicas::Replicas;
pub use world::{SOON, World, condition, entry, remote, virtual_server};

/// How long a program may take from its start to its first answer on a busy machine.
const START: Duration = Duration::from_secs(30);

/// What `--ready-file` says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Addresses {
    /// Where clients go; the operator has none.
    pub listen: Option<SocketAddr>,
    pub admin: SocketAddr,
    /// Where other replicas go.
    pub peer: Option<SocketAddr>,
}

/// The addresses that a program has bound, once it has.
async fn addresses(program: &Program, file: &Path) -> Result<Addresses> {
    let bound = eventually("the program says where it listens", START, || async {
        let text = std::fs::read(file).with_context(|| program.log_tail())?;
        serde_json::from_slice(&text).context("its ready file")
    });
    tokio::select! {
        bound = bound => bound,
        Ok(status) = program.wait(START) => bail!("it ended with {status}: {}", program.log_tail()),
    }
}

/// The checkout's folder.
fn root() -> Result<PathBuf> {
    crate::sources::root()
}
