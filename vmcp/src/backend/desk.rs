//! Who gets what a backend says on the stream of a session.
//!
//! Owns the way of each message to the call that it belongs to: an answer by its id, progress by
//! its token, anything else to the newest call, for a backend seldom says which one it means. What
//! belongs to no call goes to the standing listener, and what belongs to nobody is dropped; a
//! request is handed back then, so that it is refused. Never waits: a full inbox loses a
//! notification, never an answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use vmcp_core::jsonrpc::RequestId;
use vmcp_core::mcp::progress;

use super::message::Inbound;
use super::wire::WireError;
use crate::gateway::port::EVENT_BUFFER;

/// Calls under way in one session; a client asks few at once, and the list must be bounded.
const MAX_CALLS: usize = 100;

/// What is said to one call, or to the standing listener.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Heard>);
type Outbox = mpsc::Sender<Heard>;

/// Boxed: an inbox has room for many, and most calls hear none.
type Heard = Box<Result<Inbound, WireError>>;

impl Inbox {
    /// The next message; `None` after the last. May be dropped and asked again.
    pub async fn recv(&mut self) -> Option<Result<Inbound, WireError>> {
        self.0.recv().await.map(|heard| *heard)
    }

    #[cfg(test)]
    fn try_recv(&mut self) -> Result<Result<Inbound, WireError>, mpsc::error::TryRecvError> {
        self.0.try_recv().map(|heard| *heard)
    }
}

/// What a call wants to hear but for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    Everything,
    /// No client stands behind it.
    AnswerAlone,
}

/// The switchboard of one session.
#[derive(Debug, Default)]
pub struct Desk(Mutex<Parties>);

#[derive(Debug, Default)]
struct Parties {
    /// Oldest first.
    calls: Vec<Party>,
    standing: Option<Outbox>,
    /// The stream that answers come on is over.
    lost: bool,
    spoke_to_nobody: bool,
}

#[derive(Debug)]
struct Party {
    id: RequestId,
    hears: Hears,
    outbox: Outbox,
}

impl Desk {
    /// A call begins. Whoever joins leaves again.
    ///
    /// # Errors
    /// `Unsent`: the stream is over, or too many are under way.
    pub fn join(&self, id: &RequestId, hears: Hears) -> Result<Inbox, WireError> {
        let mut parties = self.lock();
        if parties.lost || parties.calls.len() >= MAX_CALLS {
            return Err(WireError::Unsent);
        }
        // One place more than notifications may take: the response always fits.
        let (outbox, inbox) = mpsc::channel(EVENT_BUFFER + 1);
        parties.calls.push(Party {
            id: id.clone(),
            hears,
            outbox,
        });
        Ok(Inbox(inbox))
    }

    /// Nobody waits for this answer any more.
    pub fn leave(&self, id: &RequestId) {
        self.lock().calls.retain(|party| party.id != *id);
    }

    /// Listens to what belongs to no call, in place of whoever did.
    ///
    /// # Errors
    /// `Unsent`: the stream is over.
    pub fn stand(&self) -> Result<Inbox, WireError> {
        let mut parties = self.lock();
        if parties.lost {
            return Err(WireError::Unsent);
        }
        let (outbox, inbox) = mpsc::channel(EVENT_BUFFER + 1);
        parties.standing = Some(outbox);
        Ok(Inbox(inbox))
    }

    /// Hands on one message. A request that nobody takes comes back.
    #[must_use]
    pub fn hear(&self, message: Inbound) -> Option<(RequestId, Box<str>)> {
        let mut parties = self.lock();
        match message {
            Inbound::Response { .. } => {
                parties.answered(message);
                None
            }
            Inbound::Notification(ref text) => {
                let token = progress::token_of(text);
                if token.is_none() && parties.newest().is_none() {
                    parties.spoke_to_nobody = true;
                }
                let outbox = match token {
                    Some(token) => parties.by_token(token),
                    None => parties.newest(),
                };
                if let Some(outbox) = outbox
                    && outbox.capacity() > 1
                {
                    let _ = outbox.try_send(Box::new(Ok(message)));
                }
                None
            }
            Inbound::Request {
                ref id, ref method, ..
            } => {
                let unheard = (id.clone(), method.clone());
                match parties.newest() {
                    Some(outbox) if outbox.capacity() > 1 => outbox
                        .try_send(Box::new(Ok(message)))
                        .err()
                        .map(|_| unheard),
                    Some(_full) => Some(unheard),
                    None => {
                        parties.spoke_to_nobody = true;
                        Some(unheard)
                    }
                }
            }
        }
    }

    /// Hands a notification to a call alone; `false` where there is none that can take it.
    #[must_use]
    pub fn tell_a_call(&self, notification: Inbound) -> bool {
        let parties = self.lock();
        match parties.newest_call() {
            Some(outbox) if outbox.capacity() > 1 => {
                outbox.try_send(Box::new(Ok(notification))).is_ok()
            }
            _ => false,
        }
    }

    /// The stream that answers come on is over: whoever waits hears why.
    pub fn fail(&self, why: &WireError) {
        let mut parties = self.lock();
        parties.lost = true;
        for party in parties.calls.drain(..) {
            let _ = party.outbox.try_send(Box::new(Err(why.clone())));
        }
        if let Some(standing) = parties.standing.take() {
            let _ = standing.try_send(Box::new(Err(why.clone())));
        }
    }

    /// The standing listener hears that there is nothing more to hear; calls go on.
    pub fn fall_silent(&self, why: &WireError) {
        if let Some(standing) = self.lock().standing.take() {
            let _ = standing.try_send(Box::new(Err(why.clone())));
        }
    }

    /// Something was said while no call was under way and nobody listened.
    #[must_use]
    pub fn spoke_to_nobody(&self) -> bool {
        self.lock().spoke_to_nobody
    }

    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lock().lost
    }

    /// A poisoned lock only means that another thread panicked between two plain operations.
    fn lock(&self) -> MutexGuard<'_, Parties> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parties {
    fn answered(&mut self, message: Inbound) {
        let Inbound::Response { id, answer } = &message else {
            return;
        };
        // An error without id can only mean the one question that is open.
        let nameless = answer.is_err() && *id == RequestId::Null && self.calls.len() == 1;
        let at = self
            .calls
            .iter()
            .position(|party| nameless || party.id == *id);
        if let Some(at) = at {
            let party = self.calls.remove(at);
            let _ = party.outbox.try_send(Box::new(Ok(message)));
        }
    }

    /// Our tokens are the ids of our requests.
    fn by_token(&self, token: &str) -> Option<&Outbox> {
        self.calls
            .iter()
            .find(|party| party.id.to_raw() == token && party.hears == Hears::Everything)
            .map(|party| &party.outbox)
    }

    fn newest(&self) -> Option<&Outbox> {
        self.newest_call().or(self.standing.as_ref())
    }

    fn newest_call(&self) -> Option<&Outbox> {
        self.calls
            .iter()
            .rev()
            .find(|party| party.hears == Hears::Everything)
            .map(|party| &party.outbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: &str) -> RequestId {
        RequestId::Number(number.into())
    }

    fn note(text: &str) -> Inbound {
        Inbound::Notification(text.into())
    }

    fn request(number: &str) -> Inbound {
        Inbound::Request {
            id: id(number),
            method: "roots/list".into(),
            params: None,
        }
    }

    /// Progress by its token, a question to the newest call, the rest to whoever stands by.
    #[test]
    fn each_message_finds_its_call() {
        let desk = Desk::default();
        let mut first = desk.join(&id("1"), Hears::Everything).unwrap();
        let mut second = desk.join(&id("2"), Hears::Everything).unwrap();
        let mut checks = desk.join(&id("3"), Hears::AnswerAlone).unwrap();
        let mut standing = desk.stand().unwrap();

        let progress = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
        assert_eq!(desk.hear(note(progress)), None);
        assert_eq!(desk.hear(request("9")), None);
        assert!(matches!(first.try_recv(), Ok(Ok(Inbound::Notification(_)))));
        assert!(matches!(second.try_recv(), Ok(Ok(Inbound::Request { .. }))));

        desk.leave(&id("2"));
        desk.leave(&id("1"));
        assert_eq!(desk.hear(note(progress)), None);
        assert!(
            standing.try_recv().is_err(),
            "progress of a call that is over"
        );
        assert_eq!(desk.hear(request("9")), None);
        assert!(matches!(
            standing.try_recv(),
            Ok(Ok(Inbound::Request { .. }))
        ));
        assert!(checks.try_recv().is_err());

        drop(standing);
        assert_eq!(
            desk.hear(request("9")),
            Some((id("9"), "roots/list".into()))
        );
    }

    /// What is said while nobody has the session is remembered; a late word to a call is not.
    #[test]
    fn words_to_nobody_are_noticed() {
        let desk = Desk::default();
        let progress = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
        assert_eq!(desk.hear(note(progress)), None);
        let mut call = desk.join(&id("1"), Hears::Everything).unwrap();
        assert_eq!(desk.hear(note("{}")), None);
        assert!(call.try_recv().is_ok());
        desk.leave(&id("1"));
        assert!(!desk.spoke_to_nobody());

        assert_eq!(desk.hear(note("{}")), None);
        assert!(desk.spoke_to_nobody());

        let desk = Desk::default();
        assert!(desk.hear(request("9")).is_some());
        assert!(desk.spoke_to_nobody());
    }

    /// However much is said on the way, the answer has its place.
    #[test]
    fn an_answer_always_fits() {
        let desk = Desk::default();
        let mut inbox = desk.join(&id("1"), Hears::Everything).unwrap();
        for _ in 0..100 {
            assert_eq!(desk.hear(note("{}")), None);
        }
        assert!(desk.hear(request("9")).is_some());
        let answer = Inbound::Response {
            id: id("1"),
            answer: Ok("{}".into()),
        };

        assert_eq!(desk.hear(answer), None);

        let heard: Vec<_> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
        assert_eq!(heard.len(), EVENT_BUFFER + 1);
        assert!(matches!(heard.last(), Some(Ok(Inbound::Response { .. }))));
    }

    /// T11: a stream that ends fails every question on it, and takes no new one.
    #[test]
    fn a_lost_stream_fails_every_question() {
        let desk = Desk::default();
        let mut first = desk.join(&id("1"), Hears::Everything).unwrap();
        let mut second = desk.join(&id("2"), Hears::AnswerAlone).unwrap();

        desk.fail(&WireError::Lost("the stream ended".to_owned()));

        assert!(matches!(first.try_recv(), Ok(Err(WireError::Lost(_)))));
        assert!(matches!(second.try_recv(), Ok(Err(WireError::Lost(_)))));
        assert!(desk.join(&id("3"), Hears::Everything).is_err());
    }
}
