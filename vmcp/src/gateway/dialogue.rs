//! A reply to a legacy client that talks: one task, one stream.
//!
//! Owns the order of what is written: notifications and questions as the backend says them, then
//! the response. The stream is the session's, so a client that loses its connection comes back for
//! the rest and has cancelled nothing; the call ends with its answer, its client's cancellation, or
//! its session. Several questions may be open at once, each with its own time.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::json;

use vmcp_core::bridge::{BridgeReason, refusal};
use vmcp_core::jsonrpc::{RequestId, write_notification};
use vmcp_core::limits;
use vmcp_core::mcp::method;

use super::ask::{ClientAnswer, Pending};
use super::live::Live;
use super::message::Messages;
use super::outbox::StreamWriter;
use super::port::{Answerer, ServerRequest, UpstreamEvent};
use super::reply::{Next, Reply, message};
use super::source::Source;

/// A question of ours that was answered, or will not be.
pub(super) struct Asked {
    /// To be told to the client where it has not answered.
    pub withdrawn: Option<RequestId>,
}

type Open = FuturesUnordered<BoxFuture<'static, Asked>>;

/// A call that talks.
pub(super) struct Dialogue {
    pub reply: Reply,
    pub live: Arc<Live>,
    pub writer: StreamWriter,
    open: Open,
}

enum Turn {
    Ended,
    Asked(Asked),
    Next(Next),
}

impl Dialogue {
    /// Goes on in a task of its own; what it says is read from the stream.
    pub(super) fn begin(reply: Reply, live: Arc<Live>) -> Messages {
        let (writer, messages) = live.outbox.open();
        let dialogue = Self {
            reply,
            live,
            writer,
            open: FuturesUnordered::new(),
        };
        tokio::spawn(dialogue.run());
        messages
    }

    async fn run(mut self) {
        loop {
            let turn = tokio::select! {
                biased;
                () = self.live.ended.cancelled() => Turn::Ended,
                Some(asked) = self.open.next() => Turn::Asked(asked),
                next = self.reply.next(None) => Turn::Next(next),
            };
            match turn {
                Turn::Ended => {
                    self.reply.source = Source::Done;
                    return;
                }
                Turn::Asked(asked) => self.withdraw(asked.withdrawn.as_ref()),
                Turn::Next(Next::Event(Ok(UpstreamEvent::Notification(raw)))) => {
                    self.writer.send(message(&raw));
                }
                Turn::Next(Next::Event(Ok(UpstreamEvent::Request(asked)))) => self.ask(asked),
                Turn::Next(Next::Event(Ok(UpstreamEvent::Response(Ok(result)))))
                    if self.reply.wants_input(&result) =>
                {
                    if !self.next_round(&result).await {
                        return;
                    }
                }
                Turn::Next(end) => {
                    let last = self.reply.finish(end);
                    self.writer.send(last.body);
                    return;
                }
            }
        }
    }

    fn ask(&mut self, asked: ServerRequest) {
        let ServerRequest {
            method,
            params,
            answer,
        } = asked;
        let capabilities = self.reply.capabilities();
        if let Err(error) = capabilities.check(&method, params.as_deref()) {
            answer.answer(Err(error));
            return;
        }
        let (request, pending) = self.live.asks.ask(&method, params.as_deref());
        self.writer.send(request);
        self.open.push(Box::pin(relay(pending, answer)));
    }

    /// A question that nobody waits for any more need not be shown any longer.
    pub(super) fn withdraw(&self, id: Option<&RequestId>) {
        if let Some(id) = id {
            self.writer.send(withdrawal(id));
        }
    }

    /// Resolves when the client cancels the call or its session ends.
    pub(super) fn over(&self) -> impl Future<Output = Next> + Send + use<> {
        let ended = self.live.ended.clone();
        let guard = self.reply.forward.caller.cancel.as_ref();
        let cancelled = guard.map(|guard| guard.token.clone());
        async move {
            let cancelled = async {
                match cancelled {
                    Some(token) => token.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ended.cancelled() => Next::Silent,
                () = cancelled => Next::Cancelled,
            }
        }
    }
}

/// Takes a question back.
pub(super) fn withdrawal(id: &RequestId) -> Bytes {
    let params = format!(
        r#"{{"requestId":{},"reason":{}}}"#,
        id.to_raw(),
        json!("nobody waits for the answer any more")
    );
    write_notification(method::NOTIFICATION_CANCELLED, Some(&params)).into()
}

/// The client's answer, while the backend wants it.
pub(super) async fn relay(mut pending: Pending, mut answer: Answerer) -> Asked {
    let said: Option<ClientAnswer> = tokio::select! {
        said = pending.answer() => said,
        () = answer.withdrawn() => None,
        () = tokio::time::sleep(limits::PARKED_ROUND) => {
            answer.answer(Err(refusal(
                BridgeReason::InputTimeout,
                "the client did not answer in time",
            )));
            return Asked { withdrawn: Some(pending.id().clone()) };
        }
    };
    match said {
        Some(said) => {
            answer.answer(said);
            Asked { withdrawn: None }
        }
        None => Asked {
            withdrawn: Some(pending.id().clone()),
        },
    }
}
