//! Is a backend well, and how do we know?
//!
//! Owns the health machine: outcomes of checks and calls go in, one state with its facts comes out.
//! Never checks anything itself and never asks what time it is. Exists so that recovery from any
//! history is a property that can be proved, not a hope (R2.1).

mod facts;
mod machine;
mod observed;
mod outcome;
mod policy;
mod state;
mod transition;

pub use crate::reason::ProbeReason;
pub use facts::{Fact, Facts};
pub use machine::Machine;
pub use observed::Observed;
pub use outcome::{CallOutcome, Dialect, Listed, Outcome, ProbeFailure, SessionMode, Step, Wire};
pub use policy::Policy;
pub use state::State;
pub use transition::{History, Transition};
