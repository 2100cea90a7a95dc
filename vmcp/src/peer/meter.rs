//! What happens between replicas, in numbers.
//!
//! Owns the counters. A rotation of keys that went wrong, or a roster that does not know a replica,
//! is seen here and nowhere else: requests are answered all the same.

use std::sync::atomic::AtomicU64;

#[derive(Debug, Default)]
pub struct PeerMeter {
    /// Requests of clients that another replica answered.
    pub relayed: AtomicU64,
    /// Requests of clients whose replica went away under them.
    pub lost: AtomicU64,
    /// Sessions that another replica took.
    pub given: AtomicU64,
    /// Sessions of another replica that were taken.
    pub taken: AtomicU64,
    /// Changed lists that all replicas came to show in time.
    pub agreed: AtomicU64,
    /// Changed lists that they did not.
    pub given_up: AtomicU64,
    /// Connections between replicas, from here or to here, without a proof that both sides hold one
    /// session key.
    pub refused: AtomicU64,
}
