//! Where the events of a call come from, for as long as there are any.
//!
//! Owns how long the first word took, and the one rule that both sides of a reply rely on: a call that
//! ends without a response is an error, never a silence.

use std::time::Instant;

use futures::future::BoxFuture;

use vmcp_core::health::{ProbeFailure, ProbeReason, Step};

use super::port::{UpstreamError, UpstreamEvent, UpstreamEvents};
use crate::near::Near;
use crate::snapshot::BackendView;

type Sent = BoxFuture<'static, Result<UpstreamEvents, UpstreamError>>;
pub(super) type Event = Result<UpstreamEvent, UpstreamError>;

/// Where the events come from.
pub(super) enum Source {
    Starting(Starting),
    Running(UpstreamEvents),
    Done,
}

/// A call that has said nothing yet.
pub(super) struct Starting {
    sent: Sent,
    since: Instant,
    view: Near<BackendView>,
}

impl Source {
    /// A call that was sent just now to this backend.
    pub(super) fn starting(sent: Sent, view: Near<BackendView>) -> Self {
        Self::Starting(Starting {
            sent,
            since: Instant::now(),
            view,
        })
    }

    pub(super) async fn event(&mut self) -> Event {
        if let Self::Starting(starting) = self {
            let events = (&mut starting.sent).await;
            starting.view.meter.upstream(starting.since.elapsed());
            *self = Self::Running(events?);
        }
        match self {
            Self::Running(events) => match events.recv().await {
                Some(event) => event,
                None => Err(UpstreamError::Unavailable(ProbeFailure {
                    reason: ProbeReason::ConnectionLost,
                    step: Step::Call,
                    http_status: None,
                    message: "the call ended without an answer".to_owned(),
                })),
            },
            Self::Starting(_) | Self::Done => std::future::pending().await,
        }
    }
}
