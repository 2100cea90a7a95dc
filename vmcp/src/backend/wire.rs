//! One JSON-RPC exchange over one connection.
//!
//! Owns what can go wrong between sending a message and having its answer, as [`WireError`], and
//! the ids of our requests. Judges nothing: what an error means for a backend's health stands in
//! `verdict`, what it means for a caller in `call`. Follows no redirect.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryFutureExt as _;
use hyper::body::Incoming;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, timeout_at};
use url::Url;

use vmcp_core::jsonrpc::{RequestId, RpcError};

use super::connect::ConnectError;
use super::link::{Link, LinkError, Outgoing};
use super::message;
use super::reply::{self, Reply};
use crate::near::PerLane;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Provably never left; may be sent again (T19).
    #[error("the connection closed before the request was sent")]
    Unsent,
    /// The pod that keeps the session is not there any more; nothing was sent.
    #[error("the pod that kept the session is gone")]
    Gone,
    /// No response head; the request may have run.
    #[error("the connection broke before an answer: {0}")]
    Lost(String),
    /// An HTTP status other than success.
    #[error("HTTP {}", .0.status)]
    Refused(Box<Refusal>),
    /// The answer began and did not end.
    #[error("the body was cut short: {0}")]
    Cut(String),
    /// Reachable, wrong answer.
    #[error("{0}")]
    Protocol(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The spec holds a value that cannot be sent.
    #[error("the request cannot be written: {0}")]
    Unwritable(String),
}

/// A response head that says no, with what is needed to say why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The server names a way to authenticate.
    pub challenged: Challenged,
    pub retry_after: Option<Duration>,
    pub location: Option<Box<str>>,
    /// At most `reply::MAX_REFUSAL_BYTES`.
    pub body: Bytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenged {
    Yes,
    #[default]
    No,
}

impl Refusal {
    /// The JSON-RPC error in the body, if it is one.
    #[must_use]
    pub fn rpc_error(&self) -> Option<(RequestId, RpcError)> {
        message::error_in(&self.body)
    }

    /// Where a 307 or 308 points, if that is on the origin of `url` (T3: the spec names the wrong
    /// path).
    #[must_use]
    pub fn same_origin_target(&self, url: &Url) -> Option<Url> {
        if !matches!(self.status, 307 | 308) {
            return None;
        }
        let target = url.join(self.location.as_deref()?).ok()?;
        (target.origin() == url.origin()).then_some(target)
    }
}

impl WireError {
    /// May the request be sent again, whatever it does? (T19)
    #[must_use]
    pub fn provably_unsent(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::Unsent | Self::Gone | Self::Unwritable(_)
        )
    }

    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }
}

impl From<LinkError> for WireError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unsent => Self::Unsent,
            LinkError::Lost(detail) => Self::Lost(detail),
            error @ LinkError::NotHttp(_) => Self::Protocol(error.to_string()),
            error @ LinkError::HeadTooLarge => Self::TooLarge(error.to_string()),
        }
    }
}

impl From<http::Error> for WireError {
    fn from(error: http::Error) -> Self {
        Self::Unwritable(error.to_string())
    }
}

/// Some servers read ids as signed numbers of 32 bits.
const IDS: u64 = i32::MAX as u64;

/// A lane takes so many at a time.
const BLOCK: u64 = 4096;

/// An id that no other request of this process has. A string would do as well; some servers only
/// echo numbers. Begins somewhere: a session that another replica hands over has used the ids of
/// that one already.
#[must_use]
pub fn next_id() -> RequestId {
    static BEGIN: LazyLock<u64> = LazyLock::new(somewhere);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static HERE: LazyLock<PerLane<Mutex<Range<u64>>>> = LazyLock::new(PerLane::default);
    let n = {
        let mut block = HERE.here().lock().unwrap_or_else(PoisonError::into_inner);
        block.next().unwrap_or_else(|| {
            let first = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
            *block = first + 1..first + BLOCK;
            first
        })
    };
    let id = nth_id(*BEGIN, n);
    RequestId::Number(id.to_string().into())
}

fn nth_id(begin: u64, n: u64) -> u64 {
    begin.wrapping_add(n) % IDS + 1
}

/// Without randomness ids begin at one, as if there had been no other replica.
fn somewhere() -> u64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes).into(),
        Err(_unspecified) => 0,
    }
}

/// Sends a message that wants the answer `expects`, and reads the head of the reply.
///
/// # Errors
/// All of [`WireError`] but `Connect`.
pub async fn exchange(
    link: &mut Link,
    request: Outgoing,
    expects: &RequestId,
    deadline: Instant,
) -> Result<Reply, WireError> {
    let response = within(deadline, link.send(request)).await??;
    link.until(Reply::open(response, expects, deadline)).await
}

/// Sends a message that wants no answer (a notification, a response of ours, a DELETE) and returns
/// the HTTP status.
///
/// # Errors
/// As [`exchange`]; any status is fine here.
pub async fn tell(link: &mut Link, request: Outgoing, deadline: Instant) -> Result<u16, WireError> {
    let response = within(deadline, link.send(request)).await??;
    let status = response.status().as_u16();
    link.until(reply::drain(response.into_body(), deadline))
        .await;
    Ok(status)
}

/// Sends a GET that is to be answered by an event stream.
///
/// # Errors
/// `Refused` for any status but 2xx, `Protocol` for another kind of body.
pub async fn exchange_stream(
    link: &mut Link,
    request: Outgoing,
    deadline: Instant,
) -> Result<Incoming, WireError> {
    let response = within(deadline, link.send(request)).await??;
    link.until(reply::event_stream(response, deadline)).await
}

/// `future`, or `Timeout` at the deadline.
///
/// # Errors
/// `Timeout` alone.
pub fn within<F: Future>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, WireError>> {
    let allowed = deadline.saturating_duration_since(Instant::now());
    // Not `async`: such a function has room for its arguments and for what it makes of them.
    timeout_at(deadline, future).map_err(move |_elapsed| WireError::Timeout(allowed))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::near::tests::everywhere;

    /// Lanes take their ids in blocks; those meet nowhere.
    #[tokio::test]
    async fn no_id_is_given_on_two_lanes() {
        let some = || (0..BLOCK + 1).map(|_| next_id().to_string());
        let all = everywhere(move || some().collect::<Vec<_>>()).await;

        let all: Vec<_> = all.into_iter().flatten().collect();
        let different: HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    /// Never zero, never beyond 32 bits, and none twice within the life of a session.
    #[test]
    fn ids_are_small_numbers_wherever_they_begin() {
        for begin in [0, 1, IDS - 2, IDS - 1, IDS, u64::from(u32::MAX)] {
            let ids: Vec<_> = (0..5).map(|n| nth_id(begin, n)).collect();

            assert!(ids.iter().all(|id| (1..=IDS).contains(id)), "{ids:?}");
            let next = |pair: &[u64]| pair[1] == pair[0] + 1 || pair == [IDS, 1];
            assert!(ids.windows(2).all(next), "{ids:?}");
        }
    }
}
