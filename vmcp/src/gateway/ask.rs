//! Requests of ours that a client has yet to answer.
//!
//! Owns their ids and who waits for which answer. An id is unique in its session, whatever backends
//! ask; an answer to an id that is not open is late and changes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use vmcp_core::jsonrpc::{self, RequestId, Response, RpcError};

/// The raw `result`, or the client's error.
pub type ClientAnswer = Result<Arc<str>, RpcError>;

/// The open requests of one session.
#[derive(Debug, Default)]
pub struct Asks {
    next: AtomicU64,
    open: Arc<Mutex<HashMap<RequestId, oneshot::Sender<ClientAnswer>>>>,
}

/// One open request; forgotten when dropped.
#[derive(Debug)]
pub struct Pending {
    id: RequestId,
    open: Arc<Mutex<HashMap<RequestId, oneshot::Sender<ClientAnswer>>>>,
    answer: oneshot::Receiver<ClientAnswer>,
}

impl Asks {
    /// The request as it is to be written to the client, and what to wait for.
    #[must_use]
    pub fn ask(&self, method: &str, params: Option<&str>) -> (Bytes, Pending) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        // A string, so that it cannot be mistaken for an id of the client's own.
        let id = RequestId::String(format!("\"vmcp-{number}\"").into());
        let (sender, answer) = oneshot::channel();
        lock(&self.open).insert(id.clone(), sender);
        let message = jsonrpc::write_request(&id, method, params).into();
        let open = Arc::clone(&self.open);
        (message, Pending { id, open, answer })
    }

    /// A name for an elicitation that its backend gave none: unique in this session.
    #[must_use]
    pub fn elicitation_id(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        format!("vmcp-elicitation-{number}")
    }

    /// What a client POSTed as a response. One that nobody waits for is late, and changes nothing.
    pub fn hear(&self, response: &Response<'_>) {
        let known = match response {
            Response::Result { id, result } => self.answered(id, Ok(result.get().into())),
            Response::Error { id, error } => self.answered(id, Err(error.clone())),
        };
        if !known {
            tracing::debug!("a client answered what nobody asks");
        }
    }

    /// An answer of the client's. `false`: nobody waits for it.
    pub fn answered(&self, id: &RequestId, answer: ClientAnswer) -> bool {
        let waiting = lock(&self.open).remove(id);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }
}

impl Pending {
    /// As the client knows the request.
    #[must_use]
    pub const fn id(&self) -> &RequestId {
        &self.id
    }

    /// The client has not answered yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.open).contains_key(&self.id)
    }

    /// The answer; `None` when the session ended. The caller sets the deadline.
    pub async fn answer(&mut self) -> Option<ClientAnswer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_reaches_whoever_asked_and_nobody_else() {
        let asks = Asks::default();
        let (first, mut one) = asks.ask("roots/list", None);
        let (_, mut two) = asks.ask("roots/list", None);
        assert!(str::from_utf8(&first).unwrap().contains(r#""id":"vmcp-1""#));

        assert!(asks.answered(&RequestId::String("\"vmcp-2\"".into()), Ok("{}".into())));
        assert!(!asks.answered(&RequestId::String("\"vmcp-9\"".into()), Ok("{}".into())));

        assert!(two.answer().await.unwrap().is_ok());
        assert!(futures::poll!(Box::pin(one.answer())).is_pending());
    }

    #[test]
    fn a_question_that_nobody_waits_for_is_forgotten() {
        let asks = Asks::default();
        let (_, pending) = asks.ask("roots/list", None);

        drop(pending);

        assert!(!asks.answered(&RequestId::String("\"vmcp-1\"".into()), Ok("{}".into())));
        assert!(lock(&asks.open).is_empty());
    }
}
