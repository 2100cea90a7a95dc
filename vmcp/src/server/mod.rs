//! The HTTP edge towards clients.
//!
//! Owns the listener, the connections and their limits, and the translation between HTTP and the
//! gateway's messages. Never knows a backend. Every connection has a header clock, an idle clock
//! and a place among a bounded number; a stop lets requests under way finish.

pub mod guard;

mod again;
mod answer;
mod body;
mod connection;
mod cors;
mod edge;
mod endpoint;
mod facts;
mod handover;
mod herald;
mod owed;
mod passing;
mod peer_edge;
mod phase_io;
mod quiet;
mod relay;
mod relayed;
mod wills;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use vmcp_core::limits;

use crate::gateway::Gateway;
use crate::lanes::Lanes;
use crate::peer::listener::{self, Porter};

pub use herald::Herald;
pub use relay::Relay;

use edge::Edge;
use peer_edge::PeerEdge;
use phase_io::{Clocks, PhaseIo, Serving};

/// Pause after a failed `accept`: out of descriptors passes only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Deadline for the one line that a refused connection gets.
const REFUSE_DEADLINE: Duration = Duration::from_secs(1);

const CLOCKS: Clocks = Clocks {
    head: limits::HEADER_READ,
    idle: limits::CLIENT_IDLE,
};

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";

/// The two steps of a stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No new connections; those that exist finish what they have begun.
    pub drain: CancellationToken,
    /// The drain is over: what is left is cut.
    pub now: CancellationToken,
}

/// Serves clients until told to stop, and returns when the last connection is gone.
pub async fn run(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    relay: Arc<Relay>,
    lanes: Lanes,
    stop: Stop,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.drain.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            connections.spawn(refuse(stream));
            continue;
        };
        // Woken from here on by the thread that serves it.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                debug!(%error, "connection lost on its way");
                continue;
            }
        };
        let serving = Serving::default();
        let edge = Edge::new(
            Arc::clone(&gateway),
            Arc::clone(&relay),
            peer.ip().to_canonical(),
            serving.clone(),
        );
        let (stop, lanes, seat) = (stop.clone(), lanes.clone(), lanes.seat());
        let runtime = seat.runtime().clone();
        let served = async move {
            if let Err(error) = serve(stream, edge, serving, &lanes, &stop).await {
                debug!(%error, "connection ended");
            }
            drop((place, seat));
        };
        connections.spawn_on(served, &runtime);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves the other replicas until told to stop.
pub async fn run_peers(
    listener: TcpListener,
    porter: Porter,
    gateway: Arc<Gateway>,
    relay: Arc<Relay>,
    herald: Arc<Herald>,
    stop: CancellationToken,
) {
    let service = PeerEdge::new(gateway, relay, herald);
    listener::serve(listener, porter, service, stop).await;
}

async fn refuse(mut stream: TcpStream) {
    // The client may be gone already; then there is nobody to tell.
    let _ = tokio::time::timeout(REFUSE_DEADLINE, stream.write_all(BUSY)).await;
}

async fn serve(
    stream: std::net::TcpStream,
    edge: Edge,
    serving: Serving,
    lanes: &Lanes,
    stop: &Stop,
) -> Result<(), connection::Ended> {
    let stream = TcpStream::from_std(stream)?;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "no delay not set");
    }
    let io = PhaseIo::new(stream, serving.clone(), CLOCKS);
    connection::serve(io, &edge, &serving, lanes, stop).await
}
