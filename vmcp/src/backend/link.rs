//! One connection, or a place on one.
//!
//! Owns a stream, what drives it (a task of its own, or whoever waits), and the one request that may
//! be on it; where both sides speak HTTP/2, one of many places on a connection ([`super::many`]).
//! Closing is dropping: no link outlives its owner. Knows nothing of MCP, pools or deadlines of calls.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::Either;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use vmcp_core::limits::{HEADER_BYTES, HEADER_COUNT};

use super::attended::Attended;
use super::many::{Many, Place};
use super::reach::{To, reach};
use super::stream::Stream;
use super::timings::Timings;
use super::tls::Trust;
use super::wire::{WireError, within};
use crate::pods::{Http, Pin};
use crate::snapshot::Endpoint;

/// The body of every request: complete in memory, so that a repeat is possible.
pub type Outgoing = Request<Full<Bytes>>;

/// Takes one request at a time.
#[derive(Debug)]
pub struct Link {
    how: How,
    /// Where it leads.
    pub pin: Pin,
}

#[derive(Debug)]
enum How {
    One(One),
    Many(Place),
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
struct One {
    sender: Sender,
    driven: Driven,
    _counted_in: Option<Counted>,
}

/// What makes a connection go on.
#[derive(Debug)]
enum Driven {
    Task(Driver),
    Waiter(Attended),
}

/// One in a count of open connections, for as long as it lives.
#[derive(Debug)]
pub struct Counted(Arc<AtomicU64>);

impl Counted {
    #[must_use]
    pub fn among(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of a request that got no response head.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It provably never left, or the server says that it never processed it (T19).
    #[error("connection closed before the request was sent")]
    Unsent,
    /// It left, or may have.
    #[error("connection lost: {0}")]
    Lost(String),
    /// What came back is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    #[error("the answer's head exceeds {HEADER_BYTES} bytes")]
    HeadTooLarge,
}

/// Ends the connection's task with its owner.
#[derive(Debug)]
pub(super) struct Driver(pub(super) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects anew to a backend and starts HTTP on it.
    ///
    /// # Errors
    /// `Connect`, or `Unsent`.
    pub async fn dial(
        endpoint: &Endpoint,
        tls: &Trust,
        deadline: Instant,
    ) -> Result<(Self, Timings), WireError> {
        Self::dial_to(endpoint, tls, To::Any, None, deadline).await
    }

    /// As [`Self::dial`], to where a session begins or lives.
    ///
    /// One that is counted is of calls, and has no task over HTTP/1.1: it goes on only while somebody
    /// sends on it or waits by [`Self::until`]. Bodies that it brings are read in there.
    ///
    /// # Errors
    /// As [`Self::dial`]; `Gone` where the pod of a session is not there any more.
    pub async fn dial_to(
        endpoint: &Endpoint,
        tls: &Trust,
        to: To,
        counted_in: Option<Counted>,
        deadline: Instant,
    ) -> Result<(Self, Timings), WireError> {
        let (connected, pin) = reach(endpoint, tls, to, deadline).await?;
        let timings = connected.timings;
        let http = match connected.stream {
            Stream::Plain(_) => endpoint.pods.http(),
            Stream::Tls(_) => connected.http,
        };
        let how = match http {
            Http::One => How::One(One::open(connected.stream, counted_in).await?),
            Http::Two => {
                let opening = Many::open(connected.stream, connected.peer, counted_in);
                How::Many(within(deadline, opening).await??.place())
            }
        };
        Ok((Self { how, pin }, timings))
    }

    /// A place on a connection that others use, too.
    #[must_use]
    pub fn on(many: &Many, pin: Pin) -> Self {
        Self {
            how: How::Many(many.place()),
            pin,
        }
    }

    /// The connection, where others may use it at the same time.
    #[must_use]
    pub fn shared(&self) -> Option<&Many> {
        match &self.how {
            How::One(_) => None,
            How::Many(place) => Some(place.connection()),
        }
    }

    /// Sends one request and waits for the response head. The caller brings the deadline.
    ///
    /// # Errors
    /// See [`LinkError`]; only `Unsent` permits a repeat of what must not run twice.
    pub fn send(
        &mut self,
        request: Outgoing,
    ) -> impl Future<Output = Result<Response<Incoming>, LinkError>> {
        match &mut self.how {
            How::One(one) => Either::Left(one.send(request)),
            How::Many(place) => Either::Right(place.send(request).boxed()),
        }
    }

    /// Waits for what this connection brings, a body of it or a part of one, and drives it meanwhile
    /// where nothing else does.
    pub fn until<F: Future>(&mut self, wait: F) -> impl Future<Output = F::Output> {
        match &mut self.how {
            How::One(One {
                driven: Driven::Waiter(attended),
                ..
            }) => Either::Left(attended.until(wait)),
            How::One(_) | How::Many(_) => Either::Right(wait),
        }
    }

    /// Can it take another request before `deadline`? Only after the last body was read to its end.
    pub async fn reusable(&mut self, deadline: Instant) -> bool {
        match &mut self.how {
            How::One(one) => matches!(timeout_at(deadline, one.ready()).await, Ok(Ok(()))),
            How::Many(place) => place.connection().is_open(),
        }
    }

    /// The peer has not closed it as far as we know. It may still have to come to rest after its
    /// last answer; `send` waits for that.
    #[must_use]
    pub fn is_open(&mut self) -> bool {
        match &mut self.how {
            How::One(one) => one.is_open(),
            How::Many(place) => place.connection().is_open(),
        }
    }
}

impl One {
    /// Starts HTTP/1.1 on an open stream. Sends nothing yet.
    async fn open(stream: Stream, counted_in: Option<Counted>) -> Result<Self, LinkError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(HEADER_COUNT)
            .max_header_size(HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| LinkError::Unsent)?;
        let driven = if counted_in.is_some() {
            Driven::Waiter(Attended::new(connection))
        } else {
            Driven::Task(Driver(tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::trace!(%error, "backend connection ended");
                }
            })))
        };
        Ok(Self {
            sender,
            driven,
            _counted_in: counted_in,
        })
    }

    async fn ready(&mut self) -> Result<(), hyper::Error> {
        match &mut self.driven {
            Driven::Task(_) => self.sender.ready().await,
            Driven::Waiter(attended) => attended.until(self.sender.ready()).await,
        }
    }

    fn is_open(&mut self) -> bool {
        match &mut self.driven {
            Driven::Task(_) => !self.sender.is_closed(),
            Driven::Waiter(attended) => attended.look() && !self.sender.is_closed(),
        }
    }

    /// The usual case, a connection that was taken from the pool, has a small future.
    fn send(
        &mut self,
        request: Outgoing,
    ) -> impl Future<Output = Result<Response<Incoming>, LinkError>> {
        let Self { sender, driven, .. } = self;
        match (driven, sender.is_ready()) {
            (Driven::Task(task), _) => Either::Right(send_beside(sender, task, request).boxed()),
            (Driven::Waiter(attended), false) => {
                Either::Right(send_when_ready(sender, attended, request).boxed())
            }
            (Driven::Waiter(attended), true) => {
                let sending = sender.try_send_request(request);
                Either::Left(attended.until(sending).map(concluded))
            }
        }
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

async fn send_when_ready(
    sender: &mut Sender,
    attended: &mut Attended,
    request: Outgoing,
) -> Result<Response<Incoming>, LinkError> {
    if attended.until(sender.ready()).await.is_err() {
        return Err(LinkError::Unsent);
    }
    concluded(attended.until(sender.try_send_request(request)).await)
}

async fn send_beside(
    sender: &mut Sender,
    task: &mut Driver,
    request: Outgoing,
) -> Result<Response<Incoming>, LinkError> {
    if sender.ready().await.is_err() {
        return Err(LinkError::Unsent);
    }
    let mut sending = pin!(sender.try_send_request(request));
    let sent = tokio::select! {
        biased;
        sent = &mut sending => sent,
        // A request that was queued while the connection's task ended lies in the queue for ever
        // (nobody reads it, nobody drops it). Whatever that task took, it has resolved.
        _ended = &mut task.0 => match futures::poll!(sending) {
            Poll::Ready(sent) => sent,
            Poll::Pending => return Err(LinkError::Unsent),
        },
    };
    concluded(sent)
}

fn concluded(
    sent: Result<Response<Incoming>, TrySendError<Outgoing>>,
) -> Result<Response<Incoming>, LinkError> {
    sent.map_err(|mut error| match error.take_message() {
        Some(_unsent) => LinkError::Unsent,
        None => classify(&error.into_error()),
    })
}

fn classify(error: &hyper::Error) -> LinkError {
    if error.is_parse_too_large() {
        LinkError::HeadTooLarge
    } else if error.is_parse() {
        LinkError::NotHttp(error.to_string())
    } else {
        LinkError::Lost(describe(error))
    }
}

/// hyper's text and its cause; the cause is what a person needs ("connection reset by peer").
#[must_use]
pub fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
