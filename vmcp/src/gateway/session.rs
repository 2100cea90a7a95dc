//! Legacy client sessions: sealed ids, and what is alive behind them.
//!
//! Owns the table of sessions with state on this replica. An id
//! carries its own claims, so it outlives the table entry: idle expiry ends upstream state, not the
//! id. Never trusts an id that it cannot open, and never says why it could not (T10: 404, always).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use vmcp_core::limits;
use vmcp_core::session::{Owner, SessionClaims};

use super::crowd::Crowd;
use super::departure::Departures;
use super::live::Live;
use super::seal::{Purpose, SealError, Sealer};
use super::tombstones::{Grave, Tombstones};
use crate::table::Table;

/// Longest id that is looked at: claims are bounded, anything longer was not minted here.
const MAX_ID_LEN: usize = 2 * limits::SESSION_CLAIMS;

/// Why no session could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("session claims are too large")]
    TooLarge,
    #[error("too many sessions")]
    TooMany,
}

/// All sessions of this replica.
#[derive(Debug)]
pub struct Sessions {
    sealer: Arc<Sealer>,
    owner: Owner,
    live: Mutex<Table<Arc<str>, Arc<Live>>>,
    tombstones: Mutex<Tombstones>,
    /// Unused for this long, a session loses its state here.
    pub(super) idle: Duration,
    /// An id is good for this long.
    pub(super) max_age: Duration,
    pub(super) crowd: Crowd,
    /// Locked after `live`, where both are.
    pub(super) departures: Departures,
}

/// Where the state of a session is, as this replica knows it.
#[derive(Debug)]
pub enum Hold {
    /// Here. While this is held it leaves only when all do.
    Here(Arc<Live>),
    /// On its way to another replica, whose pod comes out; `None` if it stayed after all.
    Leaving(watch::Receiver<Option<Box<str>>>),
    /// Handed to the replica in this pod.
    Moved(Box<str>),
    /// A good id without state here, and who opened it.
    Absent(Owner),
    Deleted,
    /// Nothing that this gateway ever minted, or expired.
    Unknown,
}

/// Which sessions leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departing {
    /// Those that nobody is using at this moment.
    Idle,
    All,
}

impl Sessions {
    #[must_use]
    pub fn new(sealer: Arc<Sealer>, owner: Owner) -> Self {
        Self {
            sealer,
            owner,
            live: Mutex::default(),
            tombstones: Mutex::default(),
            idle: limits::SESSION_IDLE,
            max_age: limits::SESSION_MAX_AGE,
            crowd: Crowd::default(),
            departures: Departures::default(),
        }
    }

    /// With another idle time.
    #[must_use]
    pub fn with_idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// With another longest life.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Who opens sessions here.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Seals and opens what leaves this process.
    #[must_use]
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The same, for whoever outlives a request.
    pub(super) fn shared_sealer(&self) -> Arc<Sealer> {
        Arc::clone(&self.sealer)
    }

    /// Mints an id for the claims and brings the session to life.
    ///
    /// # Errors
    /// When all sessions that there may be are in use, or the claims are too large to carry.
    pub fn open(&self, claims: SessionClaims, now: u64) -> Result<Arc<Live>, SessionError> {
        if !self.crowd.make_room(&mut lock(&self.live)) {
            return Err(SessionError::TooMany);
        }
        let id = self.mint(&claims)?;
        Ok(self.revive(id, claims, now))
    }

    /// An id for the claims, with nothing behind it yet.
    ///
    /// # Errors
    /// When the claims are too large to carry.
    pub(super) fn mint(&self, claims: &SessionClaims) -> Result<Arc<str>, SessionError> {
        let plain = claims.encode();
        if plain.len() > limits::SESSION_CLAIMS {
            return Err(SessionError::TooLarge);
        }
        Ok(self.sealer.seal(Purpose::Session, &plain)?.into())
    }

    /// Brings an id to life with claims that its client has made since it was minted.
    ///
    /// # Errors
    /// When all sessions that there may be are in use.
    pub(super) fn begin(
        &self,
        id: Arc<str>,
        claims: SessionClaims,
        now: u64,
    ) -> Result<Arc<Live>, SessionError> {
        let mut live = lock(&self.live);
        if !self.crowd.make_room(&mut live) {
            return Err(SessionError::TooMany);
        }
        let session = Arc::new(Live::new(Arc::clone(&id), claims, now));
        live.insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// The session, if it has state here. Does not count as use.
    pub(super) fn live(&self, id: &str) -> Option<Arc<Live>> {
        lock(&self.live).get(id).cloned()
    }

    /// The session behind an id, brought back to life if it was idle. `None` for an id that is not
    /// ours, has expired, was deleted, or belongs to another VirtualMCPServer.
    pub fn find(&self, id: &str, virtual_uid: &str, now: u64) -> Option<Arc<Live>> {
        let live = lock(&self.live).get(id).cloned();
        let session = match live {
            Some(session) if session.is_over() => return None,
            Some(session) => session,
            None => {
                let departed = self.departures.look(id).is_some();
                if departed || lock(&self.tombstones).holds(id) {
                    return None;
                }
                let claims = self.claims(id)?;
                if !self.crowd.make_room(&mut lock(&self.live)) {
                    return None;
                }
                self.revive(id.into(), claims, now)
            }
        };
        session
            .claims
            .check(virtual_uid, &session.claims.path, None, now)
            .ok()?;
        session.touch(now);
        Some(session)
    }

    /// Where the state of a session is. Changes nothing.
    pub fn hold(&self, id: &str, now: u64) -> Hold {
        let live = lock(&self.live);
        match live.get(id) {
            Some(session) if session.is_over() => return Hold::Deleted,
            Some(session) => return Hold::Here(Arc::clone(session)),
            None => {}
        }
        if let Some(departed) = self.departures.look(id) {
            return departed;
        }
        drop(live);
        if lock(&self.tombstones).holds(id) {
            return Hold::Deleted;
        }
        match self.claims(id) {
            Some(claims) if claims.expires > now => Hold::Absent(claims.owner),
            _ => Hold::Unknown,
        }
    }

    /// Takes sessions out of the table, for another replica, as many as are handed over at a time.
    /// From here on they are `Leaving`. Those that are `kept` or have expired stay.
    pub(super) fn depart(
        &self,
        which: Departing,
        kept: &HashSet<Arc<str>>,
        now: u64,
    ) -> Vec<Arc<Live>> {
        let mut live = lock(&self.live);
        // Held by the table alone: no request, stream or call is at it.
        let unused = |session: &Arc<Live>| !session.is_calling() && Arc::strong_count(session) == 1;
        let leaving: Vec<Arc<str>> = live
            .values()
            .filter(|session| which == Departing::All || unused(session))
            .filter(|session| may_leave(session, kept, now))
            .map(|session| Arc::clone(&session.id))
            .take(limits::HANDED_SESSIONS)
            .collect();
        let gone: Vec<_> = leaving.iter().filter_map(|id| live.remove(id)).collect();
        for session in &gone {
            self.departures.begin(&session.id);
        }
        gone
    }

    /// Whether there is a session that may still leave.
    pub(super) fn has_beside(&self, kept: &HashSet<Arc<str>>, now: u64) -> bool {
        let live = lock(&self.live);
        live.values().any(|session| may_leave(session, kept, now))
    }

    /// A session that was to leave stays.
    pub(super) fn stay(&self, session: &Arc<Live>) {
        let mut live = lock(&self.live);
        live.insert(Arc::clone(&session.id), Arc::clone(session));
        self.departures.forget(&session.id);
    }

    /// It was not to come to life here.
    pub(super) fn forget(&self, session: &Live) {
        lock(&self.live).remove(&session.id);
    }

    /// Remembers an id as deleted, wherever that happened.
    pub(super) fn bury(&self, id: &str) {
        if let Some(claims) = self.claims(id) {
            lock(&self.tombstones).bury(id, claims.expires);
        }
    }

    /// All ids that are remembered as deleted.
    pub(super) fn graves(&self) -> Vec<Grave> {
        lock(&self.tombstones).all()
    }

    /// Remembers what another replica remembers.
    pub(super) fn bury_all(&self, graves: &[Grave]) {
        let mut tombstones = lock(&self.tombstones);
        for Grave(id, expires) in graves {
            tombstones.bury(id, *expires);
        }
    }

    /// Ends a session for good. Idempotent.
    pub fn delete(&self, session: &Live) {
        session.end();
        lock(&self.tombstones).bury(&session.id, session.claims.expires);
        lock(&self.live).remove(&session.id);
    }

    /// Takes idle and expired sessions out of the table and returns them: their upstream state is to
    /// be ended by the caller, outside any lock.
    pub fn sweep(&self, now: u64) -> Vec<Arc<Live>> {
        let mut tombstones = lock(&self.tombstones);
        tombstones.clear_expired(now);
        let idle = self.idle.as_secs();
        let mut gone = self.crowd.take();
        lock(&self.live).retain(|id, session| {
            session.outbox.sweep();
            let used = session.last_used();
            let fresh = !session.is_over() && now.saturating_sub(used) < idle;
            let keep = session.claims.expires > now && (session.is_busy() || fresh);
            if !keep {
                if session.is_over() {
                    tombstones.bury(id, session.claims.expires);
                }
                session.end();
                gone.push(Arc::clone(session));
            }
            keep
        });
        gone
    }

    /// Sessions here whose clients have said what they want.
    pub(super) fn that_want(&self) -> Vec<Arc<str>> {
        let live = lock(&self.live);
        let saying = live.values().filter(|session| session.revision() > 0);
        saying.map(|session| Arc::clone(&session.id)).collect()
    }

    /// Until when an id is good that has no state here; `None` for any other.
    pub(super) fn elsewhere(&self, id: &str, now: u64) -> Option<u64> {
        if self.is_live(id) || lock(&self.tombstones).holds(id) {
            return None;
        }
        let claims = self.claims(id)?;
        (claims.expires > now).then_some(claims.expires)
    }

    /// Whether the session has state here.
    pub fn is_live(&self, id: &str) -> bool {
        lock(&self.live).contains_key(id)
    }

    /// Sessions with state.
    pub fn count(&self) -> usize {
        lock(&self.live).len()
    }

    fn claims(&self, id: &str) -> Option<SessionClaims> {
        if id.len() > MAX_ID_LEN {
            return None;
        }
        let plain = self.sealer.open(Purpose::Session, id)?;
        SessionClaims::decode(&plain).ok()
    }

    fn revive(&self, id: Arc<str>, claims: SessionClaims, now: u64) -> Arc<Live> {
        let session = Arc::new(Live::new(Arc::clone(&id), claims, now));
        Arc::clone(lock(&self.live).entry(id).or_insert(session))
    }
}

/// Nobody takes over a session that has expired.
fn may_leave(session: &Live, kept: &HashSet<Arc<str>>, now: u64) -> bool {
    session.claims.expires > now && !kept.contains(&session.id)
}

/// Microseconds since 1970, to tell later from earlier between replicas.
pub(super) fn unix_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or(Duration::ZERO).as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since 1970, for claims that other replicas and later processes must understand.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
