//! One reply: JSON where the answer comes at once, a stream where it talks first or takes long.
//!
//! Owns the events of one call on their way to the client. Every reply ends in exactly one response
//! or one typed error. A modern client that goes away cancels its call; a legacy client's
//! disconnection does not, so what is left of the call is drained in the background. Once a legacy
//! reply talks it is `dialogue`'s.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use vmcp_core::bridge::{InputCapabilities, response_to, url_elicitations};
use vmcp_core::jsonrpc::{self, RpcError, raw};
use vmcp_core::limits;
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, ProtocolVersion, is_tool_error, method};

use super::Gateway;
use super::adapt;
use super::dialogue::Dialogue;
use super::failure::{error_code, to_rpc};
use super::forward::Forward;
use super::live::CallGuard;
use super::message::{Accepts, Answer, Messages};
use super::park::ParkedCall;
use super::port::{UpstreamError, UpstreamEvent};
use super::resume::{Continued, continued};
use super::rounds;
use super::source::{Event, Source};
use crate::alarm::Deadline;

/// What happened first.
pub(super) enum Next {
    Event(Event),
    Cancelled,
    Silent,
}

/// The last message of a reply.
pub(super) struct Last {
    pub status: u16,
    pub body: Bytes,
    pub is_error: bool,
}

/// A call on its way back.
pub(super) struct Reply {
    pub forward: Box<Forward>,
    pub source: Source,
    /// Comes before whatever the source says next.
    pub held: Option<Event>,
    /// How often the client has been asked.
    pub round: u32,
}

impl Gateway {
    /// Sends the request, unless it continues one, and answers with what comes back.
    pub(super) async fn reply(&self, mut forward: Box<Forward>) -> Answer {
        let continued = match continued(&self.parking, &mut forward) {
            Ok(continued) => continued,
            Err(error) => {
                forward.finish("rpc_other");
                return Answer::error(200, &forward.id, &error);
            }
        };
        let mut reply = Reply {
            forward,
            source: Source::Done,
            held: None,
            round: 0,
        };
        match continued {
            Continued::Anew(round) => {
                let sent = self.port.send(Arc::clone(&reply.forward.upstream));
                reply.source = Source::starting(sent, reply.forward.view.clone());
                reply.round = round;
            }
            Continued::Parked(call) => {
                if let Some(asks_again) = reply.take_up(*call) {
                    return asks_again.answer();
                }
            }
        }
        reply.answer().await
    }
}

impl Reply {
    /// Waits for the first word of the backend and chooses the form of the reply.
    async fn answer(mut self) -> Answer {
        let accepts = self.forward.caller.accepts;
        let silence = match accepts {
            Accepts::JsonOrEvents => Some(self.forward.begun() + limits::BACKEND_SILENCE),
            Accepts::JsonOnly => None,
        };
        loop {
            match (self.next(silence).await, accepts) {
                (Next::Event(Ok(UpstreamEvent::Notification(raw))), _) if !self.passes(&raw) => {}
                (Next::Event(Ok(UpstreamEvent::Notification(_))), Accepts::JsonOnly) => {}
                (Next::Event(Ok(UpstreamEvent::Request(asked))), _)
                    if self.forward.caller.era == Era::Modern =>
                {
                    if let Some(asks) = self.park(asked).await {
                        return asks.answer();
                    }
                }
                (Next::Event(Ok(UpstreamEvent::Request(asked))), Accepts::JsonOnly) => {
                    let error = rounds::no_stream(&asked.method);
                    asked.answer.answer(Err(error));
                }
                (Next::Event(event), Accepts::JsonOrEvents) if self.talks(&event) => {
                    self.held = Some(event);
                    return self.stream();
                }
                (Next::Silent, _) => return self.stream(),
                (end, _) => return self.finish(end).answer(),
            }
        }
    }

    /// Is there more to say to the client than this?
    fn talks(&self, event: &Event) -> bool {
        match event {
            Ok(UpstreamEvent::Notification(_) | UpstreamEvent::Request(_)) => true,
            Ok(UpstreamEvent::Response(Ok(result))) => self.wants_input(result),
            Ok(UpstreamEvent::Response(Err(_))) | Err(_) => false,
        }
    }

    /// Is this a result that a legacy client cannot take, but give what it asks for?
    pub(super) fn wants_input(&self, result: &str) -> bool {
        let bridged = (self.forward.caller.era, self.forward.backend_era);
        bridged == (Era::Legacy, Era::Modern)
            && raw::top_level(result, "resultType") == Some("\"input_required\"")
    }

    /// May the client hear this? A modern one hears on a call's stream what concerns the call.
    pub(super) fn passes(&self, notification: &str) -> bool {
        let of = raw::top_level(notification, "method").and_then(jsonrpc::unquote);
        if (self.forward.caller.era, self.forward.backend_era) != (Era::Modern, Era::Legacy) {
            return true;
        }
        match of.as_deref() {
            Some(method::NOTIFICATION_MESSAGE) => self.forward.caller.log_level.is_some(),
            Some(
                method::NOTIFICATION_ELICITATION_COMPLETE
                | method::NOTIFICATION_RESOURCES_UPDATED
                | method::NOTIFICATION_CANCELLED,
            ) => false,
            _ => true,
        }
    }

    pub(super) async fn next(&mut self, silence: Option<Instant>) -> Next {
        if let Some(held) = self.held.take() {
            return Next::Event(held);
        }
        let at = silence.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            event = self.source.event() => Next::Event(event),
            () = cancellation(self.forward.caller.cancel.as_ref()) => Next::Cancelled,
            () = Deadline::at(at), if silence.is_some() => Next::Silent,
        }
    }

    /// The rest of the reply as whole JSON-RPC messages.
    fn stream(self) -> Answer {
        match (self.forward.caller.era, &self.forward.caller.cancel) {
            (Era::Legacy, Some(guard)) => {
                let live = Arc::clone(&guard.live);
                Answer::Events(Dialogue::begin(self, live))
            }
            _ => Answer::Events(self.inline()),
        }
    }

    /// Written as the client reads; dropping it is the client's cancellation.
    fn inline(self) -> Messages {
        Box::pin(futures::stream::unfold(Some(self), |reply| async move {
            let mut reply = reply?;
            loop {
                match reply.next(None).await {
                    Next::Event(Ok(UpstreamEvent::Notification(raw))) => {
                        let told = reply.passes(&raw).then(|| reply.retold(raw));
                        if let Some(raw) = told.flatten() {
                            return Some((message(&raw).into(), Some(reply)));
                        }
                    }
                    Next::Event(Ok(UpstreamEvent::Request(asked))) => {
                        if let Some(asks) = reply.park(asked).await {
                            return Some((asks.body.into(), None));
                        }
                    }
                    end => return Some((reply.finish(end).body.into(), None)),
                }
            }
        }))
    }

    /// Goes on with a call that waited. What is still not answered is asked once more.
    fn take_up(&mut self, call: ParkedCall) -> Option<Last> {
        self.forward.backend_era = Era::Legacy;
        self.round = call.round;
        self.held = call.held;
        self.source = Source::Running(call.events);
        let params = self.forward.upstream.params.clone();
        let params = params.as_deref().unwrap_or("{}");
        let mut open = Vec::new();
        for question in call.questions {
            match response_to(params, &question.key) {
                Some(response) => question.answer.answer(Ok(response.into())),
                None if question.answer.is_withdrawn() => {}
                None => open.push(question),
            }
        }
        self.wait(open)
    }

    /// The last message: a response or an error, written down for the meter.
    pub(super) fn finish(&mut self, end: Next) -> Last {
        self.source = Source::Done;
        let Forward {
            method,
            backend_era,
            ..
        } = &*self.forward;
        let (era, backend_era) = (self.forward.caller.era, *backend_era);
        match end {
            Next::Event(Ok(UpstreamEvent::Response(Ok(result)))) => {
                if self.wants_input(&result) {
                    return self.fail(rounds::without_stream(self, &result));
                }
                let code = if is_tool_error(&result) {
                    "tool_error"
                } else {
                    "ok"
                };
                match self.adapted(&result) {
                    Ok(result) => self.succeed(code, &result),
                    Err(error) => self.fail(error),
                }
            }
            Next::Event(Ok(UpstreamEvent::Response(Err(error)))) => {
                if (era, backend_era) == (Era::Modern, Era::Legacy)
                    && let Some(urls) = url_elicitations(&error)
                {
                    return self.ask_to_open(&urls);
                }
                self.fail(adapt::error(era, backend_era, method, error))
            }
            Next::Event(Err(error)) => {
                let told = to_rpc(era, method, &self.forward.view, &error);
                let last = self.failed(error_code(&error), &told);
                match error {
                    UpstreamError::SessionLost => self.over(last),
                    _ => last,
                }
            }
            Next::Cancelled => self.failed(
                "cancelled",
                &RpcError::new(code::INTERNAL_ERROR, "cancelled by the client"),
            ),
            Next::Event(Ok(UpstreamEvent::Notification(_) | UpstreamEvent::Request(_)))
            | Next::Silent => self.fail(RpcError::new(
                code::INTERNAL_ERROR,
                "no answer of the backend",
            )),
        }
    }

    pub(super) fn succeed(&self, code: &'static str, result: &str) -> Last {
        self.forward.finish(code);
        Last {
            status: 200,
            body: jsonrpc::write_result(&self.forward.id, result).into(),
            is_error: false,
        }
    }

    pub(super) fn fail(&self, error: RpcError) -> Last {
        self.failed("rpc_other", &error)
    }

    /// The session of a legacy client is over (`sessionLoss: Fail`): it gets a 404 and begins anew,
    /// and whatever it has at other backends is ended.
    fn over(&self, last: Last) -> Last {
        let Some(guard) = &self.forward.caller.cancel else {
            return last;
        };
        guard.live.lose();
        let (live, port) = (
            Arc::clone(&guard.live),
            Arc::clone(&self.forward.doors.port),
        );
        tokio::spawn(async move {
            live.standing.over().await;
            port.end_session(Arc::clone(&live.id)).await;
        });
        Last {
            status: 404,
            ..last
        }
    }

    fn failed(&self, code: &'static str, error: &RpcError) -> Last {
        self.forward.finish(code);
        Last {
            status: self.status_of(error),
            body: jsonrpc::write_error(&self.forward.id, error).into(),
            is_error: true,
        }
    }

    /// The one error of a call for which the specification has a status of its own. Legacy revisions
    /// have none: a client of theirs would take its session for lost.
    fn status_of(&self, error: &RpcError) -> u16 {
        match (self.forward.caller.era, error.code) {
            (Era::Modern, code::MISSING_CLIENT_CAPABILITY) => 400,
            _ => 200,
        }
    }

    /// What the client can be asked for.
    pub(super) fn capabilities(&self) -> InputCapabilities {
        let caller = &self.forward.caller;
        let version = match caller.era {
            Era::Modern => ProtocolVersion::LATEST_MODERN,
            Era::Legacy => caller.version,
        };
        InputCapabilities::declared(version, caller.capabilities.as_deref())
    }
}

impl Last {
    fn answer(self) -> Answer {
        let Self {
            status,
            body,
            is_error,
        } = self;
        if is_error {
            return Answer::Error { status, body };
        }
        Answer::Json {
            status,
            body,
            session: None,
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

pub(super) fn message(raw: &str) -> Bytes {
    Bytes::copy_from_slice(raw.as_bytes())
}
