//! The live runtime of one generation of one backend (R4.1).
//!
//! Owns its idle connections, its upstream sessions and the places for calls under way, so that a
//! backend in trouble uses up nothing of another's (R4.8). Closing is teardown: it happens after
//! detaching, outside any lock, and a failure of it changes nothing (R4.3).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use vmcp_core::id::{BackendId, Generation};
use vmcp_core::limits::{IN_FLIGHT, QUEUE, QUEUE_WAIT};

use super::pool::Pool;
use super::session::Cell;
use super::tls::Trust;
use crate::gateway::port::{SessionScope, Target};
use crate::snapshot::Endpoint;

/// Idle leases kept for the next modern client; more are ended at once.
const IDLE_LEASES: usize = 16;

/// A lease that nobody wanted for this long is ended: the backend pays for it.
const LEASE_IDLE: Duration = Duration::from_secs(30);

/// How often idle things are looked at; the shortest idle limit is 4 s.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// After calls were told to stop, they get this long to do so.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Messages beside calls that are on their way at once, each on a connection of its own: a backend
/// that asks much on the streams of calls must not use up our descriptors (R4.8).
const ASIDE: usize = 8;

/// `IN_FLIGHT` for the semaphore's own type.
const PLACES: u32 = 100;

/// Everything that one generation of a backend holds open.
#[derive(Debug)]
pub struct Slot {
    pub id: BackendId,
    pub generation: Generation,
    pub endpoint: Arc<Endpoint>,
    pub tls: Trust,
    pub pool: Pool,
    /// Connections for calls that are open now, idle or not.
    pub connections: Arc<AtomicU64>,
    /// Calls must stop: the backend is gone.
    pub stop: CancellationToken,
    /// Places for messages beside calls.
    pub aside: Arc<Semaphore>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    clients: Mutex<HashMap<Arc<str>, Arc<Cell>>>,
    leases: Mutex<Vec<(Arc<Cell>, Instant)>>,
}

/// Every place is taken and so is every seat in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls under way")]
pub struct Overloaded;

/// What becomes of the calls under way when a slot is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// They end by themselves: a caller always gets the result of its call (R4.2).
    Finish,
    /// They are cut off after this long: nothing of a deleted backend stays (R2.8).
    StopAfter(Duration),
}

impl Slot {
    /// Starts the sweep of idle things, which ends with the slot.
    #[must_use]
    pub fn start(target: &Target) -> Arc<Self> {
        let slot = Arc::new(Self {
            id: target.id.clone(),
            generation: target.generation,
            endpoint: Arc::clone(&target.endpoint),
            tls: Trust::Machine,
            pool: Pool::default(),
            connections: Arc::default(),
            stop: CancellationToken::new(),
            aside: Arc::new(Semaphore::new(ASIDE)),
            places: Arc::new(Semaphore::new(IN_FLIGHT)),
            waiting: AtomicUsize::new(0),
            clients: Mutex::default(),
            leases: Mutex::default(),
        });
        tokio::spawn(sweep(Arc::downgrade(&slot)));
        slot
    }

    /// A place for one call, waiting for it briefly where the queue has room.
    ///
    /// # Errors
    /// No place in time.
    pub async fn admit(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _seat = Seat::take(&self.waiting).ok_or(Overloaded)?;
        match timeout(QUEUE_WAIT, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }

    /// The session for a call, opened or not.
    #[must_use]
    pub fn session(&self, scope: &SessionScope) -> Arc<Cell> {
        match scope {
            SessionScope::Client(client) => {
                let mut clients = guard(&self.clients);
                let cell = clients.entry(Arc::clone(client)).or_default();
                if !cell.is_usable() {
                    *cell = Arc::default();
                }
                Arc::clone(cell)
            }
            SessionScope::Lease => loop {
                match guard(&self.leases).pop() {
                    Some((cell, _)) if cell.is_usable() => break cell,
                    Some(_) => {}
                    None => break Arc::default(),
                }
            },
        }
    }

    /// A session in place of one that the backend forgot. Calls of the same client that noticed at
    /// the same time get the same new one; `None` where the client ended its session meanwhile, for
    /// nobody would end another.
    #[must_use]
    pub fn renewed(&self, scope: &SessionScope, lost: &Arc<Cell>) -> Option<Arc<Cell>> {
        match scope {
            SessionScope::Client(client) => {
                let mut clients = guard(&self.clients);
                let cell = clients.get_mut(client)?;
                if Arc::ptr_eq(cell, lost) {
                    *cell = Arc::default();
                }
                Some(Arc::clone(cell))
            }
            SessionScope::Lease => Some(Arc::default()),
        }
    }

    /// Gives a lease back after a call that ended well. One that did not is to be ended instead: a
    /// call may still run in it.
    #[must_use]
    pub fn return_lease(&self, cell: Arc<Cell>) -> Option<Arc<Cell>> {
        let mut leases = guard(&self.leases);
        if self.stop.is_cancelled() || leases.len() >= IDLE_LEASES || !cell.is_usable() {
            return Some(cell);
        }
        leases.push((cell, Instant::now()));
        None
    }

    /// Ends what belongs to a client.
    pub async fn end_client(&self, client: &str) {
        let cell = guard(&self.clients).remove(client);
        if let Some(cell) = cell {
            cell.end(&self.endpoint, &self.tls).await;
        }
    }

    /// Closes everything. To be called after no new call can find the slot.
    pub async fn close(self: Arc<Self>, running: Running) {
        self.pool.clear();
        let all = || Arc::clone(&self.places).acquire_many_owned(PLACES);
        let idle = match running {
            Running::Finish => all().await.ok(),
            Running::StopAfter(grace) => match timeout(grace, all()).await {
                Ok(places) => places.ok(),
                Err(_elapsed) => {
                    self.stop.cancel();
                    timeout(STOP_WITHIN, all()).await.ok().and_then(Result::ok)
                }
            },
        };
        self.stop.cancel();
        let clients: Vec<_> = guard(&self.clients).drain().map(|(_, cell)| cell).collect();
        let leases: Vec<_> = guard(&self.leases)
            .drain(..)
            .map(|(cell, _)| cell)
            .collect();
        let cells = clients.iter().chain(&leases);
        join_all(cells.map(|cell| cell.end(&self.endpoint, &self.tls))).await;
        self.pool.clear();
        drop(idle);
    }

    async fn sweep(&self) {
        self.pool.sweep();
        let stale: Vec<_> = {
            let mut leases = guard(&self.leases);
            leases
                .extract_if(.., |(cell, since)| {
                    since.elapsed() >= LEASE_IDLE || !cell.is_usable()
                })
                .collect()
        };
        join_all(
            stale
                .iter()
                .map(|(cell, _)| cell.end(&self.endpoint, &self.tls)),
        )
        .await;
    }
}

async fn sweep(slot: Weak<Slot>) {
    let mut ticks = interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        match slot.upgrade() {
            Some(slot) if !slot.stop.is_cancelled() => slot.sweep().await,
            _ => return,
        }
    }
}

/// A seat in the queue, left again by dropping.
#[derive(Debug)]
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let seat = Self(waiting);
        // Taken first and looked at second: two that come at once cannot both get the last one.
        let before = waiting.fetch_add(1, Ordering::AcqRel);
        (before < QUEUE).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A poisoned lock only means that another thread panicked between two plain map operations.
fn guard<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
