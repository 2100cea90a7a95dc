//! A real Kubernetes control plane for tests and development: etcd, kube-apiserver and
//! kube-controller-manager, with RBAC on and anonymous access off. No scheduler and no kubelet:
//! Pods stay Pending, and a test plays the node where it needs one.
//!
//! Owns certificates, ports, folders, processes, their logs and their removal, also of what a
//! crashed run left. One server serves a whole test run ([`shared`]); a test gets a [`Namespace`]
//! of its own. Only a test that kills servers starts a private one ([`ControlPlane::start`]).
//! It must never mock anything, never skip when a program is missing, and never touch a process or
//! folder that is not its own. The programs under test must never get the admin's credentials:
//! [`ControlPlane::kubeconfig_for`] gives them a ServiceAccount's token, as in a cluster.

mod access;
mod audit;
mod folder;
mod leftovers;
mod lifecycle;
mod namespace;
mod owned;
mod pki;
mod ports;
mod servers;
mod shared;
mod state;
mod tools;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

pub use audit::{Audit, AuditEvent, Mark};
pub use leftovers::clean_leftovers;
pub use lifecycle::{IdleExit, serve_until_idle};
pub use namespace::Namespace;
pub use owned::OwnedControlPlane;
pub use shared::{CLUSTER_VARIABLE, shared};

use state::State;

/// What a private control plane consists of.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether anything acts on the objects.
    pub controllers: Controllers,
    /// When the logs outlive the servers.
    pub logs: KeepLogs,
}

/// Whether kube-controller-manager runs: garbage collection, ServiceAccounts, Deployments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Controllers {
    /// As in a cluster.
    #[default]
    Run,
    /// Only etcd and the API server: a namespace gets no ServiceAccount.
    Absent,
}

/// When the logs of the servers outlive them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepLogs {
    /// When the test panics or [`OwnedControlPlane::keep_logs`] was called.
    #[default]
    OnFailure,
    /// Always; the path is printed.
    Always,
}

/// A handle on a running control plane; clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    state: Arc<State>,
}

impl ControlPlane {
    /// Starts one for the caller alone: tests that kill or restart servers, and `cluster`.
    ///
    /// # Errors
    /// A program is missing, or a server does not become ready; the error names its log.
    pub async fn start(options: Options) -> Result<OwnedControlPlane> {
        OwnedControlPlane::start(options).await
    }

    /// The control plane whose `cluster` program keeps its files in this folder.
    ///
    /// # Errors
    /// There is none, or it is not ready yet.
    pub fn attach(directory: &Path) -> Result<Self> {
        Ok(Self {
            state: Arc::new(State::read(directory)?),
        })
    }

    /// `https://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// The certificate authority that signed the API server's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.state.ca_pem
    }

    /// The folder of this control plane: kubeconfig, logs, audit log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.state.directory
    }

    /// A kubeconfig of `system:masters`: for the test itself, never for the programs under test.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.state.admin_kubeconfig
    }

    /// The kubectl of the same version as the API server.
    #[must_use]
    pub fn kubectl(&self) -> &Path {
        &self.state.kubectl
    }

    /// How long the API server took to be ready.
    #[must_use]
    pub fn api_ready_after(&self) -> Duration {
        Duration::from_millis(self.state.api_ready_ms)
    }

    /// How long everything took to be ready, the default ServiceAccount included.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        Duration::from_millis(self.state.ready_ms)
    }

    /// What the API server has answered to whom.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::new(self.state.audit_log.clone())
    }
}
