//! A TCP proxy that breaks the network in front of a real server.
//!
//! Owns failures below HTTP for peers that cannot be scripted. Never looks into the bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::reusable;

const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
const CHUNK: usize = 16 * 1024;

/// What happens to bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// The port is closed and so is every connection.
    Refused,
    /// Connections are accepted and kept, no byte passes in either direction; what waits passes
    /// when it opens again.
    Frozen,
    /// Every connection is closed, new ones at once after they were accepted.
    Cut,
    /// Each chunk waits this long.
    Delayed(Duration),
}

/// One connection that the proxy accepted.
#[derive(Clone, Debug)]
pub struct ProxyConnection {
    pub peer_port: u16,
    pub opened: Instant,
    pub closed: Option<Instant>,
}

/// A listening proxy; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct FaultProxy {
    state: Arc<State>,
    port: u16,
    running: tokio::sync::Mutex<Option<Running>>,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    passage: watch::Sender<Passage>,
    connections: Mutex<Vec<ProxyConnection>>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl FaultProxy {
    /// Starts in front of `target`, which need not listen yet.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let state = Arc::new(State {
            target,
            passage: watch::Sender::new(Passage::Open),
            connections: Mutex::default(),
        });
        let (port, running) = Running::start(0, &state)?;
        Ok(Self {
            state,
            port,
            running: tokio::sync::Mutex::new(Some(running)),
        })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of `path` behind the proxy.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    #[must_use]
    pub fn connections(&self) -> Vec<ProxyConnection> {
        self.state.connections().clone()
    }

    /// True for everything that begins after this returns.
    ///
    /// # Errors
    /// The port cannot be bound again.
    pub async fn set(&self, passage: Passage) -> io::Result<()> {
        self.state.passage.send_replace(passage);
        let mut running = self.running.lock().await;
        if matches!(passage, Passage::Refused | Passage::Cut)
            && let Some(old) = running.take()
        {
            old.close().await;
        }
        if passage != Passage::Refused && running.is_none() {
            *running = Some(Running::start(self.port, &self.state)?.1);
        }
        Ok(())
    }
}

impl State {
    fn connections(&self) -> MutexGuard<'_, Vec<ProxyConnection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(port: u16, state: &Arc<State>) -> io::Result<(u16, Self)> {
        let listener = reusable(port)?;
        let port = listener.local_addr()?.port();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(
            listener,
            Arc::clone(state),
            stop.clone(),
            tasks.clone(),
        ));
        Ok((port, Self { stop, tasks }))
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        let _late = tokio::time::timeout(CLOSE_DEADLINE, self.tasks.wait()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, peer)) = accepted else {
            continue;
        };
        let (state, stop) = (Arc::clone(&state), stop.clone());
        tasks.spawn(async move {
            let place = {
                let mut connections = state.connections();
                let opened = Instant::now();
                connections.push(ProxyConnection {
                    peer_port: peer.port(),
                    opened,
                    closed: None,
                });
                connections.len() - 1
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ended = carry(client, &state) => {}
            }
            state.connections()[place].closed = Some(Instant::now());
        });
    }
}

async fn carry(client: TcpStream, state: &State) -> io::Result<()> {
    if *state.passage.borrow() == Passage::Cut {
        return Ok(());
    }
    thawed(&mut state.passage.subscribe()).await;
    let server = TcpStream::connect(state.target).await?;
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let up = pump(client_in, server_out, state.passage.subscribe());
    let down = pump(server_in, client_out, state.passage.subscribe());
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Waits while frozen; returns what holds then.
async fn thawed(passage: &mut watch::Receiver<Passage>) -> Passage {
    passage
        .wait_for(|now| *now != Passage::Frozen)
        .await
        .map_or(Passage::Open, |now| *now)
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut passage: watch::Receiver<Passage>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        if let Passage::Delayed(pause) = thawed(&mut passage).await {
            tokio::time::sleep(pause).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}
