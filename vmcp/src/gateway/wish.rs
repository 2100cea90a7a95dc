//! What is wanted of a standing stream, by whom, and what became of it.
//!
//! Owns the words between whoever wants a stream and the task that holds it. Does nothing itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use vmcp_core::mcp::ProtocolVersion;

use super::live::Live;
use super::port::{SessionScope, UpstreamError};

/// Who listens.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    pub scope: SessionScope,
    pub capabilities: Option<Arc<str>>,
    pub info: Option<Arc<str>>,
    pub version: ProtocolVersion,
    pub level: Level,
}

/// The log level that a listener asked for, a raw JSON string.
#[derive(Clone, Debug)]
pub(super) enum Level {
    /// With its request.
    Asked(Option<Arc<str>>),
    /// In its session, where it may change at any time.
    Of(Weak<Live>),
}

impl Level {
    pub(super) fn now(&self) -> Option<Arc<str>> {
        match self {
            Self::Asked(level) => level.clone(),
            Self::Of(live) => live.upgrade()?.log_level(),
        }
    }
}

/// What is wanted of a stream. Dropping its sender ends the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub resources: BTreeSet<Arc<str>>,
    /// Grows with each change, so that a state can say which wish it is about.
    pub revision: u64,
}

/// How the stream is doing.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Of the newest wish that was tried.
    pub revision: Option<u64>,
    /// Why it does not stand.
    pub failure: Option<UpstreamError>,
    /// What is wanted and the backend did not take.
    pub refused: BTreeSet<Arc<str>>,
}
