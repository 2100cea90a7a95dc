//! The sessions of a replica that stops, on their way to its successors.
//!
//! Owns the order of a hand-over: sessions that nobody uses at the moment at once, the others as
//! soon as they are free, and when the time is up all that are left. Each goes to the replica that
//! the rendezvous order names, or to the next one that takes it. None is ended at a backend.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use vmcp_core::session::rendezvous;

use super::phase_io::Serving;
use crate::gateway::Gateway;
use crate::gateway::place::{Departed, HandedClient};
use crate::gateway::session::Departing;
use crate::peer::Peers;

/// Where sessions are handed over.
pub(super) const HAND: &str = "/.vmcp/hand";

/// Between two looks for sessions that have become free.
const LOOK: Duration = Duration::from_millis(50);

/// Looks in a row at which nobody took a session before it is clear that nobody will: the last
/// replica of a gateway has no successor.
const REFUSALS: u32 = 40;

/// Sessions for a replica.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    pub(super) sessions: Vec<HandedClient>,
}

/// Those that it took.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) ids: Vec<Arc<str>>,
}

/// Takes what another replica hands over.
pub(super) fn take(gateway: &Gateway, body: &[u8]) -> Option<Taken> {
    let handed: Handed = serde_json::from_slice(body).ok()?;
    let mut ids = Vec::new();
    for session in handed.sessions {
        let id = Arc::clone(&session.id);
        if gateway.adopt(session) {
            ids.push(id);
        }
    }
    tracing::info!(sessions = ids.len(), "sessions taken over");
    Some(Taken { ids })
}

/// Hands sessions over until none is left and nothing is `passed_on` from other replicas; the caller
/// sets the deadline, and calls [`hand_rest`] after it.
pub(super) async fn hand_over(gateway: &Gateway, peers: &Peers, passed_on: &Serving) {
    let mut refusals = 0;
    while refusals < REFUSALS {
        let departed = gateway.depart(Departing::Idle);
        if departed.is_empty() {
            if gateway.session_count() == 0 && passed_on.is_idle() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        } else if deliver(gateway, peers, departed).await {
            refusals = 0;
        } else {
            refusals += 1;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Hands over what is left, in use or not.
pub(super) async fn hand_rest(gateway: &Gateway, peers: &Peers) {
    loop {
        let departed = gateway.depart(Departing::All);
        if departed.is_empty() || !deliver(gateway, peers, departed).await {
            return;
        }
    }
}

/// `false`: some had to stay.
async fn deliver(gateway: &Gateway, peers: &Peers, departed: Vec<Departed>) -> bool {
    let mut refused: Vec<Box<str>> = Vec::new();
    let mut left = departed;
    while !left.is_empty() {
        let mut ready = peers.ready();
        ready.retain(|pod| !refused.contains(pod));
        let mut batches: HashMap<Box<str>, Vec<Departed>> = HashMap::new();
        for session in left.drain(..) {
            let order = rendezvous(&session.handed.id, ready.iter().map(AsRef::as_ref));
            match order.first() {
                Some(pod) => batches.entry((*pod).into()).or_default().push(session),
                None => gateway.stay(session),
            }
        }
        if batches.is_empty() {
            return false;
        }
        for (pod, batch) in batches {
            let rest = hand(gateway, peers, &pod, batch).await;
            if !rest.is_empty() {
                refused.push(pod);
                left.extend(rest);
            }
        }
    }
    true
}

/// One batch for one replica; what it did not take comes back.
async fn hand(gateway: &Gateway, peers: &Peers, pod: &str, batch: Vec<Departed>) -> Vec<Departed> {
    let sessions = batch.iter().map(|one| one.handed.clone()).collect();
    let Ok(body) = serde_json::to_vec(&Handed { sessions }) else {
        return batch;
    };
    let answer = peers.ask(pod, HAND, Bytes::from(body)).await;
    let taken: Option<Taken> = answer
        .ok()
        .and_then(|answer| serde_json::from_slice(&answer).ok());
    let taken = taken.map(|taken| taken.ids).unwrap_or_default();
    let mut rest = Vec::new();
    for session in batch {
        if taken.contains(&session.handed.id) {
            gateway.arrived(&session, pod);
        } else {
            rest.push(session);
        }
    }
    rest
}
