//! Connections to backends.
//!
//! Owns every socket towards an MCP server and everything said on it: name lookup, TCP, TLS,
//! HTTP/1.1, the MCP transports of both eras, the health check, and the pool for traffic. It
//! judges single answers (pure functions in [`verdict`] and [`detect`]) and never a backend's
//! health: that is the health machine's. It must not know discovery, registry or Kubernetes.
//!
//! `probe` and `fresh` never touch `pool`: a check that shares a connection with traffic proves
//! nothing about new connections (R2.2).

pub mod announce;
mod attended;
pub mod bulkhead;
pub mod call;
pub mod connect;
pub mod conversation;
pub mod cycle;
pub mod desk;
pub mod detect;
mod dialogue;
pub mod ear;
mod ending;
pub mod fresh;
pub mod handed;
pub mod handshake;
mod last_words;
pub mod link;
pub mod listener;
pub mod listing;
pub mod many;
pub mod memory;
pub mod message;
pub mod opened;
pub mod opening;
pub mod outgoing;
mod params;
mod passage;
mod pause;
pub mod pool;
pub mod probe;
mod questions;
pub mod reach;
pub mod reply;
mod resume;
mod ride;
pub mod session;
mod shared;
pub mod side;
pub mod site;
pub mod slot;
pub mod sse2024;
pub mod sse_event;
pub mod standing;
pub mod stream;
pub mod timings;
pub mod tls;
pub mod told;
pub mod upstream;
pub mod verdict;
pub mod watch;
mod whole;
pub mod wire;

pub use upstream::Upstream;
