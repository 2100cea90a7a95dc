//! One HTTP/1.1 connection.
//!
//! Owns a stream, the task that drives it, and the one request that may be on it. Closing is
//! dropping: no link outlives its owner. Knows nothing of MCP, pools or deadlines of calls.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use vmcp_core::limits::{HEADER_BYTES, HEADER_COUNT};

use super::connect::{Connected, connect};
use super::timings::Timings;
use super::tls::Trust;
use super::wire::WireError;
use crate::snapshot::Endpoint;

/// The body of every request: complete in memory, so that a repeat is possible.
pub type Outgoing = Request<Full<Bytes>>;

/// An open connection that takes one request at a time.
#[derive(Debug)]
pub struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    counted_in: Option<Counted>,
}

/// One in a count of open links, for as long as it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of a request that got no response head.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It provably never left: the library handed it back (T19).
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
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Starts HTTP/1.1 on an open stream. Sends nothing yet.
    ///
    /// # Errors
    /// `Unsent`: hyper could not take the stream.
    pub async fn open(connected: Connected) -> Result<Self, LinkError> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(HEADER_COUNT)
            .max_header_size(HEADER_BYTES)
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|_| LinkError::Unsent)?;
        let driver = Driver(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "backend connection ended");
            }
        }));
        Ok(Self {
            sender,
            driver,
            counted_in: None,
        })
    }

    /// Connects anew to a backend and starts HTTP on it.
    ///
    /// # Errors
    /// `Connect`, or `Unsent`.
    pub async fn dial(
        endpoint: &Endpoint,
        tls: &Trust,
        deadline: Instant,
    ) -> Result<(Self, Timings), WireError> {
        let limit = deadline.min(Instant::now() + endpoint.connect_timeout);
        let connected = connect(&endpoint.url, tls, limit).await?;
        let timings = connected.timings;
        Ok((Self::open(connected).await?, timings))
    }

    /// Counts it in `count` until it is closed.
    #[must_use]
    pub fn counted(mut self, count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        self.counted_in = Some(Counted(Arc::clone(count)));
        self
    }

    /// Sends one request and waits for the response head. The caller brings the deadline.
    ///
    /// # Errors
    /// See [`LinkError`]; only `Unsent` permits a repeat of what must not run twice.
    pub async fn send(&mut self, request: Outgoing) -> Result<Response<Incoming>, LinkError> {
        if self.sender.ready().await.is_err() {
            return Err(LinkError::Unsent);
        }
        let mut sending = pin!(self.sender.try_send_request(request));
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            // A request that was queued while the connection's task ended lies in the queue for
            // ever (nobody reads it, nobody drops it). Whatever that task took, it has resolved.
            _ended = &mut self.driver.0 => match futures::poll!(sending) {
                Poll::Ready(sent) => sent,
                Poll::Pending => return Err(LinkError::Unsent),
            },
        };
        match sent {
            Ok(response) => Ok(response),
            Err(mut error) => {
                if error.take_message().is_some() {
                    return Err(LinkError::Unsent);
                }
                Err(classify(&error.into_error()))
            }
        }
    }

    /// Can it take another request before `deadline`? Only after the last body was read to its end.
    pub async fn reusable(&mut self, deadline: Instant) -> bool {
        matches!(timeout_at(deadline, self.sender.ready()).await, Ok(Ok(())))
    }

    /// The peer has not closed it as far as we know. It may still have to come to rest after its
    /// last answer; `send` waits for that.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
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
