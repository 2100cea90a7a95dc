//! Where the events of a call come from, for as long as there are any.
//!
//! Owns the one rule that both sides of a reply rely on: a call that ends without a response is an
//! error, never a silence.

use futures::future::BoxFuture;

use vmcp_core::health::{ProbeFailure, ProbeReason, Step};

use super::port::{UpstreamError, UpstreamEvent, UpstreamEvents};

type Sent = BoxFuture<'static, Result<UpstreamEvents, UpstreamError>>;
pub(super) type Event = Result<UpstreamEvent, UpstreamError>;

/// Where the events come from.
pub(super) enum Source {
    Starting(Sent),
    Running(UpstreamEvents),
    Done,
}

impl Source {
    pub(super) async fn event(&mut self) -> Event {
        if let Self::Starting(sent) = self {
            let events = sent.await?;
            *self = Self::Running(events);
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
