//! The telling of what sessions want, to the replicas that may have to serve them.
//!
//! Owns when the others are spoken to: at once where there is news or one has come, and in rounds, so
//! that one that did not hear is told later. One message at a time for each of them, so that none
//! overtakes another. Owns, too, that the others are asked before a session goes on here. What is
//! said, and who has to hear it, is the gateway's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::relay::Relay;

/// News: what these sessions want. Answered with the boot nonce of the process that heard it.
pub(super) const WILLS: &str = "/.vmcp/wills";

/// Question: what does this session want? Answered as [`WILLS`] says it.
pub(super) const WILL: &str = "/.vmcp/will";

/// A replica that did not hear is told again after this.
const ROUND: Duration = Duration::from_secs(1);

/// Sessions that are about to go on here, while the others are asked about them, and by how many
/// requests: nobody else takes them over meanwhile.
#[derive(Debug, Default)]
pub(super) struct Coming(Mutex<HashMap<Box<str>, usize>>);

impl Coming {
    pub(super) fn begin(&self, id: &str) -> Come<'_> {
        *self.lock().entry(id.into()).or_default() += 1;
        let id = id.into();
        Come { coming: self, id }
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// A poisoned lock only means that another thread panicked between two plain map operations.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session on its way here, until this is dropped.
pub(super) struct Come<'a> {
    coming: &'a Coming,
    id: Box<str>,
}

impl Drop for Come<'_> {
    fn drop(&mut self) {
        let mut coming = self.coming.lock();
        if let Some(requests) = coming.get_mut(&self.id) {
            *requests -= 1;
            if *requests == 0 {
                coming.remove(&self.id);
            }
        }
    }
}

impl Relay {
    /// Tells the other replicas what sessions here want, until cancelled.
    pub async fn tell_wills(self: Arc<Self>, stop: CancellationToken) {
        let (Some(peers), gateway) = (&self.peers, &self.gateway) else {
            return;
        };
        let mut telling = FuturesUnordered::new();
        let mut roster = peers.roster();
        roster.mark_changed();
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((attempt, answer)) = telling.next() => {
                    let answer: Option<Bytes> = answer;
                    gateway.was_told(&attempt, answer.as_deref());
                }
                changed = roster.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let others = peers.others().into_iter();
                    let others: Vec<_> = others.map(|peer| peer.pod).collect();
                    gateway.others_are(&others);
                }
                _ = rounds.tick() => gateway.tell_round(),
                () = gateway.has_news() => {}
            }
            while let Some((attempt, body)) = gateway.next_to_tell() {
                telling.push(async move {
                    let answer = peers.ask(&attempt.pod, WILLS, body).await;
                    if let Err(error) = &answer {
                        tracing::debug!(pod = &*attempt.pod, %error, "not told what sessions want");
                    }
                    (attempt, answer.ok())
                });
            }
        }
        // Nobody is told any more, and nobody waits for that.
        gateway.others_are(&[]);
    }

    /// Asks the others what a session wants that is to go on here: this replica may have come later
    /// than what its client said.
    pub(super) async fn recall(&self, id: &str) {
        let Some(peers) = &self.peers else { return };
        for (pod, answer) in peers.ask_all(WILL, &Bytes::from(id.to_owned())).await {
            if self.gateway.keep_wills(&answer).is_none() {
                tracing::debug!(%pod, "does not say what sessions want");
            }
        }
    }
}
