//! The live runtime of one generation of one backend (R4.1).
//!
//! Owns its idle connections, its upstream sessions and the places for calls under way, so that a
//! backend in trouble uses up nothing of another's (R4.8). Closing is teardown: it happens after
//! detaching, outside any lock, and a failure of it changes nothing (R4.3).

use std::collections::hash_map::Entry;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use vmcp_core::health::CallOutcome;
use vmcp_core::id::{BackendId, Generation};

use super::announce::Announcer;
use super::bulkhead::Bulkhead;
use super::handed::Past;
use super::pool::Pool;
use super::session::{Cell, Opened, Terms};
use super::site::Site;
use super::told::Told;
use crate::gateway::port::{HandedSession, Observation, SessionScope, Target};
use crate::near::PerLane;
use crate::table::Table;

/// Idle leases kept for the next modern client; more are ended at once.
const IDLE_LEASES: usize = 16;

/// A lease that nobody wanted for this long is ended: the backend pays for it.
const LEASE_IDLE: Duration = Duration::from_secs(30);

/// How often idle things are looked at; the shortest idle limit is 4 s.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// After calls were told to stop, they get this long to do so.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Everything that one generation of a backend holds open.
#[derive(Debug)]
pub struct Slot {
    pub id: BackendId,
    pub generation: Generation,
    pub site: Arc<Site>,
    pub pool: Pool,
    /// Connections for calls that are open now, idle or not.
    pub connections: Arc<AtomicU64>,
    /// Calls must stop: the backend is gone.
    stop: CancellationToken,
    /// No new call will come; standing streams end.
    pub closing: CancellationToken,
    pub places: Arc<Bulkhead>,
    /// Standing streams under way.
    pub under_way: TaskTracker,
    calls: PerLane<Calls>,
    told: Told,
    observations: mpsc::Sender<Observation>,
    announcer: Announcer,
    clients: Mutex<Table<Arc<str>, Arc<Cell>>>,
    leases: Mutex<Vec<Lease>>,
}

/// What calls share that run on one lane.
#[derive(Debug)]
struct Calls {
    stop: CancellationToken,
    /// Parked ones included.
    under_way: TaskTracker,
}

/// An exclusive session that waits for the next call of the like.
#[derive(Debug)]
struct Lease {
    cell: Arc<Cell>,
    principal: Option<Arc<str>>,
    since: Instant,
}

impl Lease {
    /// Not where the server spoke while nobody had the session: what it says in the next call may
    /// be meant for the last client.
    fn is_usable(&self, site: &Site) -> bool {
        let spoke = |opened: &Opened| opened.desk().spoke_to_nobody();
        self.cell.is_usable(site) && !self.cell.peek().is_some_and(spoke)
    }
}

/// What becomes of the calls under way when a slot is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// They end by themselves: a caller always gets the result of its call (R4.2).
    Finish,
    /// They are cut off after this long: nothing of a deleted backend stays (R2.8).
    StopAfter(Duration),
}

/// Who wants a session, and of which kind.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub scope: &'a SessionScope,
    /// A lease of another principal's is never used, idle or not (T12).
    pub principal: Option<&'a Arc<str>>,
    pub terms: &'a Terms,
    /// Raw JSON string. A lease that was told another level is somebody else's.
    pub level: Option<&'a Arc<str>>,
}

impl Slot {
    /// Starts the sweep of idle things, which ends with the slot.
    #[must_use]
    pub fn start(
        target: &Target,
        observations: mpsc::Sender<Observation>,
        announcer: Announcer,
    ) -> Arc<Self> {
        let connections = Arc::default();
        let slot = Arc::new(Self {
            id: target.id.clone(),
            generation: target.generation,
            site: Site::new(&target.endpoint),
            pool: Pool::new(Arc::clone(&connections)),
            connections,
            stop: CancellationToken::new(),
            closing: CancellationToken::new(),
            places: Arc::default(),
            under_way: TaskTracker::new(),
            calls: PerLane::default(),
            told: Told::default(),
            observations,
            announcer,
            clients: Mutex::default(),
            leases: Mutex::default(),
        });
        tokio::spawn(sweep(Arc::downgrade(&slot)));
        slot
    }

    /// Notes a call, until what comes out is dropped; and when it must stop.
    pub fn begin(&self) -> (TaskTrackerToken, WaitForCancellationFuture<'_>) {
        let calls = self.calls.here_or(|| Calls {
            stop: self.stop.child_token(),
            under_way: TaskTracker::new(),
        });
        (calls.under_way.token(), calls.stop.cancelled())
    }

    /// Resolves when nothing is under way any more. To be called once no new call can find the slot.
    async fn rests(&self) {
        loop {
            for tracker in self.trackers() {
                tracker.close();
                tracker.wait().await;
            }
            // A call that had found the slot already may have begun meanwhile.
            if self.trackers().all(TaskTracker::is_empty) {
                return;
            }
        }
    }

    fn trackers(&self) -> impl Iterator<Item = &TaskTracker> {
        let calls = self.calls.iter().map(|calls| &calls.under_way);
        std::iter::once(&self.under_way).chain(calls)
    }

    /// What a call taught, if health does not know it yet. A full queue loses it: it never delays a
    /// call.
    pub fn observe(&self, outcome: CallOutcome) {
        if self.told.is_news(&outcome) {
            let _ = self.observations.try_send(Observation {
                id: self.id.clone(),
                generation: self.generation,
                outcome,
            });
        }
    }

    /// A list of the backend's has changed.
    pub fn announce(&self) {
        self.announcer.tell(&self.id, self.generation);
    }

    /// The session for a call, opened or not.
    #[must_use]
    pub fn session(&self, wanted: Wanted<'_>) -> Arc<Cell> {
        match wanted.scope {
            SessionScope::Client(client) => {
                let mut clients = guard(&self.clients);
                let cell = clients
                    .entry(Arc::clone(client))
                    .or_insert_with(|| Cell::new(wanted.terms));
                if !cell.is_usable(&self.site) {
                    *cell = Cell::restarted(wanted.terms);
                }
                Arc::clone(cell)
            }
            SessionScope::Lease => self
                .idle_lease(wanted)
                .unwrap_or_else(|| Cell::new(wanted.terms)),
        }
    }

    /// The lease that was used last, of those that are like what is wanted.
    fn idle_lease(&self, wanted: Wanted<'_>) -> Option<Arc<Cell>> {
        let mut leases = guard(&self.leases);
        let fits = |level: Option<&Arc<str>>| {
            leases.iter().rposition(|lease| {
                let told = lease.cell.peek().and_then(Opened::level);
                lease.is_usable(&self.site)
                    && lease.principal.as_ref() == wanted.principal
                    && lease.cell.terms == *wanted.terms
                    && told.as_ref() == level
            })
        };
        let at = fits(wanted.level).or_else(|| wanted.level.and_then(|_| fits(None)))?;
        Some(leases.remove(at).cell)
    }

    /// A session in place of one that the backend forgot. Calls of the same client that noticed at
    /// the same time get the same new one; `None` where the client ended its session meanwhile, for
    /// nobody would end another.
    #[must_use]
    pub fn renewed(&self, wanted: Wanted<'_>, lost: &Arc<Cell>) -> Option<Arc<Cell>> {
        match wanted.scope {
            SessionScope::Client(client) => {
                let mut clients = guard(&self.clients);
                let cell = clients.get_mut(client)?;
                if Arc::ptr_eq(cell, lost) {
                    *cell = Cell::restarted(wanted.terms);
                }
                Some(Arc::clone(cell))
            }
            SessionScope::Lease => Some(Cell::new(wanted.terms)),
        }
    }

    /// Gives a lease back after a call that ended well. One that did not is to be ended instead: a
    /// call may still run in it.
    #[must_use]
    pub fn return_lease(&self, cell: Arc<Cell>, principal: Option<&Arc<str>>) -> Option<Arc<Cell>> {
        let lease = Lease {
            cell,
            principal: principal.map(Arc::clone),
            since: Instant::now(),
        };
        let mut leases = guard(&self.leases);
        if self.stop.is_cancelled() || leases.len() >= IDLE_LEASES || !lease.is_usable(&self.site) {
            return Some(lease.cell);
        }
        leases.push(lease);
        None
    }

    /// Begins a client with what it had elsewhere. Gives back what is of no use, because another
    /// session of the client is open here already: it is to be ended.
    #[must_use]
    pub fn recall(&self, client: &Arc<str>, terms: &Terms, past: &Past) -> Option<Arc<Cell>> {
        let cell = match past {
            Past::None => return None,
            Past::Handed(session) => Cell::handed(session)?,
            Past::Lost => Cell::restarted(terms),
        };
        match guard(&self.clients).entry(Arc::clone(client)) {
            Entry::Vacant(vacant) => {
                vacant.insert(cell);
                None
            }
            Entry::Occupied(known) => (!known.get().is_same(&cell)).then_some(cell),
        }
    }

    /// The session of a client, taken out of this process: it is not ended.
    #[must_use]
    pub fn export(&self, client: &str) -> Option<HandedSession> {
        let cell = guard(&self.clients).remove(client)?;
        cell.hand_over(&self.id, &self.site.endpoint.url)
    }

    /// Tells the server what its client says outside calls, where a session is open.
    pub fn notify(&self, client: &str, message: Vec<u8>) {
        let cell = guard(&self.clients).get(client).map(Arc::clone);
        if let Some(opened) = cell.as_ref().and_then(|cell| cell.peek()) {
            opened.side(&self.site).tell(message);
        }
    }

    /// Ends what belongs to a client.
    pub async fn end_client(&self, client: &str) {
        let cell = guard(&self.clients).remove(client);
        if let Some(cell) = cell {
            cell.end(&self.site).await;
        }
    }

    /// Closes everything. To be called after no new call can find the slot.
    pub async fn close(self: Arc<Self>, running: Running) {
        self.pool.clear();
        self.closing.cancel();
        match running {
            Running::Finish => self.rests().await,
            Running::StopAfter(grace) => {
                if timeout(grace, self.rests()).await.is_err() {
                    self.stop.cancel();
                    let _ = timeout(STOP_WITHIN, self.rests()).await;
                }
            }
        }
        self.stop.cancel();
        let clients: Vec<_> = guard(&self.clients).drain().map(|(_, cell)| cell).collect();
        let leases: Vec<_> = guard(&self.leases)
            .drain(..)
            .map(|lease| lease.cell)
            .collect();
        let cells = clients.iter().chain(&leases);
        join_all(cells.map(|cell| cell.end(&self.site))).await;
        self.pool.clear();
    }

    async fn sweep(&self) {
        self.pool.sweep();
        self.places.sweep();
        self.site
            .news
            .tell(&self.announcer, &self.id, self.generation);
        let stale: Vec<_> = {
            let mut leases = guard(&self.leases);
            leases
                .extract_if(.., |lease| {
                    lease.since.elapsed() >= LEASE_IDLE || !lease.is_usable(&self.site)
                })
                .collect()
        };
        join_all(stale.iter().map(|lease| lease.cell.end(&self.site))).await;
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

/// A poisoned lock only means that another thread panicked between two plain map operations.
fn guard<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
