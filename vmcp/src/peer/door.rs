//! Who may begin a handshake at the peer port.
//!
//! Owns the places of connections that have proven nothing yet: a few for each address, not many
//! for all that discovery does not know, and places of their own for the replicas that it knows. So
//! whoever opens connections and says nothing keeps no replica out.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use vmcp_core::limits;

use super::Roster;

#[derive(Debug)]
pub struct Door {
    roster: watch::Receiver<Arc<Roster>>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_source: HashMap<IpAddr, usize>,
    strangers: usize,
}

/// A connection that has proven nothing yet.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    source: IpAddr,
    whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Replica,
    Stranger,
}

impl Door {
    #[must_use]
    pub fn new(roster: watch::Receiver<Arc<Roster>>) -> Arc<Self> {
        Arc::new(Self {
            roster,
            waiting: Mutex::default(),
        })
    }

    /// `None`: too many wait already, of this address or of all strangers.
    pub(super) fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let source = source.to_canonical();
        let whose = self.whose(source);
        let mut waiting = self.lock();
        let own = waiting.by_source.get(&source).copied().unwrap_or_default();
        let room = match whose {
            Whose::Replica => own < limits::PEER_HANDSHAKES_REPLICA,
            Whose::Stranger => {
                own < limits::PEER_HANDSHAKES_SOURCE && waiting.strangers < limits::PEER_HANDSHAKES
            }
        };
        if !room {
            return None;
        }
        waiting.by_source.insert(source, own + 1);
        if whose == Whose::Stranger {
            waiting.strangers += 1;
        }
        Some(Place {
            door: Arc::clone(self),
            source,
            whose,
        })
    }

    fn whose(&self, source: IpAddr) -> Whose {
        let roster = self.roster.borrow();
        let known = roster.peers.iter().any(|peer| {
            let address = peer.address.parse::<SocketAddr>();
            address.is_ok_and(|address| address.ip().to_canonical() == source)
        });
        if known {
            Whose::Replica
        } else {
            Whose::Stranger
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.door.lock();
        if self.whose == Whose::Stranger {
            waiting.strangers -= 1;
        }
        if let Some(own) = waiting.by_source.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                waiting.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Peer, Standing};
    use super::*;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn door() -> Arc<Door> {
        let peer = Peer {
            pod: "b".into(),
            address: "10.0.0.1:9091".into(),
            standing: Standing::Unready,
        };
        let roster = Roster {
            peers: [peer].into(),
            ..Roster::default()
        };
        Door::new(watch::channel(Arc::new(roster)).1)
    }

    fn fill(door: &Arc<Door>, source: IpAddr) -> Vec<Place> {
        std::iter::from_fn(|| door.admit(source)).collect()
    }

    /// One address that says nothing takes its own places, all strangers together take theirs, and
    /// a replica that is known comes in whatever they do.
    #[test]
    fn strangers_keep_neither_each_other_nor_a_replica_out() {
        let door = door();

        let one = fill(&door, ip(2));
        assert_eq!(one.len(), limits::PEER_HANDSHAKES_SOURCE);
        let rest: Vec<_> = (3..100).flat_map(|last| fill(&door, ip(last))).collect();
        assert_eq!(one.len() + rest.len(), limits::PEER_HANDSHAKES);
        assert!(door.admit(ip(200)).is_none());
        assert_eq!(fill(&door, ip(1)).len(), limits::PEER_HANDSHAKES_REPLICA);

        drop(one);
        assert!(door.admit(ip(200)).is_some());
        drop(rest);
        assert!(door.lock().by_source.is_empty() && door.lock().strangers == 0);
    }
}
