//! The port and its connections.
//!
//! Owns accepting and the certainty that after [`Listener::close`] nothing of it is left: no port,
//! no connection, no task.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
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
    /// Moves when connections are to say that they take no more requests.
    leaving: watch::Sender<u64>,
    tasks: TaskTracker,
}

impl Listener {
    pub(super) fn bind(port: u16, engine: Arc<Engine>) -> std::io::Result<Self> {
        let listener = reusable(port)?;
        let port = listener.local_addr()?.port();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let leaving = watch::Sender::new(0);
        let ends = Ends {
            stop: stop.clone(),
            leaving: leaving.subscribe(),
        };
        tasks.spawn(accept(listener, engine, ends, tasks.clone()));
        Ok(Self {
            port,
            stop,
            leaving,
            tasks,
        })
    }

    /// Every connection that is open now takes no more requests and ends with its last answer:
    /// `Connection: close` or GOAWAY.
    pub(super) fn leave(&self) {
        self.leaving.send_modify(|times| *times += 1);
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

/// What ends connections.
#[derive(Clone, Debug)]
struct Ends {
    stop: CancellationToken,
    leaving: watch::Receiver<u64>,
}

async fn accept(listener: TcpListener, engine: Arc<Engine>, ends: Ends, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = ends.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, peer)) = accepted {
            // Small frames must not wait for one another.
            let _ = stream.set_nodelay(true);
            let mut ends = ends.clone();
            ends.leaving.mark_unchanged();
            tasks.spawn(serve(stream, peer.port(), Arc::clone(&engine), ends));
        }
    }
}

async fn serve(stream: TcpStream, peer_port: u16, engine: Arc<Engine>, mut ends: Ends) {
    let id = engine.recorder().opened(peer_port);
    let http2 = tokio::select! {
        () = ends.stop.cancelled() => None,
        http2 = begins_http2(&stream) => http2,
    };
    let answering = Arc::clone(&engine);
    let service = service_fn(move |request| Arc::clone(&answering).answer(id, peer_port, request));
    let io = TokioIo::new(stream);
    match http2 {
        None => {}
        Some(false) => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(io, service);
            drive(connection, http1::Connection::graceful_shutdown, &mut ends).await;
        }
        Some(true) => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(io, service);
            drive(connection, http2::Connection::graceful_shutdown, &mut ends).await;
        }
    }
    engine.recorder().closed(id);
}

async fn drive<C: Future>(connection: C, leave: fn(Pin<&mut C>), ends: &mut Ends) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            () = ends.stop.cancelled() => return,
            _ended = connection.as_mut() => return,
            Ok(()) = ends.leaving.changed() => leave(connection.as_mut()),
        }
    }
}

/// Does the client begin with HTTP/2? Only its preface begins with these letters. `None`: it says
/// nothing and leaves.
async fn begins_http2(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; 2];
    loop {
        match stream.peek(&mut first).await.ok()? {
            0 => return None,
            1 if first[0] == b'P' => tokio::task::yield_now().await,
            _ => return Some(&first == b"PR"),
        }
    }
}
