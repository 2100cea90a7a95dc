//! Which replica serves a request, and the passing on of those that another one does.
//!
//! Owns the search for the state that a request belongs to (decision 8): here; at the owner that its
//! id names; where it was handed to; at the replica that says it has it; else, where it is nowhere
//! any more, the replica that the rendezvous order names, which all of them agree on. A request is
//! passed on once at most, whole and unchanged. What was not sent is served elsewhere; a request
//! that may have been served is answered with one error and never sent again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::Response;
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use vmcp_core::limits;
use vmcp_core::session::{Owner, successor};

use super::handover::{self, Taken};
use super::owed::{Owed, is_once, moving};
use super::passing::{Passing, pass_on};
use super::phase_io::Serving;
use super::wills::Coming;
use crate::gateway::Gateway;
use crate::gateway::live::Live;
use crate::gateway::message::Answer;
use crate::gateway::place::Whose;
use crate::gateway::session::Hold;
use crate::peer::{PeerBody, Peers, SendError};

/// Where a session was handed to; only ever seen between replicas.
pub(super) const MOVED: HeaderName = HeaderName::from_static("vmcp-moved");

/// Question of one replica to another: have you got this session?
pub(super) const LOCATE: &str = "/.vmcp/locate";
/// News: this session was ended by its client.
pub(super) const BURY: &str = "/.vmcp/bury";
/// News: this process closes its port now.
pub(super) const PART: &str = "/.vmcp/part";

/// Sessions that were found elsewhere and whose place is remembered.
const REMEMBERED: usize = limits::MAX_SESSIONS;

/// Replicas that are tried for one request.
const TRIES: usize = 4;

/// How a request came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Client,
    /// From another replica: it goes no further.
    Replica,
}

/// Where a request is served.
#[derive(Debug)]
pub(super) enum Placement {
    /// Here. What is held keeps its state here until the answer is made.
    Here(Option<Arc<Live>>),
    /// It was served by another replica.
    Served(Box<Response<PeerBody>>),
    /// The replica that asked is to ask this one.
    Moved(Box<str>),
    /// Nobody can serve it now, or say whether it was served.
    Lost(Answer),
}

/// What a replica says about a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Located {
    Here,
    Moved(Box<str>),
    Deleted,
    Nowhere,
}

/// Finds and reaches the replica that a request belongs to.
#[derive(Debug)]
pub struct Relay {
    pub(super) gateway: Arc<Gateway>,
    /// `None` for a gateway of one replica.
    pub(super) peers: Option<Arc<Peers>>,
    found: Mutex<HashMap<Box<str>, Box<str>>>,
    coming: Coming,
    /// Set when this replica stops: it takes no session over any more.
    leaving: Arc<AtomicBool>,
    /// What other replicas have passed on and is being answered.
    pub(super) passed_on: Serving,
}

impl Relay {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, peers: Option<Arc<Peers>>, leaving: Arc<AtomicBool>) -> Self {
        Self {
            gateway,
            peers,
            found: Mutex::default(),
            coming: Coming::default(),
            leaving,
            passed_on: Serving::default(),
        }
    }

    /// Hands all sessions to other replicas, and answers what they have passed on. Begins nothing
    /// after the deadline; to be awaited to its end, or a session is in nobody's hands.
    pub async fn hand_over(&self, deadline: Instant) {
        if let Some(peers) = &self.peers {
            handover::hand_over(&self.gateway, peers, &self.passed_on, deadline).await;
        }
    }

    /// The same for what is still in use.
    pub async fn hand_rest(&self, deadline: Instant) {
        if let Some(peers) = &self.peers {
            handover::hand_rest(&self.gateway, peers, deadline).await;
        }
    }

    /// Takes what another replica hands over.
    pub(super) fn take(&self, body: &[u8]) -> Option<Taken> {
        if self.is_leaving() {
            return Some(Taken::default());
        }
        let taken = handover::take(&self.gateway, body)?;
        if let Some(peers) = &self.peers {
            let count = u64::try_from(taken.taken.len()).unwrap_or(u64::MAX);
            peers.meter().taken.fetch_add(count, Ordering::Relaxed);
        }
        Some(taken)
    }

    /// Where a request is served; if that is at another replica, its answer.
    pub(super) async fn place(&self, request: &Passing<'_>, hop: Hop) -> Placement {
        match self.gateway.whose(request.facts, request.body) {
            Whose::Anyone => Placement::Here(None),
            Whose::Session(id) => self.place_session(&id, request, hop).await,
            Whose::State(owner) => Box::pin(self.place_state(&owner, request, hop)).await,
        }
    }

    /// What this replica says about a session when another one asks.
    pub(super) async fn locate(&self, id: &str) -> Located {
        if self.coming.holds(id) {
            return Located::Here;
        }
        match self.settled(id).await {
            Hold::Here(_) => Located::Here,
            Hold::Moved(pod) => Located::Moved(pod),
            Hold::Deleted => Located::Deleted,
            _ => Located::Nowhere,
        }
    }

    /// Tells the other replicas that a session is over, in case one of them has to serve it. Waits
    /// until they know, so that the client's answer means it.
    pub(super) async fn buried(&self, id: &str) {
        if let Some(peers) = &self.peers {
            peers.ask_all(BURY, &Bytes::from(id.to_owned())).await;
        }
    }

    /// This replica stops.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Tells the other replicas to send nothing here any more, before the peer port closes.
    pub async fn farewell(&self) {
        let Some(peers) = &self.peers else { return };
        if let Ok(own) = serde_json::to_vec(peers.own()) {
            peers.ask_all(PART, &own.into()).await;
        }
    }

    /// Another process has said so.
    pub(super) fn parted(&self, process: &Owner) {
        if let Some(peers) = &self.peers {
            peers.part(process);
        }
        lock(&self.found).retain(|_, pod| *pod != process.pod);
    }

    async fn place_session(&self, id: &str, request: &Passing<'_>, hop: Hop) -> Placement {
        let owner = match (self.settled(id).await, hop) {
            (Hold::Here(live), _) => return Placement::Here(Some(live)),
            (Hold::Moved(pod), Hop::Replica) => return Placement::Moved(pod),
            (Hold::Absent(_), Hop::Replica) => return Box::pin(self.here(id, request)).await,
            (Hold::Deleted | Hold::Unknown, _) => return Placement::Here(None),
            (Hold::Moved(pod), Hop::Client) => Owner {
                pod,
                boot: Box::default(),
            },
            (Hold::Absent(owner), Hop::Client) => owner,
            (Hold::Leaving(_), _) => return Placement::Lost(moving(request)),
        };
        let Some(peers) = &self.peers else {
            return Box::pin(self.here(id, request)).await;
        };
        if owner == *peers.own() {
            return Placement::Here(None);
        }
        // What only some requests need is boxed: the future of a request is made for each.
        Box::pin(self.search(peers, id, owner, request)).await
    }

    /// Asks the likeliest replica first, and goes on while nothing was sent.
    async fn search(
        &self,
        peers: &Peers,
        id: &str,
        owner: Owner,
        request: &Passing<'_>,
    ) -> Placement {
        let mut gone: Vec<Box<str>> = Vec::new();
        let known = lock(&self.found).get(id).cloned();
        let mut next = match known {
            Some(pod) => Some((pod, None)),
            None if peers.ready().contains(&owner.pod) => {
                let boot = Some(owner.boot).filter(|boot| !boot.is_empty());
                Some((owner.pod, boot))
            }
            None => None,
        };
        for _ in 0..TRIES {
            let (pod, boot) = match next.take() {
                Some(pod) => pod,
                None => match self.find(peers, id, &gone).await {
                    Some(pod) => (pod, None),
                    None => return self.here(id, request).await,
                },
            };
            match peers.send(&pod, boot.as_deref(), pass_on(request)).await {
                Ok(response) => match moved(&response) {
                    Some(to) if to == peers.own().pod => return self.here(id, request).await,
                    Some(to) => {
                        self.remember(id, &to);
                        next = Some((to, None));
                    }
                    None => {
                        peers.meter().relayed.fetch_add(1, Ordering::Relaxed);
                        return Placement::Served(Box::new(response));
                    }
                },
                Err(SendError::Broken) if is_once(request) => {
                    peers.meter().lost.fetch_add(1, Ordering::Relaxed);
                    return Placement::Lost(self.owed(request).answer());
                }
                Err(error) => {
                    tracing::debug!(%pod, %error, "session is not served there");
                    lock(&self.found).remove(id);
                    if error != SendError::Restarted {
                        gone.push(pod);
                    }
                }
            }
        }
        self.here(id, request).await
    }

    /// The replica that has the session, else the one that is to have it; `None` is this one.
    async fn find(&self, peers: &Peers, id: &str, gone: &[Box<str>]) -> Option<Box<str>> {
        let question = Bytes::from(id.to_owned());
        let answers = peers.ask_all(LOCATE, &question).await;
        let mut candidates = answers.into_iter().filter_map(|(pod, answer)| {
            let located: Located = serde_json::from_slice(&answer).ok()?;
            match located {
                Located::Here => Some(Some(pod)),
                Located::Moved(to) => Some(Some(to)),
                Located::Deleted => {
                    self.gateway.bury(id);
                    Some(None)
                }
                Located::Nowhere => None,
            }
        });
        let own = &peers.own().pod;
        if let Some(found) =
            candidates.find(|found| found.as_ref().is_none_or(|pod| !gone.contains(pod)))
        {
            let pod = found.filter(|pod| pod != own)?;
            self.remember(id, &pod);
            return Some(pod);
        }
        let mut ready = peers.ready();
        ready.retain(|pod| !gone.contains(pod));
        let us = (!self.is_leaving()).then_some(own);
        let all = ready.iter().chain(us).map(AsRef::as_ref);
        successor(id, all)
            .filter(|pod| **pod != **own)
            .map(Box::from)
    }

    /// A parked call is at its own process or nowhere; what cannot be reached is answered here, with
    /// the error for a call that is lost.
    async fn place_state(&self, owner: &Owner, request: &Passing<'_>, hop: Hop) -> Placement {
        let here = Placement::Here(None);
        let Some(peers) = &self.peers else {
            return here;
        };
        if hop == Hop::Replica || owner == peers.own() {
            return here;
        }
        let sent = peers
            .send(&owner.pod, Some(&owner.boot), pass_on(request))
            .await;
        match sent {
            Ok(response) => {
                peers.meter().relayed.fetch_add(1, Ordering::Relaxed);
                Placement::Served(Box::new(response))
            }
            Err(SendError::Broken) => {
                peers.meter().lost.fetch_add(1, Ordering::Relaxed);
                Placement::Lost(self.owed(request).answer())
            }
            Err(SendError::Unreachable | SendError::Restarted) => here,
        }
    }

    /// What the client is owed, should the replica that serves this go away.
    pub(super) fn owed(&self, request: &Passing<'_>) -> Owed {
        Owed::of(request, &self.gateway.snapshots().current.load().name)
    }

    /// Where a session is, once it is not on its way any more.
    async fn settled(&self, id: &str) -> Hold {
        match self.gateway.hold(id) {
            Hold::Leaving(mut arrival) => {
                // The sender is dropped when it stays; both are news.
                let _ = timeout(limits::PEER_ASK, arrival.changed()).await;
                self.gateway.hold(id)
            }
            settled => settled,
        }
    }

    /// A session that nobody has any more is served here from now on. One that is on its way is
    /// not over (T10): it is where it was handed to, although that one cannot be reached now.
    async fn here(&self, id: &str, request: &Passing<'_>) -> Placement {
        let foreign = |owner: &Owner| *owner != *self.gateway.owner();
        let absent = matches!(self.gateway.hold(id), Hold::Absent(owner) if foreign(&owner));
        let coming = absent.then(|| self.coming.begin(id));
        if coming.is_some() {
            self.recall(id).await;
        }
        let live = self.gateway.take_over(id);
        let gone = || matches!(self.gateway.hold(id), Hold::Moved(_) | Hold::Leaving(_));
        if live.is_none() && gone() {
            return Placement::Lost(moving(request));
        }
        Placement::Here(live)
    }

    fn remember(&self, id: &str, pod: &str) {
        let mut found = lock(&self.found);
        // Only a short cut: forgetting all of it costs one question for each session.
        if found.len() >= REMEMBERED {
            found.clear();
        }
        found.insert(id.into(), pod.into());
    }
}

fn moved(response: &Response<PeerBody>) -> Option<Box<str>> {
    let pod = response.headers().get(MOVED)?.to_str().ok()?;
    Some(pod.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
