//! The servers behind a subject: one process for most of them, one of its own for the victim.
//!
//! Owns their processes. The last server stands alone, so that a signal can freeze it, and a kill
//! can end it as a crash would, without touching its neighbours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use vmcp_tests::eventually::eventually;
use vmcp_tests::process::{Launch, Program, Signal};

use crate::backend;
use crate::wire::Kind;

const START: Duration = Duration::from_secs(30);

/// Servers of one kind.
#[derive(Debug)]
pub struct Fleet {
    pub kind: Kind,
    pub tools: usize,
    pub addresses: Vec<SocketAddr>,
    _others: Program,
    victim: Program,
    folder: PathBuf,
}

impl Fleet {
    pub async fn start(kind: Kind, count: usize, tools: usize, folder: &Path) -> Result<Self> {
        let folder = folder.join(format!("{}-{count}", kind.word()));
        std::fs::create_dir_all(&folder)?;
        let others = vec![0; count - 1];
        let (program, mut addresses) = serve(kind, 0, tools, &others, &folder).await?;
        let (victim, last) = serve(kind, count - 1, tools, &[0], &folder).await?;
        addresses.extend(last);
        Ok(Self {
            kind,
            tools,
            addresses,
            _others: program,
            victim,
            folder,
        })
    }

    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// The number of the server that is hurt.
    pub fn victim(&self) -> usize {
        self.count() - 1
    }

    /// It accepts connections and answers nothing.
    pub fn freeze(&self) -> Result<()> {
        self.victim.signal(Signal::STOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.victim.signal(Signal::CONT)
    }

    pub fn kill(&self) -> Result<()> {
        self.victim.kill()
    }

    /// The victim again, on the port that it had, without anything that it knew.
    pub async fn restart(&mut self) -> Result<()> {
        let index = self.victim();
        let port = self.addresses[index].port();
        let (victim, _) = serve(self.kind, index, self.tools, &[port], &self.folder).await?;
        self.victim = victim;
        Ok(())
    }
}

async fn serve(
    kind: Kind,
    first: usize,
    tools: usize,
    ports: &[u16],
    folder: &Path,
) -> Result<(Program, Vec<SocketAddr>)> {
    let ready = folder.join(format!("ready-{first}.json"));
    let _ = std::fs::remove_file(&ready);
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let program = Launch::new(std::env::current_exe()?)
        .args(["backend", "--kind", kind.word()])
        .args(["--first", &first.to_string(), "--tools", &tools.to_string()])
        .args(["--ports", &ports.join(",")])
        .arg("--ready-file")
        .arg(&ready)
        .start(folder.join(format!("log-{first}")))?;
    let bound: Vec<u16> = eventually("the servers listen", START, || async {
        let text = std::fs::read(&ready).with_context(|| program.log_tail())?;
        Ok(serde_json::from_slice(&text)?)
    })
    .await?;
    Ok((program, backend::addresses(&bound)))
}
