//! The telling of what sessions want, to the replicas that may have to serve them.
//!
//! Owns when the others are spoken to: at once where there is news or one has come, and in rounds,
//! so that one that did not hear is told later. One message at a time for each of them,
//! so that none overtakes another. What is said, and who has to hear it, is the gateway's.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::relay::Relay;

/// News: what these sessions want. Answered with the boot nonce of the process that heard it.
pub(super) const WILLS: &str = "/.vmcp/wills";

/// A replica that did not hear is told again after this.
const ROUND: Duration = Duration::from_secs(1);

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
                () = stop.cancelled() => return,
                Some((pod, answer)) = telling.next() => {
                    let pod: Box<str> = pod;
                    let answer: Option<bytes::Bytes> = answer;
                    gateway.was_told(&pod, answer.as_deref());
                }
                () = gateway.has_news() => {}
                changed = roster.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let others = peers.others().into_iter();
                    let others: Vec<_> = others.map(|peer| peer.pod).collect();
                    gateway.others_are(&others);
                }
                _ = rounds.tick() => gateway.tell_round(),
            }
            while let Some((pod, body)) = gateway.next_to_tell() {
                telling.push(async move {
                    let answer = peers.ask(&pod, WILLS, body).await;
                    if let Err(error) = &answer {
                        tracing::debug!(%pod, %error, "not told what sessions want");
                    }
                    (pod, answer.ok())
                });
            }
        }
    }
}
