//! What a backend asked during a call and was not answered yet, and the clock of the call.
//!
//! Owns the waiting for answers of the client's. The clock stands still meanwhile: a person may
//! take longer than any call. Never sends anything.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::time::Instant;

use vmcp_core::jsonrpc::{RequestId, RpcError};
use vmcp_core::limits::QUESTIONS;

use crate::alarm::Deadline;
use crate::gateway::port::Answerer;

/// The client's result, or error; `None` where nobody answers.
pub(super) type Said = Option<Result<Arc<str>, RpcError>>;

/// Requests of a backend's that wait for the client.
#[derive(Debug, Default)]
pub(super) struct Questions(Vec<(RequestId, Coming)>);

type Coming = oneshot::Receiver<Result<Arc<str>, RpcError>>;

impl Questions {
    /// A place for one more; `None` where there are too many, or one of this id.
    pub(super) fn open(&mut self, id: &RequestId) -> Option<Answerer> {
        if self.0.len() >= QUESTIONS || self.0.iter().any(|(open, _)| open == id) {
            return None;
        }
        let (answerer, answer) = Answerer::new();
        self.0.push((id.clone(), answer));
        Some(answerer)
    }

    /// The backend takes a question back.
    pub(super) fn withdraw(&mut self, id: &RequestId) -> bool {
        let before = self.0.len();
        self.0.retain(|(open, _)| open != id);
        self.0.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next answer; never, where nothing was asked. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> (RequestId, Said) {
        poll_fn(|cx| {
            for at in 0..self.0.len() {
                if let Poll::Ready(said) = Future::poll(std::pin::Pin::new(&mut self.0[at].1), cx) {
                    let (id, _) = self.0.swap_remove(at);
                    return Poll::Ready((id, said.ok()));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// All that will not be answered any more.
    pub(super) fn give_up(&mut self) -> Vec<RequestId> {
        self.0.drain(..).map(|(id, _)| id).collect()
    }
}

/// The time that a call has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    deadline: Instant,
    /// Since when it stands.
    still: Option<Instant>,
}

impl Clock {
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            still: None,
        }
    }

    /// The end as of now.
    pub(super) fn deadline(&self) -> Instant {
        match self.still {
            Some(since) => self.deadline + since.elapsed(),
            None => self.deadline,
        }
    }

    pub(super) fn stop(&mut self) {
        self.still.get_or_insert_with(Instant::now);
    }

    pub(super) fn go_on(&mut self) {
        if let Some(since) = self.still.take() {
            self.deadline += since.elapsed();
        }
    }

    /// Resolves when the time is over; never while the clock stands.
    pub(super) async fn over(self) {
        match self.still {
            None => Deadline::at(self.deadline).await,
            Some(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// The clock of a call stands still while a person thinks.
    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_while_the_client_is_asked() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut clock = Clock::new(start + 2 * second);

        advance(second).await;
        clock.stop();
        clock.stop();
        advance(600 * second).await;
        assert_eq!(clock.deadline(), start + 602 * second);
        clock.go_on();
        clock.go_on();

        assert_eq!(clock.deadline(), start + 602 * second);
        clock.over().await;
        assert_eq!(Instant::now(), start + 602 * second);
    }

    /// Each question is answered once; a dropped answerer is an answer too.
    #[tokio::test]
    async fn questions_are_answered_in_any_order() {
        let id = |number: usize| RequestId::Number(number.to_string().into());
        let mut questions = Questions::default();
        let first = questions.open(&id(1)).unwrap();
        let second = questions.open(&id(2)).unwrap();
        let mut third = questions.open(&id(3)).unwrap();
        assert!(questions.open(&id(2)).is_none());

        second.answer(Ok("{}".into()));
        assert_eq!(questions.next().await, (id(2), Some(Ok("{}".into()))));
        drop(first);
        assert_eq!(questions.next().await, (id(1), None));

        assert!(questions.withdraw(&id(3)));
        third.withdrawn().await;
        assert!(questions.is_empty());
    }

    /// A backend that asks without end is bounded.
    #[test]
    fn too_many_questions_are_refused() {
        let mut questions = Questions::default();
        let open: Vec<_> = (0..100)
            .filter_map(|n: usize| questions.open(&RequestId::Number(n.to_string().into())))
            .collect();
        assert_eq!(open.len(), QUESTIONS);
        assert_eq!(questions.give_up().len(), QUESTIONS);
    }
}
