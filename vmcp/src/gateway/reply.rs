//! One reply: JSON where the answer comes at once, a stream where it talks first or takes long.
//!
//! Owns the events of one call on their way to the client. Every reply ends in exactly one response
//! or one typed error. A modern client that goes away cancels its call; a legacy client's
//! disconnection does not, so what is left of the call is drained in the background.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use vmcp_core::health::{ProbeFailure, ProbeReason, Step};
use vmcp_core::jsonrpc::{self, RpcError};
use vmcp_core::limits;
use vmcp_core::mcp::Era;
use vmcp_core::mcp::error::code;

use super::Gateway;
use super::adapt;
use super::failure::{error_code, to_rpc};
use super::forward::Forward;
use super::live::CallGuard;
use super::message::{Accepts, Answer, Messages};
use super::port::{UpstreamError, UpstreamEvent, UpstreamEvents};

type Sent = BoxFuture<'static, Result<UpstreamEvents, UpstreamError>>;

/// What happened first.
enum Next {
    Event(Result<UpstreamEvent, UpstreamError>),
    Cancelled,
    Silent,
}

/// Where the events come from.
enum Source {
    Starting(Sent),
    Running(UpstreamEvents),
    Done,
}

/// A call on its way back.
struct Reply {
    forward: Forward,
    source: Source,
}

impl Gateway {
    /// Sends the request and answers with what comes back.
    pub(super) async fn reply(&self, forward: Forward) -> Answer {
        let sent = self.port.send(forward.upstream.clone());
        let source = Source::Starting(sent);
        Reply { forward, source }.answer().await
    }
}

impl Reply {
    /// Waits for the first word of the backend and chooses the form of the reply.
    async fn answer(mut self) -> Answer {
        let accepts = self.forward.caller.accepts;
        let silence = match accepts {
            Accepts::JsonOrEvents => Some(Instant::now() + limits::BACKEND_SILENCE),
            Accepts::JsonOnly => None,
        };
        loop {
            match (self.next(silence).await, accepts) {
                // Dropped without an answer: the backend is told so.
                (Next::Event(Ok(UpstreamEvent::Request(_))), _) => {}
                (Next::Event(Ok(UpstreamEvent::Notification(_))), Accepts::JsonOnly) => {}
                (Next::Event(Ok(UpstreamEvent::Notification(first))), Accepts::JsonOrEvents) => {
                    return Answer::Events(self.events(Some(message(&first))));
                }
                (Next::Silent, _) => return Answer::Events(self.events(None)),
                (end, _) => {
                    let body = self.finish(end);
                    return Answer::Json {
                        status: 200,
                        body,
                        session: None,
                    };
                }
            }
        }
    }

    async fn next(&mut self, silence: Option<Instant>) -> Next {
        let silent = async move {
            match silence {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = self.source.event() => Next::Event(event),
            () = cancellation(self.forward.caller.cancel.as_ref()) => Next::Cancelled,
            () = silent => Next::Silent,
        }
    }

    /// A stream of the session where there is one: written by a task, so that a client which loses
    /// its connection comes back for the rest. Others read the call itself.
    fn events(self, first: Option<Bytes>) -> Messages {
        let Some(guard) = &self.forward.caller.cancel else {
            return self.stream(first);
        };
        let (writer, messages) = guard.live.outbox.open();
        let mut said = self.stream(first);
        // Ends with the call, which has a deadline.
        tokio::spawn(async move {
            while let Some(event) = said.next().await {
                writer.send(event.data);
            }
        });
        messages
    }

    /// The rest of the reply as whole JSON-RPC messages.
    fn stream(self, first: Option<Bytes>) -> Messages {
        let state = (Some(self), first);
        Box::pin(futures::stream::unfold(
            state,
            |(reply, first)| async move {
                let mut reply = reply?;
                if let Some(first) = first {
                    return Some((first.into(), (Some(reply), None)));
                }
                let mut next = reply.next(None).await;
                while let Next::Event(Ok(UpstreamEvent::Request(_))) = next {
                    next = reply.next(None).await;
                }
                match next {
                    Next::Event(Ok(UpstreamEvent::Notification(raw))) => {
                        Some((message(&raw).into(), (Some(reply), None)))
                    }
                    end => Some((reply.finish(end).into(), (None, None))),
                }
            },
        ))
    }

    /// The last message: a response or an error, written down for the meter.
    fn finish(&mut self, end: Next) -> Bytes {
        self.source = Source::Done;
        let Forward {
            id,
            meter,
            method,
            backend_era,
            ..
        } = &self.forward;
        let (era, backend_era) = (self.forward.caller.era, *backend_era);
        let (code, outcome) = match end {
            Next::Event(Ok(UpstreamEvent::Response(Ok(result)))) => {
                let code = if adapt::is_tool_error(&result) {
                    "tool_error"
                } else {
                    "ok"
                };
                match adapt::result(era, backend_era, method, &result) {
                    Ok(result) => {
                        meter.finish(code);
                        return jsonrpc::write_result(id, &result).into();
                    }
                    Err(error) => ("rpc_other", error),
                }
            }
            Next::Event(Ok(UpstreamEvent::Response(Err(error)))) => {
                ("rpc_other", adapt::error(era, backend_era, method, error))
            }
            Next::Event(Err(error)) => (
                error_code(&error),
                to_rpc(era, method, &self.forward.view, &error),
            ),
            Next::Cancelled => (
                "cancelled",
                RpcError::new(code::INTERNAL_ERROR, "cancelled by the client"),
            ),
            Next::Event(Ok(UpstreamEvent::Notification(_) | UpstreamEvent::Request(_)))
            | Next::Silent => (
                "rpc_other",
                RpcError::new(code::INTERNAL_ERROR, "no answer of the backend"),
            ),
        };
        meter.finish(code);
        jsonrpc::write_error(id, &outcome).into()
    }
}

impl Source {
    async fn event(&mut self) -> Result<UpstreamEvent, UpstreamError> {
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

impl Drop for Reply {
    /// A legacy client that goes away has not cancelled: the call runs to its end, keeps its
    /// session busy, and can still be cancelled by notification.
    fn drop(&mut self) {
        let mut source = std::mem::replace(&mut self.source, Source::Done);
        let guard = self.forward.caller.cancel.take();
        let cancelled = guard
            .as_ref()
            .is_some_and(|guard| guard.token.is_cancelled());
        if self.forward.caller.era == Era::Modern || cancelled || matches!(source, Source::Done) {
            return;
        }
        let endpoint = self.forward.view.endpoint.as_ref();
        let deadline = endpoint.map(|endpoint| endpoint.call_timeout);
        if let (Some(deadline), Ok(runtime)) = (deadline, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let drain = async {
                    while let Ok(UpstreamEvent::Notification(_) | UpstreamEvent::Request(_)) =
                        source.event().await
                    {}
                };
                tokio::select! {
                    // The port has its own deadline; this one only bounds a port that forgot it.
                    _ = tokio::time::timeout(deadline, drain) => {}
                    () = cancellation(guard.as_ref()) => {}
                }
            });
        }
    }
}

/// Resolves when the client cancels; never where it cannot.
async fn cancellation(guard: Option<&CallGuard>) {
    match guard {
        Some(guard) => guard.token.cancelled().await,
        None => std::future::pending().await,
    }
}

fn message(raw: &str) -> Bytes {
    Bytes::copy_from_slice(raw.as_bytes())
}
