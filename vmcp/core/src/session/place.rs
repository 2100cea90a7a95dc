//! Which replica serves a session whose owner is gone.
//!
//! Owns the rendezvous order: each replica weighs every pod for an id by a hash, so that all of
//! them come to the same order without talking, and a pod that comes or goes moves only the
//! sessions that are its own. Never looks at a clock or at the network: who is ready comes in.

use std::cmp::Reverse;

use sha2::{Digest, Sha256};

/// The pods in the order in which they are to serve `id`, the best first.
///
/// # Guarantees
/// The order of `pods` does not matter. Removing a pod leaves the order of the others as it was.
#[must_use]
pub fn rendezvous<'a>(id: &str, pods: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut order: Vec<&str> = pods.into_iter().collect();
    order.sort_unstable();
    order.dedup();
    order.sort_by_cached_key(|pod| Reverse((weight(id, pod), *pod)));
    order
}

/// The first of [`rendezvous`] without making the order.
#[must_use]
pub fn successor<'a>(id: &str, pods: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    pods.into_iter().max_by_key(|pod| (weight(id, pod), *pod))
}

fn weight(id: &str, pod: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(pod.as_bytes());
    // A byte that no pod name holds keeps ("a", "bc") and ("ab", "c") apart.
    digest.update([0]);
    digest.update(id.as_bytes());
    digest.finalize().into()
}
