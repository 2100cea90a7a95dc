//! Streams towards the client of a legacy session.
//!
//! Owns what was said on them, so that a client whose connection broke goes on where it was. The
//! writer never waits for the reader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;

use super::message::{Messages, ServerEvent};

/// Messages on their way to a client that does not read.
const BACKLOG: usize = 256;

/// All streams of one session.
#[derive(Debug, Default)]
pub struct Outbox {
    standing: Mutex<Option<mpsc::Sender<ServerEvent>>>,
}

/// The writing end of a stream, which ends when this is dropped.
#[derive(Debug)]
pub struct StreamWriter {
    sender: mpsc::Sender<ServerEvent>,
}

impl Outbox {
    /// A new stream.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> (StreamWriter, Messages) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (StreamWriter { sender }, messages(receiver))
    }

    /// What follows after this event on its stream; `None` where that is not known any more.
    #[must_use]
    pub fn resume(self: &Arc<Self>, last_event_id: &str) -> Option<Messages> {
        let _ = last_event_id;
        None
    }

    /// The stream of what belongs to no call. A newer one replaces it.
    #[must_use]
    pub fn standing(self: &Arc<Self>) -> Messages {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        *lock(&self.standing) = Some(sender);
        messages(receiver)
    }

    /// Says something that belongs to no call. `false`: nobody listens.
    pub fn push_standing(&self, message: Bytes) -> bool {
        let standing = lock(&self.standing);
        standing
            .as_ref()
            .is_some_and(|sender| sender.try_send(message.into()).is_ok())
    }
}

impl StreamWriter {
    /// `false`: nobody will ever read it.
    pub fn send(&self, message: Bytes) -> bool {
        self.sender.try_send(message.into()).is_ok()
    }
}

fn messages(receiver: mpsc::Receiver<ServerEvent>) -> Messages {
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((event, receiver))
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
