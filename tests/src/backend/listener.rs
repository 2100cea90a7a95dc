//! The port and its connections.
//!
//! Owns accepting and the certainty that after [`Listener::close`] nothing of it is left: no port,
//! no connection, no task.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::engine::Engine;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// After this a task that does not end is left to the runtime.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Listener {
    port: u16,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    pub(super) fn bind(port: u16, engine: Arc<Engine>) -> std::io::Result<Self> {
        let listener = reusable(port)?;
        let port = listener.local_addr()?.port();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, engine, stop.clone(), tasks.clone()));
        Ok(Self { port, stop, tasks })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns when the port is closed and every connection has ended.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        let _late = tokio::time::timeout(CLOSE_DEADLINE, self.tasks.wait()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A listener on loopback that takes its port over from connections in TIME-WAIT.
pub(super) fn reusable(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

async fn accept(
    listener: TcpListener,
    engine: Arc<Engine>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, peer)) = accepted {
            tasks.spawn(serve(
                stream,
                peer.port(),
                Arc::clone(&engine),
                stop.clone(),
            ));
        }
    }
}

async fn serve(stream: TcpStream, peer_port: u16, engine: Arc<Engine>, stop: CancellationToken) {
    let id = engine.recorder().opened(peer_port);
    let answering = Arc::clone(&engine);
    let service = service_fn(move |request| Arc::clone(&answering).answer(id, peer_port, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        _ended = connection => {}
    }
    engine.recorder().closed(id);
}
