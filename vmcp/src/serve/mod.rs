//! `vmcp serve`: everything wired together.
//!
//! Owns the order of start and stop and nothing between them. A start that cannot work fails before
//! anything listens; a stop first becomes invisible (Lease, readiness), then finishes what it has
//! begun, then closes what it holds at backends (T7).

mod budget;
mod edge_points;
mod keys;
mod replica;
mod running;
mod wiring;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Config, Origin};
use crate::discovery::desired::Desired;
use crate::discovery::files::{Files, StartError};
use crate::discovery::kube::{self, ClientError, Identity};
use crate::gateway::seal::SealError;
use crate::lanes::Lanes;

use edge_points::{Bound, Signals, address, listen};
pub use keys::KeysError;
use running::{Running, Sockets};

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Files(#[from] StartError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot write {path}: {source}", path = path.display())]
    ReadyFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("cannot make sessions: {0}")]
    Sessions(#[from] SealError),
    #[error("cannot export metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot start the threads that serve: {0}")]
    Threads(std::io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl ServeError {
    /// 2 where the user's own input is wrong, 1 where the world is.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Files(_) | Self::Keys(_) => 2,
            _ => 1,
        }
    }
}

/// Serves until a signal, then drains.
///
/// # Errors
/// Everything that keeps it from starting.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let source = Source::open(&config).await?;
    let mut signals = Signals::new()?;
    let listener = listen(config.listen).await?;
    let admin_listener = listen(config.admin).await?;
    let peer_listener = match config.peer_listen {
        Some(at) => Some(listen(at).await?),
        None => None,
    };
    let bound = Bound {
        listen: address(&listener)?,
        admin: address(&admin_listener)?,
        peer: peer_listener.as_ref().map(address).transpose()?,
    };
    let lanes = Lanes::start().map_err(ServeError::Threads)?;
    let sockets = Sockets {
        listener,
        admin: admin_listener,
        peers: peer_listener,
        lanes: lanes.clone(),
    };

    let running = Running::start(&config, source, sockets)?;
    if let Some(path) = &config.ready_file {
        bound.write(path)?;
    }
    tracing::info!(listen = %bound.listen, admin = %bound.admin, "serving");

    signals.wait().await;
    tracing::info!("stopping");
    tokio::select! {
        () = running.stop(&config) => tracing::info!("stopped"),
        () = signals.wait() => tracing::warn!("stopped at once by a second signal"),
    }
    // They outlive what is stopped: calls, and the ends of sessions, run on them.
    drop(lanes);
    Ok(())
}

/// Discovery that is ready to run.
enum Source {
    Files(Box<Files>, Box<Desired>),
    Kubernetes {
        client: ::kube::Client,
        identity: Identity,
    },
}

impl Source {
    async fn open(config: &Config) -> Result<Self, ServeError> {
        match &config.origin {
            Origin::Files(paths) => {
                let (files, first) = Files::open(paths.clone(), config.allow_hosts.clone())?;
                Ok(Self::Files(Box::new(files), Box::new(first)))
            }
            Origin::Kubernetes(identity) => Ok(Self::Kubernetes {
                client: kube::client().await?,
                identity: identity.clone(),
            }),
        }
    }
}
