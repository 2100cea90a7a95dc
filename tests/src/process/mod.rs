//! Programs that tests start: ours, and those of the control plane.
//!
//! Owns spawning, logs, signals and the promise that nothing outlives the test: a [`Program`] is
//! killed when it is dropped, and by the kernel when the process that started it dies in any other
//! way. It must never wait without a deadline, and never signal a process that it did not start.

mod launch;
mod spawner;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::eventually::eventually;

pub use launch::{Launch, Output};

/// A program in the background.
///
/// # Guarantees
/// Dropping it kills it (SIGKILL) and waits for its end. If this process dies first, the kernel
/// kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Program {
    fn new(name: String, child: Child, log: PathBuf) -> Self {
        Self {
            name,
            pid: child.id(),
            child: Mutex::new(child),
            log,
        }
    }

    /// Its process id; another process may have it after this one was waited for.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that takes its standard output and error.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has written so far; empty when the file cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// The kernel refuses to say.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        self.child()
            .try_wait()
            .with_context(|| format!("waiting for {}", self.name))
    }

    /// The first line of the log that contains `pattern`, once there is one.
    ///
    /// # Errors
    /// The program ended or `within` passed before; the error ends with the last lines of the log.
    pub async fn wait_for_line(&self, pattern: &str, within: Duration) -> Result<String> {
        let what = format!("{} writes a line with {pattern:?}", self.name);
        let found = eventually(&what, within, || async {
            // Asked before the log is read: what it wrote last must not be missed.
            let ended = self.exited()?;
            match (self.line(pattern), ended) {
                (Some(line), _) => Ok(Ok(line)),
                (None, Some(status)) => Ok(Err(anyhow!("{} ended: {status}", self.name))),
                (None, None) => bail!("no such line yet"),
            }
        });
        found
            .await
            .and_then(|line| line)
            .with_context(|| format!("last lines of {}:\n{}", self.log.display(), self.log_tail()))
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// It still runs after `within`.
    pub async fn wait(&self, within: Duration) -> Result<ExitStatus> {
        eventually(&format!("{} ends", self.name), within, || async {
            self.exited()?.context("it runs")
        })
        .await
    }

    /// SIGTERM, then its end.
    ///
    /// # Errors
    /// It still runs after `within`.
    pub async fn terminate(&self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(within).await
    }

    /// SIGKILL, then its end; nothing happens when it has ended already.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        child
            .kill()
            .with_context(|| format!("killing {}", self.name))?;
        child
            .wait()
            .with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// Sends a signal; nothing happens when it has ended already.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        // A child that was not waited for keeps its id, so that no stranger can be hit.
        if child.try_wait()?.is_none() {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
            kill_process(pid.context("a process id")?, signal)
                .with_context(|| format!("sending a signal to {}", self.name))?;
        }
        Ok(())
    }

    /// The last lines of the log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        /// Enough for a panic or an error with its chain, short enough for a terminal.
        const LINES: usize = 15;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn line(&self, pattern: &str) -> Option<String> {
        let log = self.log();
        log.lines()
            .find(|line| line.contains(pattern))
            .map(str::to_owned)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only when it has ended already, which is what is wanted.
        let _ended = self.kill();
    }
}

/// Where cargo has put our program of this name: `vmcp`, `vmcp-operator`, `cluster`, ...
///
/// # Errors
/// It was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    let mut folder = own.parent().context("the folder of this program")?;
    // Test programs lie one level below the others.
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder = folder.parent().context("the target folder")?;
    }
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} does not exist: build it first (cargo build --workspace --bins)",
        path.display()
    );
    Ok(path)
}

#[cfg(test)]
mod tests;
