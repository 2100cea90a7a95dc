//! The one control plane of a test run, whoever of the tests comes first.
//!
//! Two ways lead to it. `cluster run -- COMMAND` starts it, names its folder in
//! [`CLUSTER_VARIABLE`] and ends it after the command: so do `make test` and CI. Without the
//! variable the first test starts `cluster up --idle-exit`, and the others find it through a
//! meeting place in the system's folder for temporary files; it ends by itself.
//!
//! The meeting place holds `lock` (held while somebody looks, starts or ends one) and `current`
//! (the folder of the running one). A user holds a shared lock on `lease` in that folder for as
//! long as its process lives: the kernel releases it, whatever happens.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::eventually::eventually;
use crate::process::Launch;

use super::ControlPlane;
use super::folder::OWNER;
use super::leftovers::runs;
use super::state::STATE_VERSION;
use super::tools::Tools;

/// Names the folder of the control plane that a test run shares.
pub const CLUSTER_VARIABLE: &str = "VMCP_TEST_CLUSTER";

/// Another process may be starting one, which takes ten seconds on a free machine.
const LOCKED: Duration = Duration::from_secs(200);
/// A start, on a machine that compiles at the same time.
const STARTED: Duration = Duration::from_secs(180);
/// A check that a running one answers.
const ANSWERS: Duration = Duration::from_secs(10);
/// How long an unused one waits for the next test run of a person.
const IDLE_SECONDS: &str = "120";

/// Held until the process ends.
static LEASE: Mutex<Option<File>> = Mutex::new(None);

/// Attaches to the control plane of this test run; starts it if nobody did.
///
/// # Errors
/// A program is missing or does not start; the error names the log.
pub async fn shared() -> Result<ControlPlane> {
    if let Some(directory) = std::env::var_os(CLUSTER_VARIABLE) {
        return ControlPlane::attach(Path::new(&directory)).with_context(|| {
            format!("{CLUSTER_VARIABLE} is set: unset it, or start that one again")
        });
    }
    let place = MeetingPlace::find()?;
    let _held = place.lock().await?;
    if let Some(running) = place.running().await {
        return Ok(running);
    }
    place.start().await
}

/// Where processes that know nothing of each other agree on a control plane.
#[derive(Debug)]
pub(super) struct MeetingPlace {
    path: PathBuf,
}

impl MeetingPlace {
    /// One per user, version of the programs, and version of the files.
    fn find() -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        Tools::find()?.apiserver.hash(&mut hasher);
        STATE_VERSION.hash(&mut hasher);
        let user = fs::metadata("/proc/self").context("this process")?.uid();
        let name = format!("vmcp-shared-{user}-{:016x}", hasher.finish());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }

    /// The place of a `cluster` that was told to announce itself here.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file that names the running control plane.
    pub(super) fn current(&self) -> PathBuf {
        self.path.join("current")
    }

    /// Keeps everybody else from looking, starting and ending, until dropped.
    async fn lock(&self) -> Result<File> {
        let file = open(&self.path.join("lock"))?;
        eventually("the lock of the shared control plane", LOCKED, || async {
            file.try_lock().context("another test run holds it")
        })
        .await?;
        Ok(file)
    }

    /// The same, if nobody holds it now.
    pub(super) fn try_lock(&self) -> Result<Option<File>> {
        exclusive(&self.path.join("lock"))
    }

    /// The one that runs, with a lease on it.
    async fn running(&self) -> Option<ControlPlane> {
        let directory = PathBuf::from(fs::read_to_string(self.current()).ok()?);
        let owner = fs::read_to_string(directory.join(OWNER)).ok()?;
        if !runs(&owner) {
            return None;
        }
        let plane = ControlPlane::attach(&directory).ok()?;
        hold_lease(&directory).ok()?;
        let answers = eventually("the running one answers", ANSWERS, || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(plane.admin().await?.request_text(request).await?)
        });
        answers.await.ok().map(|_ready| plane)
    }

    async fn start(&self) -> Result<ControlPlane> {
        let log = self.path.join("cluster.log");
        let current = self.current();
        let _absent = fs::remove_file(&current);
        Launch::ours("cluster")?
            .args(["up", "--idle-exit", IDLE_SECONDS, "--announce"])
            .arg(&self.path)
            .start_detached(&log)?;
        let started = eventually("the shared control plane starts", STARTED, || async {
            match self.running().await {
                Some(plane) => Ok(plane),
                None => bail!("{} does not name it yet", current.display()),
            }
        });
        started
            .await
            .with_context(|| format!("its log is {}", log.display()))
    }
}

fn hold_lease(directory: &Path) -> Result<()> {
    let lease = open(&lease(directory))?;
    lease.lock_shared().context("a lease")?;
    *LEASE.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    Ok(())
}

/// Whether no process uses the control plane of this folder; nobody can begin to while the answer
/// is held.
pub(super) fn unused(directory: &Path) -> Result<Option<File>> {
    exclusive(&lease(directory))
}

fn lease(directory: &Path) -> PathBuf {
    directory.join("lease")
}

fn exclusive(path: &Path) -> Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("a lock"),
    }
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}
