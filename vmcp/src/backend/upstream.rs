//! The backend side of the one door between gateway and backends.
//!
//! Owns the slots of all backends and hands each call to its own. The only thing that backends
//! share is the map of slots, locked for a lookup at a time: one backend in trouble never blocks
//! another (R4.8). Knows no client.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use vmcp_core::health::{ProbeFailure, ProbeReason, Step};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::jsonrpc;
use vmcp_core::limits::{CALL, CONNECT};

use super::announce::Announcer;
use super::call::Call;
use super::handed::{Handed, Past};
use super::listener::{First, Listener};
use super::ride::Ride;
use super::session::{Cell, Terms};
use super::site::Site;
use super::slot::{Running, Slot};
use super::standing;
use crate::gateway::port::{
    BackendPort, HandedSession, HandedUpstream, Observation, SessionScope, Target, UpstreamError,
    UpstreamEvents, UpstreamListen, UpstreamRequest, UpstreamStream,
};
use crate::near::{Near, Spread};
use crate::placed::{boxed, pinned};
use crate::snapshot::{Endpoint, ProtocolChoice, SessionLoss, Transport};
use crate::table::Table;

/// Calls of a deleted backend are cut off after this long: nothing of it may be left after 5 s
/// (R2.8), and closing its sessions takes up to 2 s.
const REMOVAL_GRACE: Duration = Duration::from_secs(2);

/// Detached runtimes that are remembered, so that a request on an older snapshot cannot bring one
/// back to life.
const REMEMBERED_DETACHED: usize = 1024;

/// Unclaimed sessions that are ended at a time: each costs a connection.
const ENDING: usize = 64;

/// Sends requests to backends.
#[derive(Clone, Debug)]
pub struct Upstream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Read for each call, and written where a runtime comes or goes.
    slots: ArcSwap<Slots>,
    /// Whoever writes holds this.
    detached: Mutex<Detached>,
    handed: Handed,
    observations: mpsc::Sender<Observation>,
    announcer: Announcer,
    closing: TaskTracker,
}

/// The runtimes that there are, by backend.
#[derive(Clone, Debug, Default)]
struct Slots(Table<BackendId, Vec<Arc<Spread<Slot>>>>);

/// Generations that are over.
#[derive(Debug, Default)]
struct Detached(VecDeque<(BackendId, Generation)>);

impl Upstream {
    /// `observations` gets what each call taught, if it has room (R4.9); `announcer` hears of lists
    /// that changed.
    #[must_use]
    pub fn new(observations: mpsc::Sender<Observation>, announcer: Announcer) -> Self {
        Self {
            inner: Arc::new(Inner {
                slots: ArcSwap::default(),
                detached: Mutex::default(),
                handed: Handed::default(),
                observations,
                announcer,
                closing: TaskTracker::new(),
            }),
        }
    }

    /// Detaches a generation that another replaced. Its calls end by themselves, then everything is
    /// closed and its sessions ended, in the background. Idempotent.
    pub fn detach(&self, id: &BackendId, generation: Generation) {
        let slot = self.inner.detach(id, generation);
        self.close(slot, Running::Finish);
    }

    /// Detaches all of a backend that was deleted, and bars its last generation even if no call ever
    /// reached it. Idempotent.
    pub fn remove(&self, id: &BackendId, last: Generation) {
        let slots = self.inner.remove(id, last);
        for slot in slots {
            self.close(Some(slot), Running::StopAfter(REMOVAL_GRACE));
        }
    }

    /// Ends everything, for a shutdown: calls under way get `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        let slots = self.inner.drain();
        // Nobody has called in these since they came, and nobody else knows them (T7).
        let unclaimed = self.inner.handed.take_all();
        if !unclaimed.is_empty() {
            let slots = slots.clone();
            self.inner
                .closing
                .spawn(async move { end_all(&slots, &unclaimed).await });
        }
        for slot in slots {
            self.close(Some(slot), Running::StopAfter(grace));
        }
        self.inner.closing.close();
        self.inner.closing.wait().await;
    }

    /// Open connections for calls, by backend, for `vmcp_upstream_connections`.
    #[must_use]
    pub fn connections(&self) -> Vec<(BackendId, u64)> {
        let count = |slot: &Arc<Slot>| (slot.id.clone(), slot.connections.load(Ordering::Relaxed));
        self.inner.slots().iter().map(count).collect()
    }

    /// Those of them that wait for the next call.
    #[must_use]
    pub fn idle_connections(&self) -> Vec<(BackendId, usize)> {
        let idle = |slot: &Arc<Slot>| (slot.id.clone(), slot.pool.len());
        self.inner.slots().iter().map(idle).collect()
    }

    fn close(&self, slot: Option<Arc<Slot>>, running: Running) {
        if let Some(slot) = slot {
            self.inner.closing.spawn(slot.close(running));
        }
    }
}

impl BackendPort for Upstream {
    fn send(
        &self,
        request: Arc<UpstreamRequest>,
    ) -> BoxFuture<'static, Result<UpstreamEvents, UpstreamError>> {
        let started = self.inner.start(request);
        pinned(|| async move {
            let (mut ride, first) = started?;
            match ride.until(first).await {
                Ok(first) => first,
                Err(_) => Err(detached()),
            }
        })
    }

    fn listen(
        &self,
        listen: UpstreamListen,
    ) -> BoxFuture<'static, Result<UpstreamStream, UpstreamError>> {
        let inner = Arc::clone(&self.inner);
        async move {
            let slot = inner.attach(&listen.target).ok_or_else(detached)?;
            let (capabilities, version) = (&listen.client_capabilities, listen.client_version);
            inner.recall(&slot, &listen.scope, || {
                Terms::new(capabilities.as_ref(), version)
            });
            // A task of its own, as for a call.
            match tokio::spawn(standing::listen(Arc::clone(&slot), listen)).await {
                Ok(stood) => stood,
                Err(_) => Err(detached()),
            }
        }
        .boxed()
    }

    fn export_sessions(&self, session: &str) -> HandedUpstream {
        let mut exported = self.inner.handed.take(session);
        let slots = self.inner.slots();
        let open = slots.iter().filter_map(|slot| slot.export(session));
        exported.sessions.extend(open);
        exported
    }

    fn import_sessions(&self, session: Arc<str>, handed: HandedUpstream) -> bool {
        self.inner.handed.import(session, handed)
    }

    fn sessions_lost(&self, session: Arc<str>) {
        self.inner.handed.lost(session);
    }

    fn notify(&self, session: &str, method: &str, params: Option<&str>) {
        for slot in self.inner.slots() {
            slot.notify(session, jsonrpc::write_notification(method, params));
        }
    }

    fn end_session(&self, session: Arc<str>) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        async move {
            let slots = inner.slots();
            let unclaimed = inner.handed.take(&session);
            let open = join_all(slots.iter().map(|slot| slot.end_client(&session)));
            let handed = end_all(&slots, &unclaimed.sessions);
            tokio::join!(open, handed);
        }
        .boxed()
    }
}

/// Ends sessions that were handed over and never used here.
async fn end_all(slots: &[Arc<Slot>], sessions: &[HandedSession]) {
    let ending = stream::iter(sessions).for_each_concurrent(ENDING, |one| end_handed(slots, one));
    ending.await;
}

async fn end_handed(slots: &[Arc<Slot>], session: &HandedSession) {
    let Some(cell) = Cell::handed(session) else {
        return;
    };
    let here = slots
        .iter()
        .find(|slot| slot.id == session.backend && slot.site.endpoint.url == session.url);
    match here {
        Some(slot) => cell.end(&slot.site).await,
        None => cell.end(&Site::new(&Arc::new(bare(session)))).await,
    }
}

/// As much as is known of a backend that nobody called here.
fn bare(session: &HandedSession) -> Endpoint {
    Endpoint {
        url: session.url.clone(),
        host_header: None,
        transport: Transport::StreamableHttp,
        protocol: ProtocolChoice::Legacy,
        connect_timeout: CONNECT,
        call_timeout: CALL,
        session_loss: SessionLoss::default(),
        pods: crate::pods::Pods::default(),
    }
}

impl Inner {
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.load().all().collect()
    }

    /// A call at its start, and where its first word will be.
    fn start(
        &self,
        request: Arc<UpstreamRequest>,
    ) -> Result<(Ride, oneshot::Receiver<First>), UpstreamError> {
        let slot = self.attach(&request.target).ok_or_else(detached)?;
        let (capabilities, version) = (&request.client_capabilities, request.client_version);
        self.recall(&slot, &request.scope, || {
            Terms::new(capabilities.as_ref(), version)
        });
        let (listener, first) = Listener::new();
        let call = boxed(|| Call::new(slot.clone(), request, listener));
        let ride = pinned(|| async move {
            if let Some(outcome) = call.run().await {
                slot.observe(outcome);
            }
        });
        Ok((Ride::new(ride), first))
    }

    /// What the client had elsewhere, before its first call here.
    fn recall(&self, slot: &Arc<Slot>, scope: &SessionScope, terms: impl FnOnce() -> Terms) {
        let SessionScope::Client(client) = scope else {
            return;
        };
        let past = match self.handed.claim(client, &slot.id, &slot.site.endpoint.url) {
            Past::None => return,
            past => past,
        };
        // It came too late: the client went on in another one (T7).
        if let Some(late) = slot.recall(client, &terms(), &past) {
            let slot = Arc::clone(slot);
            self.closing
                .spawn(async move { late.end(&slot.site).await });
        }
    }

    /// The runtime of a target, made if there is none; `None` once it was detached.
    fn attach(&self, target: &Target) -> Option<Near<Slot>> {
        if let Some(slot) = self.slots.load().of(&target.id, target.generation) {
            return Some(slot.near());
        }
        let detached = self.lock();
        // Others may have made it meanwhile.
        if let Some(slot) = self.slots.load().of(&target.id, target.generation) {
            return Some(slot.near());
        }
        if detached.has(&target.id, target.generation) {
            return None;
        }
        let slot = Slot::start(target, self.observations.clone(), self.announcer.clone());
        let slot = Arc::new(Spread::from(slot));
        self.write(|slots| {
            let generations = slots.0.entry(target.id.clone()).or_default();
            generations.push(Arc::clone(&slot));
        });
        Some(slot.near())
    }

    fn detach(&self, id: &BackendId, generation: Generation) -> Option<Arc<Slot>> {
        let mut detached = self.lock();
        detached.add(id, generation);
        let slot = self.slots.load().of(id, generation).map(Arc::clone)?;
        self.write(|slots| {
            if let Some(generations) = slots.0.get_mut(id) {
                generations.retain(|slot| slot.generation != generation);
            }
            slots.0.retain(|_, generations| !generations.is_empty());
        });
        Some(slot.whole())
    }

    fn remove(&self, id: &BackendId, last: Generation) -> Vec<Arc<Slot>> {
        let mut detached = self.lock();
        detached.add(id, last);
        let mut removed = Vec::new();
        self.write(|slots| removed = slots.0.remove(id).unwrap_or_default());
        for slot in &removed {
            detached.add(id, slot.generation);
        }
        removed.iter().map(|slot| slot.whole()).collect()
    }

    fn drain(&self) -> Vec<Arc<Slot>> {
        let _writer = self.lock();
        let slots = self.slots.swap(Arc::default());
        slots.all().collect()
    }

    /// The caller holds the lock of the writers.
    fn write(&self, change: impl FnOnce(&mut Slots)) {
        let mut slots = Slots::clone(&self.slots.load());
        change(&mut slots);
        self.slots.store(Arc::new(slots));
    }

    fn lock(&self) -> MutexGuard<'_, Detached> {
        self.detached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn all(&self) -> impl Iterator<Item = Arc<Slot>> {
        self.0.values().flatten().map(|slot| slot.whole())
    }

    fn of(&self, id: &BackendId, generation: Generation) -> Option<&Arc<Spread<Slot>>> {
        let mut generations = self.0.get(id)?.iter();
        generations.find(|slot| slot.generation == generation)
    }
}

impl Detached {
    fn has(&self, id: &BackendId, generation: Generation) -> bool {
        let mut detached = self.0.iter();
        detached.any(|(of, gone)| of == id && *gone == generation)
    }

    fn add(&mut self, id: &BackendId, generation: Generation) {
        if self.has(id, generation) {
            return;
        }
        if self.0.len() == REMEMBERED_DETACHED {
            self.0.pop_front();
        }
        self.0.push_back((id.clone(), generation));
    }
}

fn detached() -> UpstreamError {
    UpstreamError::Unavailable(ProbeFailure {
        reason: ProbeReason::Stopped,
        step: Step::Connect,
        http_status: None,
        message: "this runtime of the backend was closed".to_owned(),
    })
}
