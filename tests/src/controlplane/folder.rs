//! The folder of one control plane, and who owns it.
//!
//! Layout: `owner` (pid and start time of the process that runs it), `pids/NAME` (one per server),
//! `log/NAME.log`, `audit.log`, `pki/`, `etcd/`, kubeconfigs, `cluster.json`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::ports::random;
use super::state::replace;

/// Begins the name of every folder of ours in the system's folder for temporary files.
pub(super) const PREFIX: &str = "vmcp-cluster-";
/// Begins the name of a folder that only holds the logs of a failed run.
pub(super) const LOGS_PREFIX: &str = "vmcp-cluster-logs-";
/// Names the process whose end makes everything in the folder a leftover.
pub(super) const OWNER: &str = "owner";
/// One file per server, holding its process id.
pub(super) const PIDS: &str = "pids";

/// Folders and files that outlive a failed run.
const KEPT: &[&str] = &["log", "audit.log"];

/// Removed when dropped; the logs stay if they were asked for.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep_logs: AtomicBool,
}

impl Folder {
    /// A new one, owned by this process.
    pub fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{:016x}", random()));
        let mut builder = DirBuilder::new();
        // It holds the keys of the cluster.
        builder
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        let folder = Self {
            path,
            keep_logs: AtomicBool::new(false),
        };
        replace(&folder.path.join(OWNER), identity("self")?.as_bytes())?;
        for name in ["log", PIDS] {
            builder
                .create(folder.path.join(name))
                .context("a folder for logs and process ids")?;
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    /// Notes a server, so that the next start can end it should this process crash.
    pub fn note_pid(&self, name: &str, pid: u32) -> Result<()> {
        replace(&self.path.join(PIDS).join(name), pid.to_string().as_bytes())
    }

    /// Leaves the logs behind and says where.
    pub fn keep_logs(&self) {
        self.keep_logs.store(true, Ordering::Relaxed);
    }

    fn leave_logs(&self) -> Result<PathBuf> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if KEPT.iter().any(|&kept| entry.file_name() == kept) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        let kept = std::env::temp_dir().join(format!("{LOGS_PREFIX}{:016x}", random()));
        fs::rename(&self.path, &kept)?;
        Ok(kept)
    }
}

impl Drop for Folder {
    #[expect(
        clippy::print_stderr,
        reason = "a person looks for this line after a failed test"
    )]
    fn drop(&mut self) {
        if !self.keep_logs.load(Ordering::Relaxed) {
            // What cannot be removed now is removed by the next start.
            let _left = fs::remove_dir_all(&self.path);
            return;
        }
        match self.leave_logs() {
            Ok(kept) => eprintln!("control plane: logs kept in {}", kept.display()),
            Err(error) => eprintln!(
                "control plane: logs lie in {} ({error:#})",
                self.path.display()
            ),
        }
    }
}

/// What names a process for good: its id, which the kernel gives out again, and its start time.
///
/// `pid` is a number or `self`.
pub(super) fn identity(pid: &str) -> Result<String> {
    /// Place of the start time among the fields that follow the program's name, proc(5).
    const START_TIME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("no such process")?;
    let number = stat.split(' ').next().context("a process id")?;
    // The name stands in parentheses and may hold anything, spaces and parentheses included.
    let (_, fields) = stat.rsplit_once(") ").context("a program's name")?;
    let started = fields.split(' ').nth(START_TIME).context("a start time")?;
    Ok(format!("{number} {started}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_id_and_start_time() {
        let own = identity("self").expect("this process");

        assert_eq!(
            own,
            identity(&std::process::id().to_string()).expect("same")
        );
        assert_ne!(own, identity("1").expect("another"));
        assert!(own.starts_with(&format!("{} ", std::process::id())));
    }

    #[test]
    fn a_dropped_folder_is_gone_unless_its_logs_were_asked_for() {
        let gone = Folder::create().expect("a folder");
        let kept = Folder::create().expect("a folder");
        fs::write(kept.log("etcd"), "the last words").expect("a log");
        fs::write(kept.path().join("secret"), "a key").expect("a key");
        let (gone_path, kept_path) = (gone.path().to_owned(), kept.path().to_owned());
        kept.keep_logs();

        let logs = kept.leave_logs().expect("logs");
        drop(gone);

        assert!(!gone_path.exists() && !kept_path.exists());
        let names: Vec<_> = fs::read_dir(&logs)
            .expect("kept")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["log"]);
        assert_eq!(
            fs::read_to_string(logs.join("log/etcd.log")).expect("a log"),
            "the last words"
        );
        fs::remove_dir_all(logs).expect("removed");
    }
}
