//! Upstream sessions on their way between replicas.
//!
//! Owns what another replica opened for a client until its next call here, and the knowledge that
//! a client lost what it had. Opens and ends nothing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use vmcp_core::id::BackendId;
use vmcp_core::limits::MAX_SESSIONS;

use crate::gateway::port::{HandedSession, HandedUpstream};
use crate::table::Table;

/// Clients that something is known of: all that have state here, and those whose end is under way.
const CLIENTS: usize = 2 * MAX_SESSIONS;

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
    handed: Table<Arc<str>, Vec<HandedSession>>,
    lost: HashSet<Arc<str>>,
}

impl Handed {
    /// Keeps what was handed over. `false`: there is no room, and nothing is kept.
    #[must_use]
    pub fn import(&self, client: Arc<str>, upstream: HandedUpstream) -> bool {
        let mut clients = self.lock();
        if clients.is_full() && !clients.handed.contains_key(&client) {
            return false;
        }
        if upstream.lost {
            clients.lost.insert(Arc::clone(&client));
        } else {
            clients.lost.remove(&client);
        }
        if !upstream.sessions.is_empty() {
            let known = clients.handed.entry(client).or_default();
            for session in upstream.sessions {
                if !known.contains(&session) {
                    known.push(session);
                }
            }
        }
        self.count(&clients);
        true
    }

    /// Whatever the client had, it has no more.
    pub fn lost(&self, client: Arc<str>) {
        let mut clients = self.lock();
        if !clients.is_full() {
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
        let here = |one: &HandedSession| one.backend == *backend && one.url == *url;
        let claimed = clients.handed.get_mut(client).and_then(|sessions| {
            let at = sessions.iter().position(here)?;
            Some((sessions.swap_remove(at), sessions.is_empty()))
        });
        let Some((session, last)) = claimed else {
            return match clients.lost.contains(client) {
                true => Past::Lost,
                false => Past::None,
            };
        };
        if last {
            clients.handed.remove(client);
        }
        self.count(&clients);
        match session.session {
            Some(_) => Past::Handed(Box::new(session)),
            None => Past::Lost,
        }
    }

    /// All that was not claimed yet; the client is forgotten.
    #[must_use]
    pub fn take(&self, client: &str) -> HandedUpstream {
        if self.known.load(Ordering::Acquire) == 0 {
            return HandedUpstream::default();
        }
        let mut clients = self.lock();
        let lost = clients.lost.remove(client);
        let sessions = clients.handed.remove(client).unwrap_or_default();
        self.count(&clients);
        HandedUpstream { sessions, lost }
    }

    /// All that nobody claimed; everybody is forgotten.
    #[must_use]
    pub fn take_all(&self) -> Vec<HandedSession> {
        let mut clients = self.lock();
        let all = std::mem::take(&mut *clients);
        self.count(&clients);
        all.handed.into_values().flatten().collect()
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

impl Clients {
    fn is_full(&self) -> bool {
        self.handed.len() >= CLIENTS || self.lost.len() >= CLIENTS
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
            session: Some("s".to_owned()),
            restarted: false,
            pin: None,
            version: ProtocolVersion::LATEST_LEGACY,
            capabilities: None,
            server_capabilities: None,
            log_level: None,
        }
    }

    fn upstream(sessions: Vec<HandedSession>) -> HandedUpstream {
        HandedUpstream {
            sessions,
            lost: false,
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

        let sessions = vec![session("x", "http://a/mcp"), session("y", "http://a/mcp")];
        assert!(handed.import("c".into(), upstream(sessions.clone())));
        assert!(handed.import("c".into(), upstream(sessions)), "once more");
        assert!(matches!(handed.claim("d", &id, &here), Past::None));
        assert!(matches!(handed.claim("c", &id, &there), Past::None));
        assert!(matches!(handed.claim("c", &id, &here), Past::Handed(_)));
        assert!(matches!(handed.claim("c", &id, &here), Past::None));
        assert_eq!(handed.take("c").sessions.len(), 1);
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
        let taken = handed.take("c");
        assert!(taken.sessions.is_empty() && taken.lost);
        assert!(matches!(handed.claim("c", &id, &url), Past::None));
    }

    /// What was lost at one replica stays lost at the next, but for what was opened since.
    #[test]
    fn the_knowledge_of_a_loss_is_handed_on() {
        let handed = Handed::default();
        let (url, id) = ("http://a/mcp".parse().unwrap(), BackendId::new("x", "uid"));
        let elsewhere = BackendId::new("y", "uid");
        let moved = HandedUpstream {
            sessions: vec![session("x", "http://a/mcp")],
            lost: true,
        };

        assert!(handed.import("c".into(), moved));

        assert!(matches!(handed.claim("c", &id, &url), Past::Handed(_)));
        assert!(matches!(handed.claim("c", &elsewhere, &url), Past::Lost));
    }

    /// What could not be handed is lost at its own backend alone.
    #[test]
    fn a_session_without_an_id_is_lost() {
        let handed = Handed::default();
        let (url, id) = ("http://a/mcp".parse().unwrap(), BackendId::new("x", "uid"));
        let gone = HandedSession {
            session: None,
            ..session("x", "http://a/mcp")
        };

        assert!(handed.import("c".into(), upstream(vec![gone])));

        let elsewhere = BackendId::new("y", "uid");
        assert!(matches!(handed.claim("c", &elsewhere, &url), Past::None));
        assert!(matches!(handed.claim("c", &id, &url), Past::Lost));
    }

    /// T7: what there is no room for stays with the replica that has it.
    #[test]
    fn what_finds_no_room_is_refused_and_not_forgotten() {
        let handed = Handed::default();
        let one = || upstream(vec![session("x", "http://a/mcp")]);
        for client in 0..CLIENTS {
            assert!(handed.import(client.to_string().into(), one()));
        }

        assert!(!handed.import("c".into(), one()));

        assert!(handed.take("c").sessions.is_empty());
        assert_eq!(handed.take_all().len(), CLIENTS);
        assert_eq!(handed.known.load(Ordering::Relaxed), 0);
    }
}
