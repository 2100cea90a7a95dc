//! The peer port.
//!
//! Owns the listener, the proof that each connection starts with, and the connections after it.
//! What is answered on them is the caller's: a service that gets the requests of proven replicas
//! only.
//!
//! # How it ends
//! A connection without a request is closed by the replica that opened it, never from here: a
//! request may be on its way, and whoever sent it could not say whether it was served. So a stop
//! closes the listener alone; what still comes is answered, with `connection: close`; the other
//! replicas have been told to use their connections no more ([`super::Peers::part`]).

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vmcp_core::limits;

use super::door::Door;
use super::handshake::Identity;
use super::meter::PeerMeter;
use crate::lanes::Lanes;

/// Pause after a failed `accept`: out of descriptors passes only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is let in, and where they are served.
#[derive(Clone, Debug)]
pub struct Porter {
    pub identity: Arc<Identity>,
    pub door: Arc<Door>,
    pub meter: Arc<PeerMeter>,
    pub lanes: Lanes,
}

/// Serves the other replicas. Takes no connection after `stop`, and returns when the other replicas
/// have closed theirs; the caller sets a deadline.
pub async fn serve<S, B>(listener: TcpListener, porter: Porter, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Whoever has proven nothing yet holds one of few places.
        let Some(place) = porter.door.admit(source.ip()) else {
            porter.meter.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "connection lost on its way");
                continue;
            }
        };
        let (porter, service, stop) = (porter.clone(), service.clone(), stop.clone());
        let seat = porter.lanes.seat();
        let runtime = seat.runtime().clone();
        let served = async move {
            let proven = prove(stream, &porter).await;
            drop(place);
            if let Some(stream) = proven {
                answer(stream, service, stop).await;
            }
            drop(seat);
        };
        connections.spawn_on(served, &runtime);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn prove(stream: std::net::TcpStream, porter: &Porter) -> Option<TcpStream> {
    let mut stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "connection lost on its way");
            return None;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no delay not set");
    }
    let proof = porter.identity.answer(&mut stream);
    match timeout(limits::PEER_CONNECT, proof).await {
        Ok(Ok(remote)) => {
            tracing::debug!(pod = &*remote.pod, "replica connected");
            return Some(stream);
        }
        Ok(Err(error)) => tracing::debug!(%error, "peer connection refused"),
        Err(_elapsed) => tracing::debug!("peer connection says nothing"),
    }
    porter.meter.refused.fetch_add(1, Ordering::Relaxed);
    None
}

async fn answer<S, B>(stream: TcpStream, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Longer than the other side keeps one waiting, so that it is never closed under a request.
        .header_read_timeout(limits::PEER_IDLE * 2)
        // Names of hop-by-hop headers and ours come on top of what a client may send.
        .max_headers(limits::HEADER_COUNT * 2)
        .max_buf_size(limits::HEADER_BYTES * 2);
    let service = service_fn(|request| {
        let (answer, stop) = (service.call(request), stop.clone());
        async move {
            let mut response = answer.await?;
            if stop.is_cancelled() {
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "peer connection ended");
    }
}
