//! One HTTP/2 connection, for many requests at once.
//!
//! Owns its settings, who uses it now, and what its ends mean: a request that the server says it
//! never processed (GOAWAY, REFUSED_STREAM) may be sent again, whatever it does (RFC 9113, 8.7).
//! The connection ends when nobody holds it any more. Knows nothing of pools.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use vmcp_core::limits::{HEADER_BYTES, HTTP2_STREAMS};

use super::last_words::LastWords;
use super::link::{Counted, Driver, LinkError, Outgoing, describe};
use super::stream::Stream;

/// What a stream may send before we have read of it. A reader that is slow holds up this much.
const STREAM_WINDOW: u32 = 256 * 1024;

/// All streams together, so that slow readers never stop the others (R4.8).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * HTTP2_STREAMS;

/// A connection with requests on it that is silent for this long is asked whether it lives.
const PING_AFTER: Duration = Duration::from_secs(20);

/// No answer to that is its end.
const PING_WITHIN: Duration = Duration::from_secs(10);

/// An open connection, kept for whoever comes next. Its clones are the same connection.
#[derive(Clone)]
pub struct Many {
    sender: SendRequest<Full<Bytes>>,
    scheme: Scheme,
    shared: Arc<Shared>,
}

struct Shared {
    /// Ends hyper's task with the last holder; streams under way end by themselves.
    _driver: Driver,
    /// That task takes no more requests.
    ended: CancellationToken,
    under_way: AtomicUsize,
    /// Requests that the server takes at once.
    allowed: Arc<AtomicUsize>,
    peer: SocketAddr,
    _counted_in: Option<Counted>,
}

/// A place on a connection, for one request and its answer.
#[derive(Debug)]
pub struct Place(Many);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.shared.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Many")
            .field("peer", &self.shared.peer)
            .field("under_way", &self.under_way())
            .finish_non_exhaustive()
    }
}

impl Many {
    /// Starts HTTP/2 on an open stream.
    ///
    /// # Errors
    /// `Unsent`: the stream does not take our first words.
    pub async fn open(
        stream: Stream,
        peer: SocketAddr,
        counted_in: Option<Counted>,
    ) -> Result<Self, LinkError> {
        let scheme = match &stream {
            Stream::Plain(_) => Scheme::HTTP,
            Stream::Tls(_) => Scheme::HTTPS,
        };
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_WITHIN)
            .handshake(TokioIo::new(LastWords::of(stream)))
            .await
            .map_err(|_| LinkError::Unsent)?;
        let ended = CancellationToken::new();
        let at_end = ended.clone().drop_guard();
        let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let told = Arc::clone(&allowed);
        let driver = Driver(tokio::spawn(async move {
            let _at_end = at_end;
            let mut connection = pin!(connection);
            let driven = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                told.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            if let Err(error) = driven.await {
                tracing::trace!(%error, "backend connection ended");
            }
        }));
        Ok(Self {
            sender,
            scheme,
            shared: Arc::new(Shared {
                _driver: driver,
                ended,
                under_way: AtomicUsize::new(0),
                allowed,
                peer,
                _counted_in: counted_in,
            }),
        })
    }

    /// A place for one more request.
    #[must_use]
    pub fn place(&self) -> Place {
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }

    /// Takes another request at once: beyond what the server allows it would only wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limit = usize::try_from(HTTP2_STREAMS).unwrap_or(usize::MAX);
        self.is_open() && self.under_way() < limit.min(self.shared.allowed.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.shared.ended.is_cancelled()
    }

    /// Is it the same connection?
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Place {
    #[must_use]
    pub const fn connection(&self) -> &Many {
        &self.0
    }

    /// Sends one request and waits for the response head.
    ///
    /// # Errors
    /// `Unsent` also where the server says that it never processed the request.
    pub async fn send(&mut self, request: Outgoing) -> Result<Response<Incoming>, LinkError> {
        let many = &mut self.0;
        let mut request = in_form(request, &many.scheme)?;
        // Whoever takes the request out of the queue drops this.
        let queued = Arc::new(());
        request.extensions_mut().insert(Arc::clone(&queued));
        let mut sending = pin!(many.sender.try_send_request(request));
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            () = many.shared.ended.cancelled() => match futures::poll!(&mut sending) {
                Poll::Ready(sent) => sent,
                // Left in a queue that nobody reads any more.
                Poll::Pending if Arc::strong_count(&queued) > 1 => return Err(LinkError::Unsent),
                Poll::Pending => sending.await,
            },
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(_unsent) => LinkError::Unsent,
            None => classify(&error.into_error()),
        })
    }
}

/// With the pseudo-headers' parts in the URI and without what only HTTP/1.1 has.
fn in_form(mut request: Outgoing, scheme: &Scheme) -> Result<Outgoing, LinkError> {
    let unwritable = |what: &dyn fmt::Display| LinkError::Lost(what.to_string());
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    let host = headers.remove(HOST);
    let host = host.as_ref().map_or(&b""[..], |host| host.as_bytes());
    let authority = Authority::try_from(host).map_err(|error| unwritable(&error))?;
    let root = PathAndQuery::from_static("/");
    let path = request.uri().path_and_query().cloned().unwrap_or(root);
    let uri = Uri::builder()
        .scheme(scheme.clone())
        .authority(authority)
        .path_and_query(path);
    *request.uri_mut() = uri.build().map_err(|error| unwritable(&error))?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

fn classify(error: &hyper::Error) -> LinkError {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    match cause {
        Some(cause) if never_processed(cause) => LinkError::Unsent,
        // What we found wrong ourselves, not the server.
        Some(cause) if cause.is_go_away() && cause.is_library() => {
            LinkError::NotHttp(describe(error))
        }
        _ => LinkError::Lost(describe(error)),
    }
}

/// The server's GOAWAY reaches only streams above the last that it processed; it refuses a stream
/// before any of it was processed.
fn never_processed(cause: &h2::Error) -> bool {
    let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
    cause.is_remote() && (cause.is_go_away() || refused)
}
