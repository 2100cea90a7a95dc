//! Upstream sessions on their way between replicas.
//!
//! Owns what another replica opened for a client until its next call here, and the knowledge that
//! a client lost what it had. Opens and ends nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use vmcp_core::id::BackendId;
use vmcp_core::limits::MAX_SESSIONS;

use crate::gateway::port::HandedSession;

/// What is known of a client at one backend before its first call here.
#[derive(Debug)]
pub enum Past {
    /// Nothing: it is new.
    None,
    Handed(Box<HandedSession>),
    /// Its session died with the replica that kept it.
    Lost,
}

#[derive(Debug, Default)]
pub struct Handed {
    clients: Mutex<Clients>,
    /// So that a call need not lock where nobody was handed over.
    known: AtomicUsize,
}

#[derive(Debug, Default)]
struct Clients {
    handed: HashMap<Arc<str>, Vec<HandedSession>>,
    lost: HashSet<Arc<str>>,
}

impl Handed {
    /// Keeps what was handed over. Above the bound on sessions it is dropped.
    pub fn import(&self, client: Arc<str>, sessions: Vec<HandedSession>) {
        let mut clients = self.lock();
        clients.lost.remove(&client);
        if !sessions.is_empty() && clients.handed.len() < MAX_SESSIONS {
            clients.handed.entry(client).or_default().extend(sessions);
        }
        self.count(&clients);
    }

    /// Whatever the client had, it has no more.
    pub fn lost(&self, client: Arc<str>) {
        let mut clients = self.lock();
        if clients.lost.len() < MAX_SESSIONS {
            clients.lost.insert(client);
        }
        self.count(&clients);
    }

    /// What the client had at a backend; a session is handed out once.
    #[must_use]
    pub fn claim(&self, client: &str, backend: &BackendId, url: &Url) -> Past {
        if self.known.load(Ordering::Acquire) == 0 {
            return Past::None;
        }
        let mut clients = self.lock();
        if clients.lost.contains(client) {
            return Past::Lost;
        }
        let Some(sessions) = clients.handed.get_mut(client) else {
            return Past::None;
        };
        let here = |one: &HandedSession| one.backend == *backend && one.url == *url;
        let Some(at) = sessions.iter().position(here) else {
            return Past::None;
        };
        let session = sessions.swap_remove(at);
        if sessions.is_empty() {
            clients.handed.remove(client);
        }
        self.count(&clients);
        Past::Handed(Box::new(session))
    }

    /// All that was not claimed yet; the client is forgotten.
    #[must_use]
    pub fn take(&self, client: &str) -> Vec<HandedSession> {
        if self.known.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut clients = self.lock();
        clients.lost.remove(client);
        let sessions = clients.handed.remove(client).unwrap_or_default();
        self.count(&clients);
        sessions
    }

    fn count(&self, clients: &Clients) {
        let known = clients.handed.len() + clients.lost.len();
        self.known.store(known, Ordering::Release);
    }

    /// A poisoned lock only means that another thread panicked between two plain map operations.
    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use vmcp_core::mcp::ProtocolVersion;

    use super::*;

    fn session(backend: &str, url: &str) -> HandedSession {
        HandedSession {
            backend: BackendId::new(backend, "uid"),
            url: url.parse().unwrap(),
            session: "s".to_owned(),
            pin: None,
            version: ProtocolVersion::LATEST_LEGACY,
            capabilities: None,
            server_capabilities: None,
            log_level: None,
        }
    }

    /// A session is handed out once, at its own address only; the rest is kept until it is asked
    /// for or given back.
    #[test]
    fn a_session_is_claimed_once_and_where_it_lives() {
        let handed = Handed::default();
        let (here, there) = (
            "http://a/mcp".parse().unwrap(),
            "http://b/mcp".parse().unwrap(),
        );
        let id = BackendId::new("x", "uid");
        assert!(matches!(handed.claim("c", &id, &here), Past::None));

        handed.import(
            "c".into(),
            vec![session("x", "http://a/mcp"), session("y", "http://a/mcp")],
        );
        assert!(matches!(handed.claim("d", &id, &here), Past::None));
        assert!(matches!(handed.claim("c", &id, &there), Past::None));
        assert!(matches!(handed.claim("c", &id, &here), Past::Handed(_)));
        assert!(matches!(handed.claim("c", &id, &here), Past::None));
        assert_eq!(handed.take("c").len(), 1);
        assert_eq!(handed.known.load(Ordering::Relaxed), 0);
    }

    /// A client whose replica died has lost what it had at every backend, until it ends.
    #[test]
    fn a_lost_client_is_lost_until_it_ends() {
        let handed = Handed::default();
        let (url, id) = ("http://a/mcp".parse().unwrap(), BackendId::new("x", "uid"));

        handed.lost("c".into());

        assert!(matches!(handed.claim("c", &id, &url), Past::Lost));
        assert!(matches!(handed.claim("c", &id, &url), Past::Lost));
        assert!(handed.take("c").is_empty());
        assert!(matches!(handed.claim("c", &id, &url), Past::None));
    }
}
