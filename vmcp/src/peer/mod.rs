//! The way between the replicas of one gateway.
//!
//! Owns the peer port: who may speak there, the connections to the other replicas, and the passing
//! on of whole HTTP requests. Knows addresses and bytes, never what a session is: which replica a
//! request belongs to is decided by the edge, what is said in it by the gateway.
//!
//! # Why a handshake for each connection
//! Each connection begins with a proof in both directions that the other side holds the session key
//! (HMAC over two fresh nonces), and is trusted after that. A proof for each request would cost a
//! hash over each body, need synchronous clocks and a memory against replays; fresh nonces need
//! neither. Like the client port behind an ingress, the connection itself is not encrypted: who can
//! read or write the cluster's own network between two pods is not kept out by this.

pub mod client;
pub mod handshake;
pub mod listener;

mod body;
mod door;
mod meter;
mod pool;

use std::sync::Arc;

pub use body::PeerBody;
pub use client::{Peers, SendError};
pub use door::Door;
pub use meter::PeerMeter;

/// Another replica, as discovery sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pod: Box<str>,
    /// `host:port` of its peer port.
    pub address: Box<str>,
    pub standing: Standing,
}

/// What may be asked of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Takes requests.
    Ready,
    /// Starting or leaving: it may still hold sessions.
    Unready,
}

/// All replicas that discovery knows, this one among them or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    pub peers: Arc<[Peer]>,
    /// Discovery has spoken. Before that nobody knows whether there are others.
    pub heard: bool,
}

#[cfg(test)]
mod tests;
