//! A legacy session with state on this replica.
//!
//! Owns what one client session has open here: its calls, the requests of ours that it has yet to
//! answer, its streams, its log level. Each part stands in its own file; ids and keys are
//! `session`'s.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use vmcp_core::jsonrpc::{RequestId, raw};
use vmcp_core::session::{SessionClaims, Will, next_revision};

use super::ask::Asks;
use super::outbox::Outbox;
use super::standing::Standing;

/// Capabilities that would make backends speak of what does not cross.
pub(super) const NOT_RELAYED: [&str; 2] = ["tasks", "extensions"];

/// A session with state on this replica.
#[derive(Debug)]
pub struct Live {
    pub id: Arc<str>,
    pub claims: SessionClaims,
    /// What backends are told that the client can do: raw, without what is not relayed.
    pub declared: Option<Arc<str>>,
    /// `clientInfo`, raw.
    pub info: Option<Arc<str>>,
    last_used: AtomicU64,
    /// Calls under way, for `notifications/cancelled`.
    calls: Mutex<HashMap<RequestId, CancellationToken>>,
    /// Requests of ours that the client has yet to answer.
    pub asks: Asks,
    /// Streams towards the client.
    pub outbox: Arc<Outbox>,
    /// Streams of backends that this session hears.
    pub standing: Standing,
    /// Raw JSON string of `logging/setLevel`.
    log_level: Mutex<Option<Arc<str>>>,
    /// Grows whenever its client says what it wants beside its calls; 0 until it does.
    said: AtomicU64,
    /// Ends the session's streams when it is deleted or expires.
    pub ended: CancellationToken,
}

impl Live {
    pub(super) fn new(id: Arc<str>, claims: SessionClaims, now: u64) -> Self {
        let declared = claims.client_capabilities_raw.as_deref();
        Self {
            declared: declared.map(|raw| raw::without_members(raw, &NOT_RELAYED).into()),
            info: claims.client_info_raw.as_deref().map(Arc::from),
            outbox: Arc::new(Outbox::new(claims.protocol_version)),
            id,
            claims,
            last_used: AtomicU64::new(now),
            calls: Mutex::default(),
            asks: Asks::default(),
            standing: Standing::default(),
            log_level: Mutex::default(),
            said: AtomicU64::new(0),
            ended: CancellationToken::new(),
        }
    }

    /// Registers a call; it is forgotten when the guard is dropped.
    pub fn begin_call(self: &Arc<Self>, id: &RequestId) -> CallGuard {
        let token = CancellationToken::new();
        lock(&self.calls).insert(id.clone(), token.clone());
        CallGuard {
            live: Arc::clone(self),
            id: id.clone(),
            token,
        }
    }

    /// The client's own cancellation (R4.10). Unknown ids are ignored, as the specification says.
    pub fn cancel(&self, id: &RequestId) {
        if let Some(token) = lock(&self.calls).get(id) {
            token.cancel();
        }
    }

    /// Calls are under way.
    pub(super) fn is_calling(&self) -> bool {
        !lock(&self.calls).is_empty()
    }

    /// Somebody is at it: a call, a stream, a request. To be asked under the lock of the table,
    /// whose own hold is the one that does not count.
    pub(super) fn is_busy(self: &Arc<Self>) -> bool {
        self.is_calling() || Arc::strong_count(self) > 1
    }

    /// Seconds since 1970.
    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn touch(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    /// A backend forgot it, and it is over: from here on nobody finds it. What was written to the
    /// client last can still be read.
    pub(super) fn lose(&self) {
        self.ended.cancel();
    }

    /// Over, although it may still stand in the table.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Ends everything that is open in it.
    pub(super) fn end(&self) {
        self.ended.cancel();
        self.outbox.close();
    }

    /// Raw JSON string, where the client has set one.
    #[must_use]
    pub fn log_level(&self) -> Option<Arc<str>> {
        lock(&self.log_level).clone()
    }

    pub fn set_log_level(&self, raw: Arc<str>) {
        *lock(&self.log_level) = Some(raw);
    }

    /// Of what its client wants beside its calls; 0 where it has said nothing.
    pub(super) fn revision(&self) -> u64 {
        self.said.load(Ordering::Acquire)
    }

    /// It has said something.
    pub(super) fn says(&self, unix_micros: u64) {
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let next = |last| Some(next_revision(last, unix_micros));
        let _ = self.said.fetch_update(set, fetch, next);
    }

    /// It was said at another replica.
    pub(super) fn has_said(&self, revision: u64) {
        self.said.fetch_max(revision, Ordering::AcqRel);
    }

    /// What it wants now.
    pub(super) fn will(&self) -> Will {
        // First, because what is said from here on gets another number.
        let revision = self.revision();
        let (level, subscribed) = (self.log_level(), self.standing.subscribed());
        Will::new(Arc::clone(&self.id), revision, level, subscribed)
    }
}

/// A call of a session, from its request to its reply.
#[derive(Debug)]
pub struct CallGuard {
    pub live: Arc<Live>,
    id: RequestId,
    pub token: CancellationToken,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        lock(&self.live.calls).remove(&self.id);
    }
}

/// A poisoned lock only means that another thread panicked between two plain map operations.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
