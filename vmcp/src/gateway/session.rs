//! Legacy client sessions: sealed ids, and what is alive behind them.
//!
//! Owns the table of sessions with state on this replica. An id
//! carries its own claims, so it outlives the table entry: idle expiry ends upstream state, not the
//! id. Never trusts an id that it cannot open, and never says why it could not (T10: 404, always).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vmcp_core::limits;
use vmcp_core::session::{Owner, SessionClaims};

use super::live::Live;
use super::seal::{Purpose, SealError, Sealer};
use super::tombstones::Tombstones;

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
    live: Mutex<HashMap<Arc<str>, Arc<Live>>>,
    tombstones: Mutex<Tombstones>,
}

impl Sessions {
    #[must_use]
    pub fn new(sealer: Arc<Sealer>, owner: Owner) -> Self {
        Self {
            sealer,
            owner,
            live: Mutex::default(),
            tombstones: Mutex::default(),
        }
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

    /// Mints an id for the claims and brings the session to life.
    ///
    /// # Errors
    /// When there are too many sessions already, or the claims are too large to carry.
    pub fn open(&self, claims: SessionClaims, now: u64) -> Result<Arc<Live>, SessionError> {
        if lock(&self.live).len() >= limits::MAX_SESSIONS {
            return Err(SessionError::TooMany);
        }
        let plain = claims.encode();
        if plain.len() > limits::SESSION_CLAIMS {
            return Err(SessionError::TooLarge);
        }
        let id: Arc<str> = self.sealer.seal(Purpose::Session, &plain)?.into();
        Ok(self.revive(id, claims, now))
    }

    /// The session behind an id, brought back to life if it was idle. `None` for an id that is not
    /// ours, has expired, was deleted, or belongs to another VirtualMCPServer.
    pub fn find(&self, id: &str, virtual_uid: &str, now: u64) -> Option<Arc<Live>> {
        let live = lock(&self.live).get(id).cloned();
        let session = match live {
            Some(session) => session,
            None => {
                if lock(&self.tombstones).holds(id) {
                    return None;
                }
                let claims = self.claims(id)?;
                if lock(&self.live).len() >= limits::MAX_SESSIONS {
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

    /// Ends a session for good. Idempotent.
    pub fn delete(&self, session: &Live) {
        session.end();
        lock(&self.tombstones).bury(&session.id, session.claims.expires);
        lock(&self.live).remove(&session.id);
    }

    /// Takes idle and expired sessions out of the table and returns their ids, whose upstream state
    /// is to be ended by the caller, outside any lock.
    pub fn sweep(&self, now: u64) -> Vec<Arc<str>> {
        lock(&self.tombstones).clear_expired(now);
        let idle = limits::SESSION_IDLE.as_secs();
        let mut gone = Vec::new();
        lock(&self.live).retain(|id, session| {
            session.outbox.sweep();
            let used = session.last_used();
            let busy = session.is_calling() || Arc::strong_count(session) > 1;
            let keep = session.claims.expires > now && (busy || now.saturating_sub(used) < idle);
            if !keep {
                session.end();
                gone.push(Arc::clone(id));
            }
            keep
        });
        gone
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
mod tests {
    use vmcp_core::jsonrpc::RequestId;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn claims() -> SessionClaims {
        SessionClaims {
            virtual_uid: "uid-1".into(),
            issued: NOW,
            expires: NOW + 86_400,
            ..SessionClaims::default()
        }
    }

    fn sessions() -> Sessions {
        Sessions::new(Arc::new(Sealer::random().unwrap()), Owner::default())
    }

    #[test]
    fn an_id_finds_its_session_and_only_under_its_own_virtual_server() {
        let table = sessions();
        let session = table.open(claims(), NOW).unwrap();

        assert!(table.find(&session.id, "uid-1", NOW).is_some());
        assert!(table.find(&session.id, "uid-2", NOW).is_none());
    }

    /// T10: everything that is not a valid id is unknown, whatever is wrong with it.
    #[test]
    fn a_forged_or_foreign_id_is_unknown() {
        let table = sessions();
        let foreign = sessions().open(claims(), NOW).unwrap();
        let mut flipped = table.open(claims(), NOW).unwrap().id.to_string();
        flipped.replace_range(20..21, if &flipped[20..21] == "A" { "B" } else { "A" });

        for id in [
            &*foreign.id,
            flipped.as_str(),
            "",
            "nonsense",
            &"A".repeat(10_000),
        ] {
            assert!(table.find(id, "uid-1", NOW).is_none(), "{id}");
        }
    }

    #[test]
    fn a_deleted_session_stays_unknown_until_its_id_has_expired() {
        let table = sessions();
        let session = table.open(claims(), NOW).unwrap();

        table.delete(&session);
        table.delete(&session);

        assert!(session.ended.is_cancelled());
        assert!(table.find(&session.id, "uid-1", NOW + 1).is_none());
        table.sweep(NOW + 86_401);
        assert!(table.find(&session.id, "uid-1", NOW + 86_401).is_none());
    }

    #[test]
    fn idle_expiry_ends_the_state_and_not_the_id() {
        let table = sessions();
        let id = Arc::clone(&table.open(claims(), NOW).unwrap().id);

        let gone = table.sweep(NOW + limits::SESSION_IDLE.as_secs());

        assert_eq!(gone, vec![Arc::clone(&id)]);
        assert_eq!(table.count(), 0);
        assert!(table.find(&id, "uid-1", NOW + 700).is_some());
    }

    #[test]
    fn an_expired_id_is_unknown() {
        let table = sessions();
        let id = Arc::clone(&table.open(claims(), NOW).unwrap().id);

        assert!(table.find(&id, "uid-1", NOW + 86_400).is_none());
    }

    #[test]
    fn the_session_limit_is_enforced() {
        let table = sessions();
        for _ in 0..limits::MAX_SESSIONS {
            table.open(claims(), NOW).unwrap();
        }

        assert_eq!(
            table.open(claims(), NOW).unwrap_err(),
            SessionError::TooMany
        );
    }

    /// R4.10: a cancellation reaches exactly its call.
    #[test]
    fn a_cancellation_reaches_exactly_its_call() {
        let table = sessions();
        let session = table.open(claims(), NOW).unwrap();
        let one = session.begin_call(&RequestId::Number("1".into()));
        let two = session.begin_call(&RequestId::Number("2".into()));

        session.cancel(&RequestId::Number("1".into()));

        assert!(one.token.is_cancelled() && !two.token.is_cancelled());
    }
}
