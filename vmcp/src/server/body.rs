//! Bodies in both directions.
//!
//! Owns the limit on what a client may send and the framing of what it gets: one JSON text, or
//! server-sent events with comments in between so that no proxy takes silence for death.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use vmcp_core::limits;

use super::owed::Owed;
use super::phase_io::ServingGuard;
use super::relayed::Relayed;
use crate::gateway::message::{EventKind, Messages, ServerEvent};
use crate::peer::PeerBody;

/// Why a request body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// How often a body is looked at before its clock is set. Most have come together with their head,
/// and are only handed over by another half of the same connection.
const LOOKS: usize = 2;

/// Reads a whole request body within its limits.
pub(super) async fn read(body: Incoming) -> Result<Bytes, BodyError> {
    let mut collected = pin!(collect(body));
    for _ in 0..LOOKS {
        if let Poll::Ready(collected) = futures::poll!(collected.as_mut()) {
            return collected;
        }
        turn().await;
    }
    tokio::time::timeout(limits::REQUEST_UPLOAD, collected)
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

/// Lets the rest of the connection do its part.
async fn turn() {
    let mut turned = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut turned, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A body over the limit is still taken from the wire, up to twice the limit: a client that is
/// refused while it writes sees a broken connection instead of the reason.
async fn collect(mut body: Incoming) -> Result<Bytes, BodyError> {
    const PATIENCE: usize = 2 * limits::REQUEST_BODY;
    if body.size_hint().lower() > u64::try_from(PATIENCE).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > PATIENCE {
            return Err(BodyError::TooLarge);
        }
        if length > limits::REQUEST_BODY {
            continue;
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    match length {
        0..=limits::REQUEST_BODY if rest.is_empty() => Ok(first),
        0..=limits::REQUEST_BODY => Ok(rest.freeze()),
        _ => Err(BodyError::TooLarge),
    }
}

enum Kind {
    Whole(Option<Bytes>),
    Events {
        messages: Option<Messages>,
        comment: Pin<Box<Sleep>>,
    },
    /// Another replica's.
    Relayed(Box<Relayed>),
}

/// The body of every answer. Holds the request's place until the last byte is handed over.
pub(super) struct Reply {
    kind: Kind,
    _serving: ServingGuard,
}

impl Reply {
    pub(super) fn whole(bytes: Bytes, serving: ServingGuard) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            kind: Kind::Whole(bytes),
            _serving: serving,
        }
    }

    /// Another replica's answer as it comes. With `mend`, a stream of events that breaks off ends
    /// with what is owed.
    pub(super) fn relayed(body: PeerBody, mend: Option<Owed>, serving: ServingGuard) -> Self {
        Self {
            kind: Kind::Relayed(Box::new(Relayed::new(body, mend))),
            _serving: serving,
        }
    }

    pub(super) fn events(messages: Messages, serving: ServingGuard) -> Self {
        // At once, so that the client sees the head of a stream that has nothing to say yet.
        let comment = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self {
            kind: Kind::Events {
                messages: Some(messages),
                comment,
            },
            _serving: serving,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.kind {
            Kind::Relayed(relayed) => relayed.poll(cx),
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Events { messages, comment } => {
                let Some(stream) = messages else {
                    return Poll::Ready(None);
                };
                match stream.as_mut().poll_next(cx) {
                    Poll::Ready(Some(message)) => {
                        comment.as_mut().reset(Instant::now() + limits::SSE_COMMENT);
                        Poll::Ready(Some(Ok(Frame::data(frame(&message)))))
                    }
                    Poll::Ready(None) => {
                        *messages = None;
                        Poll::Ready(None)
                    }
                    Poll::Pending => {
                        if comment.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                        comment.as_mut().reset(Instant::now() + limits::SSE_COMMENT);
                        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(None) | Kind::Events { messages: None, .. } => true,
            Kind::Relayed(relayed) => relayed.is_ended(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Kind::Events { .. } => SizeHint::default(),
            Kind::Relayed(relayed) => relayed.size_hint(),
        }
    }
}

/// One event. JSON may be written over several lines; each becomes a `data` line of its own. An
/// event without data only gives the client an id to come back with, and says when.
pub(super) fn frame(event: &ServerEvent) -> Bytes {
    let message = &event.data;
    let mut out = BytesMut::with_capacity(message.len() + 64);
    if let Some(id) = &event.id {
        out.put_slice(b"id: ");
        out.put_slice(id.as_bytes());
        out.put_u8(b'\n');
    }
    if message.is_empty() {
        let retry = format!("retry: {}\ndata: \n\n", limits::REPLAY_RETRY.as_millis());
        out.put_slice(retry.as_bytes());
        return out.freeze();
    }
    out.put_slice(match event.kind {
        EventKind::Message => b"event: message\n",
        EventKind::Endpoint => b"event: endpoint\n",
    });
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if line.is_empty() {
            continue;
        }
        out.put_slice(b"data: ");
        out.put_slice(line);
        out.put_u8(b'\n');
    }
    out.put_u8(b'\n');
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::phase_io::Serving;
    use super::*;

    fn text(frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> String {
        let data = frame.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_kept_alive_by_comments() {
        let messages: Messages = Box::pin(futures::stream::pending());
        let mut reply = Reply::events(messages, Serving::default().begin());

        let started = Instant::now();
        assert_eq!(text(reply.frame().await), ":\n\n");
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(text(reply.frame().await), ":\n\n");
        assert_eq!(started.elapsed(), limits::SSE_COMMENT);
    }

    #[tokio::test]
    async fn a_message_of_several_lines_is_one_event() {
        let message = ServerEvent {
            kind: EventKind::Message,
            id: Some("1-7".into()),
            data: Bytes::from_static(b"{\"a\":\n1}"),
        };
        let messages: Messages = Box::pin(futures::stream::iter([message]));
        let mut reply = Reply::events(messages, Serving::default().begin());

        assert_eq!(
            text(reply.frame().await),
            "id: 1-7\nevent: message\ndata: {\"a\":\ndata: 1}\n\n"
        );
        assert!(reply.frame().await.is_none());
        assert!(reply.is_end_stream());
    }

    /// SEP-1699: an id to come back with, and when.
    #[tokio::test]
    async fn an_event_without_data_primes_the_client() {
        let message = ServerEvent {
            kind: EventKind::Message,
            id: Some("1-7".into()),
            data: Bytes::new(),
        };
        let messages: Messages = Box::pin(futures::stream::iter([message]));
        let mut reply = Reply::events(messages, Serving::default().begin());

        assert_eq!(
            text(reply.frame().await),
            "id: 1-7\nretry: 1000\ndata: \n\n"
        );
    }
}
