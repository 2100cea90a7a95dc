//! What was said on the streams of a session, so that a client that lost one goes on where it was.
//!
//! Owns which events are kept, which are dropped first, and who may read on from where. Never holds
//! a socket, a clock or a waker. What cannot be told without a gap is an exact error: a client is
//! never left to believe that it has seen everything.

mod event_id;
mod log;
mod packed;
mod stream;

pub use event_id::EventId;
pub use log::{Keeps, Log, Next, Reading};
pub use packed::Packed;

/// Why a stream does not go on behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// No id of this session, or of a stream that is not kept any more.
    #[error("the event is not known here, or its stream is not kept any more")]
    Unknown,
    /// Events behind it were dropped. What is left begins behind `resume_at`.
    #[error("{lost} events after it are not kept any more")]
    Lost { lost: u64, resume_at: EventId },
}
