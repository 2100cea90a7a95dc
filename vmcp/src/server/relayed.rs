//! A body that comes from another replica.
//!
//! Owns what a client sees when that replica dies in the middle: a stream of events that was to
//! bring answers ends with an error for each that is missing, after the last whole event. For that,
//! half an event is held back until its end is there. Everything else passes as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, SizeHint};

use vmcp_core::limits;

use super::owed::Owed;
use crate::peer::PeerBody;

/// The end of an event.
const BLANK_LINE: &[u8] = b"\n\n";

#[derive(Debug)]
pub(super) struct Relayed {
    /// `None` after a break that was mended.
    body: Option<PeerBody>,
    /// What a stream which broke off ends with.
    mend: Option<Owed>,
    /// Half an event.
    held: BytesMut,
}

impl Relayed {
    pub(super) fn new(body: PeerBody, mend: Option<Owed>) -> Self {
        Self {
            body: Some(body),
            mend,
            held: BytesMut::new(),
        }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let frame = match ready!(Pin::new(body).poll_frame(cx)) {
                None => return Poll::Ready(self.rest().map(Ok)),
                Some(Err(error)) => return Poll::Ready(self.broken(error)),
                Some(Ok(frame)) => frame,
            };
            if self.mend.is_none() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if let Some(whole) = self.whole(data) {
                if let Some(owed) = &mut self.mend {
                    owed.pass(&whole);
                }
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        let ended = self.body.as_ref().is_none_or(PeerBody::is_end_stream);
        ended && self.held.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match (&self.body, &self.mend) {
            (Some(body), None) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }

    /// What ends with a whole event; the rest is held back.
    fn whole(&mut self, data: Bytes) -> Option<Bytes> {
        if self.held.is_empty() && data.ends_with(BLANK_LINE) {
            return Some(data);
        }
        self.held.extend_from_slice(&data);
        let mut windows = self.held.windows(BLANK_LINE.len());
        if let Some(at) = windows.rposition(|window| window == BLANK_LINE) {
            return Some(self.held.split_to(at + BLANK_LINE.len()).freeze());
        }
        if self.held.len() > limits::SSE_EVENT {
            // Too long to be held: it passes, and can no longer be mended.
            self.mend = None;
            return Some(self.held.split().freeze());
        }
        None
    }

    fn rest(&mut self) -> Option<Frame<Bytes>> {
        self.body = None;
        let rest = self.held.split().freeze();
        (!rest.is_empty()).then(|| Frame::data(rest))
    }

    fn broken(&mut self, error: hyper::Error) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        self.body = None;
        self.held.clear();
        let Some(owed) = self.mend.take() else {
            return Some(Err(error));
        };
        let events = owed.events();
        (!events.is_empty()).then(|| Ok(Frame::data(events)))
    }
}
