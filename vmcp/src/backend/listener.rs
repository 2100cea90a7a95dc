//! Who waits for what comes of a call.
//!
//! Owns the way to it. The first word decides what is needed: most calls say nothing but their
//! answer, which takes no channel at all. Knows nothing of what is said, and bounds no time.

use tokio::sync::{mpsc, oneshot};

use crate::gateway::port::{EVENT_BUFFER, Event, UpstreamError, UpstreamEvent, UpstreamEvents};

/// What the one who waits gets: the events, or the error that came instead of any.
pub type First = Result<UpstreamEvents, UpstreamError>;

/// The end of a call that talks.
#[derive(Debug)]
pub(super) enum Listener {
    /// Nothing was said yet.
    Waits(oneshot::Sender<First>),
    Hears(mpsc::Sender<Event>),
    /// The last word was said.
    Served,
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Listener {
    /// With the end where the first word is waited for.
    pub(super) fn new() -> (Self, oneshot::Receiver<First>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Waits(sender), receiver)
    }

    /// Resolves when nobody listens any more.
    pub(super) async fn gone(&mut self) {
        match self {
            Self::Waits(first) => first.closed().await,
            Self::Hears(events) => events.closed().await,
            Self::Served => std::future::pending().await,
        }
    }

    /// Waits for room where the one who listens is slow.
    pub(super) async fn tell(&mut self, event: Event) -> Result<(), Gone> {
        match self {
            Self::Waits(_) => self.begin(event),
            Self::Hears(events) => events.send(event).await.map_err(|_| Gone),
            Self::Served => Err(Gone),
        }
    }

    /// So much can be said without a wait.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Waits(_) => EVENT_BUFFER,
            Self::Hears(events) => events.capacity(),
            Self::Served => 0,
        }
    }

    fn begin(&mut self, event: Event) -> Result<(), Gone> {
        let Self::Waits(first) = std::mem::replace(self, Self::Served) else {
            return Err(Gone);
        };
        let word = match event {
            Err(error) => Err(error),
            last @ Ok(UpstreamEvent::Response(_)) => Ok(UpstreamEvents::only(last)),
            event => {
                let (events, received) = mpsc::channel(EVENT_BUFFER);
                events.try_send(event).map_err(|_| Gone)?;
                *self = Self::Hears(events);
                Ok(received.into())
            }
        };
        first.send(word).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Ok(UpstreamEvent::Notification(text.into()))
    }

    /// An answer alone is all that there is; the error of a call without one is no event.
    #[tokio::test]
    async fn an_answer_or_an_error_is_the_first_word_and_the_last() {
        let (mut listener, first) = Listener::new();
        let answer = Ok(UpstreamEvent::Response(Ok("{}".into())));
        assert_eq!(listener.tell(answer).await, Ok(()));
        let mut events = first.await.unwrap().unwrap();
        assert!(matches!(
            events.recv().await,
            Some(Ok(UpstreamEvent::Response(Ok(_))))
        ));
        assert!(events.recv().await.is_none());

        let (mut listener, first) = Listener::new();
        assert_eq!(listener.tell(Err(UpstreamError::SessionLost)).await, Ok(()));
        assert!(matches!(first.await, Ok(Err(UpstreamError::SessionLost))));
    }

    /// R4.10: what is said before the answer comes in order, and a listener that leaves is noticed.
    #[tokio::test]
    async fn a_call_that_talks_is_heard_in_order_until_nobody_listens() {
        let (mut listener, first) = Listener::new();
        for text in ["1", "2"] {
            assert_eq!(listener.tell(note(text)).await, Ok(()));
        }
        let mut events = first.await.unwrap().unwrap();
        for text in ["1", "2"] {
            let heard = events.recv().await;
            assert!(matches!(heard, Some(Ok(UpstreamEvent::Notification(raw))) if &*raw == text));
        }

        drop(events);

        listener.gone().await;
        assert_eq!(listener.tell(note("3")).await, Err(Gone));
        let (mut listener, first) = Listener::new();
        drop(first);
        listener.gone().await;
        assert_eq!(listener.tell(note("1")).await, Err(Gone));
    }
}
