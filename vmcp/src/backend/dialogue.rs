//! What is said between the request of a call and its answer.
//!
//! Owns the listening: to the reply, to the stream of the session, to the answers of the client's
//! and to the clock, whichever speaks first. Questions of the backend's go to the client and its
//! answers back beside the call; the clock stands still meanwhile.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::Instant;

use vmcp_core::jsonrpc::{self, Message, RequestId};
use vmcp_core::mcp::{method, progress};

use super::call::{Broken, Call};
use super::desk::Inbox;
use super::link::Link;
use super::message::{self, Answer, Inbound};
use super::passage::Route;
use super::questions::Said;
use super::reply::Reply;
use super::resume::Resuming;
use super::side::{SIDE_MESSAGE_WITHIN, Side};
use super::site::Site;
use super::wire::{WireError, within};
use crate::gateway::port::{EVENT_BUFFER, ServerRequest, UpstreamError, UpstreamEvent};

/// What sending led to.
#[derive(Debug)]
pub(super) enum Sent {
    /// A reply to be read.
    Replied(Box<(Link, Reply)>),
    /// Its stream broke and is being taken up.
    Resuming(Box<Resuming>),
    /// Taken; the answer comes on the stream of the session.
    Taken,
}

#[derive(Debug)]
enum Step {
    Sent(Sent),
    Heard(Inbound),
    /// The stream of the session says no more.
    Silent,
    Said(RequestId, Said),
}

impl Call {
    /// Listens until the answer is there.
    pub(super) async fn converse(
        &mut self,
        mut sending: Pin<&mut impl Future<Output = Result<Sent, WireError>>>,
        mut inbox: Option<Inbox>,
        route: Route<'_>,
    ) -> Result<(Answer, Option<Sent>), Broken> {
        let mut sent = None;
        let mut over = pin!(self.clock.over());
        loop {
            let step = tokio::select! {
                biased;
                () = self.listener.gone() => return Err(Broken::Gone),
                heard = hear(&mut inbox) => heard?.map_or(Step::Silent, Step::Heard),
                done = &mut sending, if sent.is_none() => Step::Sent(done?),
                heard = read(&mut sent, route, &self.slot.site) => Step::Heard(heard?),
                (id, said) = self.questions.next(), if !self.questions.is_empty() => {
                    Step::Said(id, said)
                }
                () = &mut over => return Err(WireError::Timeout(self.allowed).into()),
            };
            match step {
                Step::Sent(how) => {
                    sent = Some(how);
                    continue;
                }
                Step::Heard(Inbound::Response { answer, .. }) => {
                    if sent.is_none() {
                        // The answer overtook the acceptance; breaking that off would look like
                        // a client that went away.
                        let _ = within(Instant::now() + SIDE_MESSAGE_WITHIN, sending).await;
                    }
                    return Ok((answer, sent));
                }
                Step::Heard(Inbound::Notification(text)) => Box::pin(self.pass(text)).await?,
                Step::Heard(Inbound::Request { id, method, params }) => {
                    Box::pin(self.ask(id, &method, params, route)).await?;
                }
                Step::Silent => {
                    if matches!(route, Route::Session(opened) if opened.is_events()) {
                        return Err(WireError::Lost("the event stream ended".to_owned()).into());
                    }
                    inbox = None;
                }
                Step::Said(id, said) => self.pass_back(&id, said),
            }
            // What was said may have stopped the clock, or let it go on.
            over.set(self.clock.over());
        }
    }

    /// To the client; news of a list goes to the registry instead, which tells clients what came of
    /// it (T15).
    async fn pass(&mut self, notification: Arc<str>) -> Result<(), Broken> {
        let parsed = jsonrpc::parse(notification.as_bytes());
        let Ok(Message::Notification(parsed)) = &parsed else {
            return Ok(());
        };
        match parsed.method.as_ref() {
            method::NOTIFICATION_TOOLS_LIST_CHANGED
            | method::NOTIFICATION_PROMPTS_LIST_CHANGED
            | method::NOTIFICATION_RESOURCES_LIST_CHANGED => self.announcements.hear(),
            method::NOTIFICATION_PROGRESS => {
                let room = self.has_room();
                if let Some(told) = self.own_progress(&notification).filter(|_| room) {
                    self.emit(UpstreamEvent::Notification(told)).await?;
                }
            }
            // It is about ids of this backend's, which mean another question to the client, or none.
            method::NOTIFICATION_CANCELLED => self.withdraw(&notification),
            _ if self.has_room() => {
                let event = UpstreamEvent::Notification(Arc::clone(&notification));
                self.emit(event).await?;
            }
            _ => tracing::debug!(backend = %self.slot.id, "dropped while its client is asked"),
        }
        Ok(())
    }

    /// With the client's own token; nothing, where it asked for none.
    fn own_progress(&self, notification: &str) -> Option<Arc<str>> {
        let (ours, theirs) = self.token.as_ref()?;
        if progress::token_of(notification)? != &**ours {
            return None;
        }
        progress::given_back(notification, theirs).map(Into::into)
    }

    /// The backend takes back what it asked.
    fn withdraw(&mut self, notification: &str) {
        if let Some(id) = message::withdrawn(notification) {
            self.questions.withdraw(&id);
            self.resume();
        }
    }

    /// While the client is asked nobody may read. What is said then is worth less than the call,
    /// which must not wait with it, and leaves room for more questions.
    fn has_room(&self) -> bool {
        self.questions.is_empty() || self.listener.room() > EVENT_BUFFER / 2
    }

    /// A question to the client. The place is given back while a person thinks.
    async fn ask(
        &mut self,
        id: RequestId,
        method: &str,
        params: Option<Arc<str>>,
        route: Route<'_>,
    ) -> Result<(), Broken> {
        let Some(side) = route.side(&self.slot.site) else {
            // A modern server has no way to ask, and we none to answer.
            tracing::debug!(backend = %self.slot.id, method, "request of a modern server ignored");
            return Ok(());
        };
        if method == method::PING {
            side.refuse(&id, method);
            return Ok(());
        }
        let Some(answer) = self.questions.open(&id) else {
            side.refuse(&id, method);
            return Ok(());
        };
        self.side = Some(side);
        let event = UpstreamEvent::Request(ServerRequest {
            method: method.into(),
            params,
            answer,
        });
        self.emit(event).await?;
        self.clock.stop();
        self.place = None;
        Ok(())
    }

    fn pass_back(&mut self, id: &RequestId, said: Said) {
        if let Some(side) = &self.side {
            answer(side, id, said);
        }
        self.resume();
    }

    /// The call goes on once nothing is unanswered. Without a place where none is free: it was
    /// admitted already.
    fn resume(&mut self) {
        if self.questions.is_empty() && self.place.is_none() {
            self.clock.go_on();
            self.place = self.slot.places.admit_now(self.principal.as_ref());
        }
    }

    /// Nobody will answer what is still open.
    pub(super) fn give_up_questions(&mut self) {
        for id in self.questions.give_up() {
            if let Some(side) = &self.side {
                answer(side, &id, None);
            }
        }
    }

    pub(super) async fn emit(&mut self, event: UpstreamEvent) -> Result<(), Broken> {
        tokio::select! {
            biased;
            sent = self.listener.tell(Ok(event)) => sent.map_err(|_| Broken::Gone),
            // The client does not read: the call is over, and the backend is not to blame. Never
            // while the clock stands.
            () = self.clock.over() => Err(Broken::Failed(UpstreamError::Timeout(self.allowed))),
        }
    }
}

pub(super) fn answer(side: &Side, id: &RequestId, said: Said) {
    side.answer(match said {
        Some(Ok(result)) => jsonrpc::write_result(id, &result),
        Some(Err(error)) => jsonrpc::write_error(id, &error),
        None => message::reply_to(id, ""),
    });
}

/// The next message of the stream; `None` at its end, never where there is none.
async fn hear(inbox: &mut Option<Inbox>) -> Result<Option<Inbound>, WireError> {
    match inbox {
        Some(inbox) => inbox.recv().await.transpose(),
        None => std::future::pending().await,
    }
}

/// The next message of the reply. What is under way stays in `sent`, so it may be dropped and asked
/// again.
async fn read(
    sent: &mut Option<Sent>,
    route: Route<'_>,
    site: &Arc<Site>,
) -> Result<Inbound, WireError> {
    loop {
        let error = match sent {
            Some(Sent::Replied(replied)) => {
                let (link, reply) = &mut **replied;
                match link.until(reply.next_message()).await {
                    Err(error @ WireError::Cut(_)) => error,
                    heard => return heard,
                }
            }
            Some(Sent::Resuming(resuming)) => {
                let (link, body) = resuming.opened().await?;
                if let Some(Sent::Resuming(resuming)) = sent.take() {
                    *sent = Some(Sent::Replied(Box::new(resuming.go_on(link, body))));
                }
                continue;
            }
            Some(Sent::Taken) | None => std::future::pending().await,
        };
        let Some(Sent::Replied(replied)) = sent.take() else {
            return Err(error);
        };
        let Some(resuming) = Resuming::begin(replied.1, route, site) else {
            return Err(error);
        };
        *sent = Some(Sent::Resuming(Box::new(resuming)));
    }
}
