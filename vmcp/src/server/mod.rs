//! The HTTP edge towards clients.
//!
//! Owns the listener, the connections and their limits, and the translation between HTTP and the
//! gateway's messages. Never knows a backend. Every connection has a header clock, an idle clock
//! and a place among a bounded number; a stop lets requests under way finish.

pub mod guard;

mod again;
mod answer;
mod body;
mod cors;
mod edge;
mod endpoint;
mod facts;
mod handover;
mod passing;
mod peer_edge;
mod phase_io;
mod quiet;
mod relay;
mod relayed;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use vmcp_core::limits;

use crate::gateway::Gateway;
use crate::peer::handshake::Identity;
use crate::peer::listener;

pub use relay::Relay;

use again::Again;
use edge::Edge;
use peer_edge::PeerEdge;
use phase_io::{Clocks, PhaseIo, Serving, Version};
use quiet::Quiet;

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
pub async fn run(listener: TcpListener, gateway: Arc<Gateway>, relay: Arc<Relay>, stop: Stop) {
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
        let serving = Serving::default();
        let edge = Edge::new(
            Arc::clone(&gateway),
            Arc::clone(&relay),
            peer.ip().to_canonical(),
            serving.clone(),
        );
        let stop = stop.clone();
        connections.spawn(async move {
            serve(stream, edge, serving, stop).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves the other replicas until told to stop.
pub async fn run_peers(
    listener: TcpListener,
    identity: Arc<Identity>,
    gateway: Arc<Gateway>,
    relay: Arc<Relay>,
    stop: CancellationToken,
) {
    let service = PeerEdge::new(gateway, relay);
    listener::serve(listener, identity, service, stop).await;
}

async fn refuse(mut stream: TcpStream) {
    // The client may be gone already; then there is nobody to tell.
    let _ = tokio::time::timeout(REFUSE_DEADLINE, stream.write_all(BUSY)).await;
}

async fn serve(stream: TcpStream, edge: Edge, serving: Serving, stop: Stop) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "no delay not set");
    }
    let mut io = PhaseIo::new(stream, serving.clone(), CLOCKS);
    let version = tokio::select! {
        biased;
        version = io.version() => version,
        () = stop.drain.cancelled() => return,
    };
    let cut = stop.now.cancelled();
    let served = match version {
        Ok(Version::Http1) => {
            let connection = http1().serve_connection(TokioIo::new(io), edge);
            drive(connection, stop.drain.cancelled(), cut).await
        }
        // Rare, and large: it would take its room in every connection.
        Ok(Version::Http2) => {
            let connection = http2().serve_connection(TokioIo::new(io), edge);
            let finish = async {
                tokio::select! {
                    () = stop.drain.cancelled() => {}
                    () = idle(&serving) => {}
                }
            };
            Box::pin(drive(connection, finish, cut)).await
        }
        Err(error) => {
            debug!(%error, "connection ended before a request");
            return;
        }
    };
    if let Err(error) = served {
        debug!(%error, "connection ended");
    }
}

/// Serves until the end of a connection. At `finish` what has begun is finished, at `cut` not even
/// that.
async fn drive<C: GracefulConnection>(
    connection: C,
    finish: impl Future<Output = ()>,
    cut: impl Future<Output = ()>,
) -> Result<(), C::Error> {
    let (connection, finish, cut) = (pin!(connection), pin!(finish), pin!(cut));
    let mut connection = Again::new(connection);
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        () = Quiet::new(finish) => {}
    }
    connection.get_mut().as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection => ended,
        () = Quiet::new(cut) => Ok(()),
    }
}

/// Resolves when no request was made for a while. An idle connection of HTTP/1 is closed by its
/// clock, one of HTTP/2 only by this.
async fn idle(serving: &Serving) {
    let mut begun = 0;
    loop {
        tokio::time::sleep(limits::CLIENT_IDLE).await;
        if serving.is_idle() && serving.begun() == begun {
            return;
        }
        begun = serving.begun();
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits::HEADER_COUNT)
        .max_buf_size(limits::HEADER_BYTES)
        // The clocks are `phase_io`'s.
        .header_read_timeout(None);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits::HEADER_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits::HTTP2_STREAMS)
        .keep_alive_interval(limits::SSE_COMMENT)
        .keep_alive_timeout(limits::CLIENT_IDLE);
    builder
}
