//! A control plane that this process runs, and that ends with it.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::folder::Folder;
use super::servers::{Plan, Servers};
use super::state::State;
use super::tools::Tools;
use super::{ControlPlane, KeepLogs, Options, clean_leftovers};

/// A port that was free may be taken before the server listens on it: start over with others.
const TRIES: usize = 3;

/// A control plane that is killed, and its folder removed, when this is dropped.
#[derive(Debug)]
pub struct OwnedControlPlane {
    plane: ControlPlane,
    plan: Plan,
    // Before the folder: the servers must be gone before their files go.
    servers: Servers,
    folder: Folder,
}

impl OwnedControlPlane {
    pub(super) async fn start(options: Options) -> Result<Self> {
        clean_leftovers()?;
        let tools = Tools::find()?;
        let mut tried = 1;
        loop {
            match Self::try_start(&options, &tools).await {
                Err(error) if tried < TRIES => {
                    tracing::warn!(error = format!("{error:#}"), "control plane did not start");
                    tried += 1;
                }
                answer => return answer,
            }
        }
    }

    async fn try_start(options: &Options, tools: &Tools) -> Result<Self> {
        let folder = Folder::create()?;
        let plan = Plan::create(&folder, tools, options.controllers)?;
        let (servers, startup) = match Box::pin(Servers::start(&folder, &plan)).await {
            Ok(started) => started,
            Err(error) => {
                folder.keep_logs();
                return Err(error.context("the control plane did not start"));
            }
        };
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis());
        let state = State {
            url: plan.url.clone(),
            ca_pem: plan.ca_pem.clone(),
            directory: folder.path().to_owned(),
            admin_kubeconfig: plan.admin_kubeconfig.clone(),
            kubectl: tools.kubectl.clone(),
            audit_log: plan.audit_log.clone(),
            api_ready_ms: millis(startup.api_ready).context("a start time")?,
            ready_ms: millis(startup.ready).context("a start time")?,
        };
        state.write()?;
        if options.logs == KeepLogs::Always {
            folder.keep_logs();
        }
        Ok(Self {
            plane: ControlPlane {
                state: Arc::new(state),
            },
            plan,
            servers,
            folder,
        })
    }

    /// Ends the API server at once; etcd and the controllers stay.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill_apiserver(&self) -> Result<()> {
        self.servers.kill_apiserver()
    }

    /// Starts the API server again, killing it first if it runs: same port, same data, same keys.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn restart_apiserver(&self) -> Result<()> {
        self.servers
            .restart_apiserver(&self.folder, &self.plan)
            .await
    }

    /// Leaves the logs behind when this is dropped; their path is printed then.
    pub fn keep_logs(&self) {
        self.folder.keep_logs();
    }

    /// Which server has ended without being told to, and its last words.
    #[must_use]
    pub fn casualty(&self) -> Option<String> {
        self.servers.casualty()
    }
}

impl Deref for OwnedControlPlane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.plane
    }
}

impl Drop for OwnedControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.keep_logs();
        }
    }
}
