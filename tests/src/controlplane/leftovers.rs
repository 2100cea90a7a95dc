//! What a crashed run left: folders whose owner is gone, and servers that still run in them.
//!
//! It must never touch what is not ours: a folder counts only with our prefix, our user and an
//! owner that is gone; a process is ended only if its own command line names that folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::folder::{LOGS_PREFIX, OWNER, PIDS, PREFIX, identity};

/// A folder gets its owner's name right after it was made: without one it is a leftover only when
/// it is older than any start takes.
const UNOWNED_AFTER: Duration = Duration::from_secs(120);

/// Long enough for a person to read them.
const LOGS_KEPT: Duration = Duration::from_secs(3 * 24 * 3600);

/// Removes what earlier runs left; returns the folders that are gone now.
///
/// # Errors
/// The system's folder for temporary files cannot be read.
pub fn clean_leftovers() -> Result<Vec<PathBuf>> {
    let root = std::env::temp_dir();
    let user = fs::metadata("/proc/self").context("this process")?.uid();
    let entries = fs::read_dir(&root).with_context(|| format!("reading {}", root.display()))?;
    let mut cleaned = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == user);
        if ours && is_leftover(&entry.path(), &name) {
            end_servers(&entry.path());
            // Another start may be removing the same one.
            if fs::remove_dir_all(entry.path()).is_ok() {
                cleaned.push(entry.path());
            }
        }
    }
    Ok(cleaned)
}

fn is_leftover(folder: &Path, name: &str) -> bool {
    if name.starts_with(LOGS_PREFIX) {
        return older_than(folder, LOGS_KEPT);
    }
    if !name.starts_with(PREFIX) {
        return false;
    }
    match fs::read_to_string(folder.join(OWNER)) {
        Ok(owner) => !runs(&owner),
        Err(_) => older_than(folder, UNOWNED_AFTER),
    }
}

/// Whether the process of this [`identity`] runs.
pub(super) fn runs(owner: &str) -> bool {
    let pid = owner.split(' ').next().unwrap_or_default();
    pid.parse::<u32>().is_ok() && identity(pid).is_ok_and(|now| now == owner)
}

fn older_than(folder: &Path, age: Duration) -> bool {
    fs::metadata(folder)
        .and_then(|found| found.modified())
        .is_ok_and(|changed| {
            SystemTime::now()
                .duration_since(changed)
                .is_ok_and(|since| since > age)
        })
}

fn end_servers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder.join(PIDS)) else {
        return;
    };
    for entry in entries.flatten() {
        let pid = fs::read_to_string(entry.path())
            .ok()
            .and_then(|text| text.trim().parse::<i32>().ok());
        if let Some(pid) = pid.filter(|pid| works_in(*pid, folder))
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may have ended in this moment.
            let _ended = kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether the command line of this process names the folder: its id may be another's by now.
fn works_in(pid: i32, folder: &Path) -> bool {
    let name = folder.to_string_lossy().into_owned();
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&name))
}
