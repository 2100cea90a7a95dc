//! The served facts of a VirtualMCPServer, in its status.
//!
//! Owns the Lease that makes one replica the writer and the writing itself (architecture, decision
//! 7). Writes what the registry's report says and nothing else (T6), only when the live object
//! differs from it. Whether a write succeeds changes nothing about serving.

mod fields;
mod lease;
mod published;
mod publisher;
mod strays;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use vmcp_crds::VirtualMCPServer;

use crate::clock::Clock;
use crate::discovery::kube::Identity;
use crate::metrics::ProcessMeter;
use crate::snapshot::SnapshotReader;

/// Longest wait for one answer of the API server: below the renewal interval of the Lease, so that
/// a hanging request never costs it.
const API_DEADLINE: Duration = Duration::from_millis(2500);

/// What the status writer needs to know.
#[derive(Clone)]
pub struct StatusWriter {
    pub client: Client,
    pub identity: Identity,
    /// Our identity in the Lease.
    pub holder: String,
    pub clock: Clock,
    pub snapshots: SnapshotReader,
    /// The live object, as discovery watches it.
    pub live: watch::Receiver<Option<Arc<VirtualMCPServer>>>,
    pub meter: Arc<ProcessMeter>,
    /// Shown on the admin port.
    pub leader: Arc<AtomicBool>,
}

impl fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWriter")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// Competes for the Lease and writes while it is ours, until cancelled; then releases it.
    pub async fn run(self, cancel: CancellationToken) {
        let (held, holding) = watch::channel(false);
        let lease = lease::Lease::new(&self);
        let publisher = publisher::Publisher::new(self, holding);
        let publishing = cancel.child_token();
        tokio::join!(
            async {
                lease.run(held, cancel.clone()).await;
                publishing.cancel();
            },
            publisher.run(publishing.clone()),
        );
    }
}

/// Why a request to the API server has no result.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("no answer within {API_DEADLINE:?}")]
    Timeout,
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl ApiError {
    /// Somebody else wrote first: read again.
    fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    fn is_invalid(&self) -> bool {
        self.code() == Some(422)
    }

    fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// One request, with its deadline.
async fn api<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(API_DEADLINE, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ApiError::Timeout),
    }
}
