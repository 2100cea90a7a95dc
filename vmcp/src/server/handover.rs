//! The sessions of a replica that stops, on their way to its successors.
//!
//! Owns the order of a hand-over: sessions that nobody uses at the moment at once, the others as
//! soon as they are free, and when the time is up all that are left. Each goes to the replica that
//! the rendezvous order names, or to the next one that takes it. None is ended at a backend.
//!
//! # What is taken
//! A batch is answered with the places of the sessions that were taken, so that the answer is short
//! however long ids are. Where no answer comes, the same replica is asked to take the same batch
//! again before another is: what it has taken already it takes again without a change, so that no
//! session is served in two places because an answer was lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use vmcp_core::session::rendezvous;

use super::phase_io::Serving;
use crate::gateway::Gateway;
use crate::gateway::place::{Departed, HandedClient};
use crate::gateway::session::Departing;
use crate::peer::{Peers, SendError};

/// Where sessions are handed over.
pub(super) const HAND: &str = "/.vmcp/hand";

/// Where the memory of deleted sessions is handed over.
pub(super) const GRAVES: &str = "/.vmcp/graves";

/// Deleted sessions that are told of at a time: about 300 KB.
const GRAVES_AT_A_TIME: usize = 10_000;

/// Between two looks for sessions that have become free.
const LOOK: Duration = Duration::from_millis(50);

/// Looks in a row at which nobody was there to take a session before it is clear that nobody will
/// be: the last replica of a gateway has no successor.
const LONELY: u32 = 40;

/// Sessions for a replica.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    pub(super) sessions: Vec<HandedClient>,
}

/// The places of those that it took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) taken: Vec<usize>,
}

/// Takes what another replica hands over.
pub(super) fn take(gateway: &Gateway, body: &[u8]) -> Option<Taken> {
    let handed: Handed = serde_json::from_slice(body).ok()?;
    let sessions = handed.sessions.into_iter().enumerate();
    let taken: Vec<usize> = sessions
        .filter_map(|(at, session)| gateway.adopt(session).then_some(at))
        .collect();
    tracing::info!(sessions = taken.len(), "sessions taken over");
    Some(Taken { taken })
}

/// Hands sessions over until none is left and nothing is `passed_on` from other replicas, or the
/// deadline has come; what is begun before it is finished after it. [`hand_rest`] comes then.
pub(super) async fn hand_over(
    gateway: &Gateway,
    peers: &Peers,
    passed_on: &Serving,
    deadline: Instant,
) {
    let mut run = Run::new(gateway, peers, deadline);
    let mut lonely = 0;
    while lonely < LONELY && Instant::now() < deadline {
        run.tell_of_the_dead().await;
        let departed = gateway.depart(Departing::Idle, &run.kept);
        if departed.is_empty() {
            if !gateway.has_sessions_beside(&run.kept) && passed_on.is_idle() {
                return;
            }
            sleep(LOOK).await;
        } else if run.deliver(departed).await == Delivery::Nobody {
            lonely += 1;
            sleep(LOOK).await;
        } else {
            lonely = 0;
        }
    }
}

/// Hands over what is left, in use or not, and begins nothing after the deadline.
pub(super) async fn hand_rest(gateway: &Gateway, peers: &Peers, deadline: Instant) {
    let mut run = Run::new(gateway, peers, deadline);
    while Instant::now() < deadline {
        let departed = gateway.depart(Departing::All, &run.kept);
        if departed.is_empty() || run.deliver(departed).await == Delivery::Nobody {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// Each session was taken, or refused by everybody.
    Done,
    /// There was nobody to ask.
    Nobody,
}

/// One session on its way.
#[derive(Debug)]
struct Going {
    departed: Departed,
    /// Who did not take it.
    refused: Vec<Box<str>>,
}

/// What one replica made of a batch.
struct Outcome {
    pod: Box<str>,
    rest: Vec<Going>,
    answered: bool,
}

/// One hand-over.
struct Run<'a> {
    gateway: &'a Gateway,
    peers: &'a Peers,
    deadline: Instant,
    /// Everybody refused these: they are not offered again.
    kept: HashSet<Arc<str>>,
    /// They know which sessions were deleted.
    told: HashSet<Box<str>>,
}

impl<'a> Run<'a> {
    fn new(gateway: &'a Gateway, peers: &'a Peers, deadline: Instant) -> Self {
        Self {
            gateway,
            peers,
            deadline,
            kept: HashSet::new(),
            told: HashSet::new(),
        }
    }

    /// Tells each replica that is ready, once, which sessions were deleted: a replica that started
    /// after a deletion has not heard of it, and is perhaps the last one soon that could know.
    async fn tell_of_the_dead(&mut self) {
        let ready = self.peers.ready().into_iter();
        let new: Vec<_> = ready.filter(|pod| !self.told.contains(pod)).collect();
        if new.is_empty() {
            return;
        }
        let graves = self.gateway.graves();
        let bodies: Vec<Bytes> = graves
            .chunks(GRAVES_AT_A_TIME)
            .filter_map(|some| Some(serde_json::to_vec(some).ok()?.into()))
            .collect();
        let telling = new.iter().map(|pod| async {
            for body in &bodies {
                if let Err(error) = self.peers.ask(pod, GRAVES, body.clone()).await {
                    tracing::debug!(pod = &**pod, %error, "not told which sessions are over");
                    return;
                }
            }
        });
        join_all(telling).await;
        self.told.extend(new);
    }

    async fn deliver(&mut self, departed: Vec<Departed>) -> Delivery {
        let mut silent: Vec<Box<str>> = Vec::new();
        let mut delivery = Delivery::Done;
        let mut left: Vec<Going> = departed
            .into_iter()
            .map(|departed| Going {
                departed,
                refused: Vec::new(),
            })
            .collect();
        while !left.is_empty() {
            let mut ready = self.peers.ready();
            ready.retain(|pod| !silent.contains(pod));
            if Instant::now() >= self.deadline {
                ready.clear();
            }
            let mut batches: HashMap<Box<str>, Vec<Going>> = HashMap::new();
            for going in left.drain(..) {
                let id = &going.departed.handed.id;
                let asked = ready.iter().filter(|pod| !going.refused.contains(pod));
                let order = rendezvous(id, asked.map(AsRef::as_ref));
                match order.first() {
                    Some(pod) => batches.entry((*pod).into()).or_default().push(going),
                    None if going.refused.is_empty() => {
                        delivery = Delivery::Nobody;
                        self.gateway.stay(going.departed);
                    }
                    None => {
                        self.kept.insert(Arc::clone(id));
                        self.gateway.stay(going.departed);
                    }
                }
            }
            let batches = batches.into_iter();
            let asked = batches.map(|(pod, batch)| hand(self.gateway, self.peers, pod, batch));
            for outcome in join_all(asked).await {
                left.extend(outcome.rest);
                if !outcome.answered {
                    silent.push(outcome.pod);
                }
            }
        }
        delivery
    }
}

/// One batch for one replica.
async fn hand(gateway: &Gateway, peers: &Peers, pod: Box<str>, batch: Vec<Going>) -> Outcome {
    let taken = offer(peers, &pod, &batch).await;
    let mut rest = Vec::new();
    for (at, mut going) in batch.into_iter().enumerate() {
        match &taken {
            Some(taken) if taken.contains(&at) => {
                peers.meter().given.fetch_add(1, Ordering::Relaxed);
                gateway.arrived(&going.departed, &pod);
            }
            Some(_) => {
                going.refused.push(pod.clone());
                rest.push(going);
            }
            None => rest.push(going),
        }
    }
    Outcome {
        answered: taken.is_some(),
        pod,
        rest,
    }
}

/// The places of those that it took; `None` where it cannot be asked.
async fn offer(peers: &Peers, pod: &str, batch: &[Going]) -> Option<Vec<usize>> {
    let sessions = batch.iter().map(|one| one.departed.handed.clone());
    let handed = Handed {
        sessions: sessions.collect(),
    };
    let body = Bytes::from(serde_json::to_vec(&handed).ok()?);
    let answer = match peers.ask(pod, HAND, body.clone()).await {
        // It may have taken them.
        Err(SendError::Broken) => peers.ask(pod, HAND, body).await,
        answer => answer,
    };
    let taken: Taken = serde_json::from_slice(&answer.ok()?).ok()?;
    Some(taken.taken)
}
