//! Where the process touches the outside: its sockets, its ready file, its signals.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ServeError;

pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

pub(super) fn address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    Ok(listener.local_addr()?)
}

/// Where we listen, for scripts that asked for port 0.
pub(super) struct Bound {
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
}

impl Bound {
    /// Whole or not at all: a reader never meets half a file.
    pub(super) fn write(&self, path: &Path) -> Result<(), ServeError> {
        let mut text = serde_json::json!({
            "listen": self.listen.to_string(),
            "admin": self.admin.to_string(),
        });
        if let Some(peer) = self.peer {
            text["peer"] = peer.to_string().into();
        }
        let draft = path.with_extension("tmp");
        std::fs::write(&draft, format!("{text}\n"))
            .and_then(|()| std::fs::rename(&draft, path))
            .map_err(|source| ServeError::ReadyFile {
                path: path.to_owned(),
                source,
            })
    }
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, ServeError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
