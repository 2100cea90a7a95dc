//! One connection of a client, from its first byte to its last.
//!
//! Owns which HTTP is spoken on it, and its rest: a client that says nothing for a moment keeps its
//! socket and nothing else. hyper would keep its buffers, which are most of what a silent client
//! costs, and there are many more of those than of others. Never looks at a request.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use vmcp_core::limits;

use super::Stop;
use super::again::Again;
use super::phase_io::{PhaseIo, Serving, Version};
use super::quiet::Quiet;
use crate::alarm::{Alarm, poll_alarm};
use crate::lanes::Lanes;

/// Why a connection ended that had not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("between requests: {0}")]
    Waiting(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Serves until the end of the connection, or of the gateway.
///
/// # Errors
/// When it broke, or the client used up its time.
pub(super) async fn serve<S, V, B>(
    mut io: PhaseIo<S>,
    service: &V,
    serving: &Serving,
    lanes: &Lanes,
    stop: &Stop,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: Service<Request<Incoming>, Response = hyper::Response<B>> + Clone + Unpin,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let version = tokio::select! {
            biased;
            version = io.version() => version?,
            () = stop.drain.cancelled() => return Ok(()),
        };
        // What serves is large beside what waits: it has its room in the heap.
        let resting = match version {
            Version::Http1 => Box::pin(http1(io, service.clone(), serving, stop)).await?,
            Version::Http2 => {
                Box::pin(http2(io, service.clone(), serving, lanes, stop)).await?;
                None
            }
        };
        io = match resting {
            Some(resting) => resting,
            None => return Ok(()),
        };
    }
}

/// What comes out rests.
async fn http1<S, V, B>(
    io: PhaseIo<S>,
    service: V,
    serving: &Serving,
    stop: &Stop,
) -> Result<Option<PhaseIo<S>>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: Service<Request<Incoming>, Response = hyper::Response<B>> + Unpin,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = http1::Builder::new()
        .max_headers(limits::HEADER_COUNT)
        .max_buf_size(limits::HEADER_BYTES)
        // The clocks are `phase_io`'s.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service);
    let mut calm = Calm::default();
    let next = {
        let mut served = Again::new(&mut connection);
        let drain = pin!(stop.drain.cancelled());
        let mut finish = Quiet::new(drain);
        poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut served).poll(cx) {
                return Poll::Ready(Next::End(ended));
            }
            if let Poll::Ready(since) = calm.poll(serving, cx) {
                return Poll::Ready(Next::Rest(since));
            }
            Pin::new(&mut finish).poll(cx).map(|()| Next::Finish)
        })
        .await
    };
    match next {
        Next::End(ended) => ended.map(|()| None),
        Next::Rest(since) => {
            let parts = connection.into_parts();
            let mut io = parts.io.into_inner();
            io.go_on(since, parts.read_buf);
            Ok(Some(io))
        }
        Next::Finish => {
            Pin::new(&mut connection).graceful_shutdown();
            until(stop, Again::new(connection)).await?;
            Ok(None)
        }
    }
}

enum Next {
    End(Result<(), hyper::Error>),
    /// Silent since then.
    Rest(Instant),
    Finish,
}

/// How long a connection has been quiet.
#[derive(Default)]
struct Calm {
    /// And how many requests there had been by then.
    since: Option<(usize, Instant)>,
    alarm: Option<Alarm>,
}

impl Calm {
    /// Ready when it was long enough.
    fn poll(&mut self, serving: &Serving, cx: &mut Context<'_>) -> Poll<Instant> {
        if !serving.is_quiet() {
            self.since = None;
            return Poll::Pending;
        }
        let begun = serving.begun();
        let since = match self.since {
            Some((then, since)) if then == begun => since,
            _ => self.since.insert((begun, Instant::now())).1,
        };
        poll_alarm(&mut self.alarm, since + limits::CLIENT_REST, cx).map(|()| since)
    }
}

async fn http2<S, V, B>(
    io: PhaseIo<S>,
    service: V,
    serving: &Serving,
    lanes: &Lanes,
    stop: &Stop,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: Service<Request<Incoming>, Response = hyper::Response<B>> + Unpin,
    V::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    V::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http2::Builder::new(lanes.clone());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits::HEADER_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits::HTTP2_STREAMS)
        .keep_alive_interval(limits::SSE_COMMENT)
        .keep_alive_timeout(limits::CLIENT_IDLE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = stop.drain.cancelled() => {}
        () = idle(serving) => {}
    }
    connection.as_mut().graceful_shutdown();
    until(stop, connection).await
}

/// The rest of a connection, until the drain is over.
async fn until(
    stop: &Stop,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<(), hyper::Error> {
    tokio::select! {
        biased;
        ended = connection => ended,
        () = stop.now.cancelled() => Ok(()),
    }
}

/// Resolves when no request was made for a while. An idle connection of HTTP/1 is closed by its
/// clock, one of HTTP/2 only by this.
async fn idle(serving: &Serving) {
    let mut begun = 0;
    loop {
        tokio::time::sleep(limits::CLIENT_IDLE).await;
        if serving.is_idle() && serving.begun() == begun {
            return;
        }
        begun = serving.begun();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::Response;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::super::phase_io::Clocks;
    use super::*;

    const CLOCKS: Clocks = Clocks {
        head: Duration::from_secs(5),
        idle: Duration::from_secs(120),
    };

    /// A client of a service that names the path.
    struct Client {
        stream: DuplexStream,
        stop: Stop,
        /// Held by the service, of which there is one more while a connection does not rest.
        held: Arc<()>,
    }

    impl Client {
        fn new() -> Self {
            Self::with_buffer(4096)
        }

        fn with_buffer(bytes: usize) -> Self {
            let (stream, server) = tokio::io::duplex(bytes);
            let (stop, held) = (Stop::default(), Arc::new(()));
            let (told, holds) = (stop.clone(), Arc::clone(&held));
            tokio::spawn(async move {
                let serving = Serving::default();
                let counts = serving.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (guard, _) = (counts.begin(), &holds);
                    async move {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        drop(guard);
                        let path = request.uri().path().to_owned();
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(path))))
                    }
                });
                let io = PhaseIo::new(server, serving.clone(), CLOCKS);
                serve(io, &service, &serving, &Lanes::default(), &told).await
            });
            Self { stream, stop, held }
        }

        async fn says(&mut self, text: &str) {
            self.stream.write_all(text.as_bytes()).await.unwrap();
        }

        async fn hears(&mut self, path: &str) {
            let mut heard = Vec::new();
            while !heard.ends_with(format!("\r\n\r\n{path}").as_bytes()) {
                let mut more = [0; 256];
                let read = self.stream.read(&mut more).await.unwrap();
                assert!(read > 0, "closed after {}", String::from_utf8_lossy(&heard));
                heard.extend_from_slice(&more[..read]);
            }
            assert_eq!(Arc::strong_count(&self.held), 3, "it serves");
        }

        async fn rests(&self) {
            tokio::time::sleep(limits::CLIENT_REST * 2).await;
            assert_eq!(Arc::strong_count(&self.held), 2, "it rests");
        }

        async fn is_closed(&mut self) {
            assert_eq!(self.stream.read(&mut [0; 8]).await.unwrap(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_rested_serves_the_next_request() {
        let mut client = Client::new();
        for path in ["/a", "/b", "/c"] {
            client
                .says(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"))
                .await;
            client.hears(path).await;
            client.rests().await;
        }
    }

    /// A connection in use does not rest, however long it is in use.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_used_does_not_rest() {
        let mut client = Client::new();
        for _ in 0..10 {
            client.says("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
            client.hears("/a").await;
            tokio::time::sleep(limits::CLIENT_REST * 3 / 4).await;
            assert_eq!(Arc::strong_count(&client.held), 3, "it serves");
        }
    }

    /// What was not taken yet is not lost.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_keeps_its_connection_from_rest() {
        let mut client = Client::with_buffer(64);
        let path = format!("/{}", "a".repeat(4000));
        client
            .says(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"))
            .await;
        tokio::time::sleep(limits::CLIENT_REST * 3).await;

        client.hears(&path).await;
        client.rests().await;
    }

    /// Rest loses no byte, and gives a head no more than its time.
    #[tokio::test(start_paused = true)]
    async fn half_a_head_that_came_with_the_request_before_is_kept() {
        let both = "GET /a HTTP/1.1\r\nhost: h\r\n\r\nGET /b HTTP/1.1\r\nho";
        let mut client = Client::new();
        client.says(both).await;
        client.hears("/a").await;
        tokio::time::sleep(limits::CLIENT_REST * 2).await;

        client.says("st: h\r\n\r\n").await;
        client.hears("/b").await;

        client.says(both).await;
        client.hears("/a").await;
        let started = Instant::now();
        client.is_closed().await;
        assert!(
            started.elapsed() <= limits::CLIENT_REST + CLOCKS.head,
            "cut in time"
        );
    }

    /// Limit "idle 120 s": rest is idleness too.
    #[tokio::test(start_paused = true)]
    async fn a_resting_connection_is_closed_when_it_idles_out() {
        let mut client = Client::new();
        client.says("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
        client.hears("/a").await;
        let answered = Instant::now();
        client.rests().await;

        client.is_closed().await;

        assert_eq!(answered.elapsed().as_secs(), CLOCKS.idle.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_resting_connection_ends_with_the_drain() {
        let mut client = Client::new();
        client.says("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await;
        client.hears("/a").await;
        client.rests().await;

        client.stop.drain.cancel();

        client.is_closed().await;
    }
}
