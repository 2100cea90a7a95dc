//! Connections to other replicas that wait for their next request.
//!
//! Owns idle connections and nothing else. A connection is used by one request at a time; one that
//! broke is never seen again, nor is one to a process that has said that it ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use vmcp_core::limits;
use vmcp_core::session::Owner;

/// A connection whose last answer was read to its end needs a moment to notice it.
const SETTLE: Duration = Duration::from_millis(20);

/// Processes that end, and are remembered until their last answers have come.
const PARTED: usize = 64;

/// One connection, proven on both sides.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) remote: Owner,
    pub(super) address: Box<str>,
    /// Ends with the connection.
    pub(super) driver: JoinHandle<()>,
    idle_since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    idle: HashMap<Box<str>, Vec<Connection>>,
    /// The last ones that ended.
    parted: VecDeque<Owner>,
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Full<Bytes>>,
        driver: JoinHandle<()>,
        remote: Owner,
        address: &str,
    ) -> Self {
        Self {
            sender,
            remote,
            address: address.into(),
            driver,
            idle_since: Instant::now(),
        }
    }
}

impl Pool {
    /// A connection that can be used now, the one used last first.
    pub(super) async fn take(&self, address: &str) -> Option<Connection> {
        loop {
            let mut connection = lock(&self.shelf).idle.get_mut(address)?.pop()?;
            let usable = connection.idle_since.elapsed() < limits::PEER_IDLE
                && matches!(timeout(SETTLE, connection.sender.ready()).await, Ok(Ok(())));
            if usable {
                return Some(connection);
            }
        }
    }

    pub(super) fn put_back(&self, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut shelf = lock(&self.shelf);
        if shelf.parted.contains(&connection.remote) {
            return;
        }
        shelf.idle.retain(|_, waiting| {
            waiting.retain(|one| one.idle_since.elapsed() < limits::PEER_IDLE);
            !waiting.is_empty()
        });
        let address = connection.address.clone();
        let waiting = shelf.idle.entry(address).or_default();
        if waiting.len() < limits::PEER_IDLE_CONNECTIONS {
            waiting.push(connection);
        }
    }

    /// Closes what waits of this process, and keeps nothing of it from now on.
    pub(super) fn part(&self, process: &Owner) {
        let mut shelf = lock(&self.shelf);
        for waiting in shelf.idle.values_mut() {
            waiting.retain(|one| one.remote != *process);
        }
        shelf.parted.truncate(PARTED - 1);
        shelf.parted.push_front(process.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
