//! What is counted, and how it is shown to Prometheus.
//!
//! Owns every counter of the program and the only use of the `prometheus` crate. Counters of a
//! backend live in its slot and are reached through the snapshot: a backend that is removed takes
//! all its series along (R2.8). Never a label from a tool, a URI, a principal or a session.

mod backend;
mod collector;
mod family;
mod process;
mod requests;
mod tally;

pub use backend::{BackendMeter, Durations, Phase};
pub use collector::{Connections, Exposition, SnapshotCollector};
pub use process::ProcessMeter;
pub use requests::Requests;
