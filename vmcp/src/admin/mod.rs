//! What the gateway says about itself: health, readiness, status, metrics.
//!
//! Owns the admin port. Reads the newest snapshot and nothing else, so that all answers agree (T6)
//! and none of them waits for a backend. Its readiness never depends on whether a backend is up:
//! all gateways would vanish together with their backends.

mod answer;
mod status;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HOST, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use vmcp_core::limits;

use crate::clock::Clock;
use crate::metrics::Exposition;
use crate::server::guard;
use crate::snapshot::{Admission, SnapshotReader};

/// Scrapers and kubelets are few; strangers must not use up our descriptors.
const CONNECTIONS: usize = 64;

/// A connection to the admin port is never needed for longer.
const CONNECTION: Duration = Duration::from_secs(60);

/// After a failed accept, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that the answers are made of.
#[derive(Debug)]
pub struct Admin {
    pub snapshots: SnapshotReader,
    pub clock: Clock,
    pub exposition: Exposition,
    /// This process writes the status of the VirtualMCPServer.
    pub leader: Arc<AtomicBool>,
    draining: AtomicBool,
    /// It is not known yet whether there are other replicas.
    searching: AtomicBool,
}

impl Admin {
    #[must_use]
    pub fn new(
        snapshots: SnapshotReader,
        clock: Clock,
        exposition: Exposition,
        leader: Arc<AtomicBool>,
    ) -> Self {
        Self {
            snapshots,
            clock,
            exposition,
            leader,
            draining: AtomicBool::new(false),
            searching: AtomicBool::new(false),
        }
    }

    /// Until [`Self::peers_known`], `/readyz` fails: a client that came here with the session of
    /// another replica would get a second one at every backend.
    pub fn search_peers(&self) {
        self.searching.store(true, Ordering::Relaxed);
    }

    pub fn peers_known(&self) {
        self.searching.store(false, Ordering::Relaxed);
    }

    fn is_searching(&self) -> bool {
        self.searching.load(Ordering::Relaxed)
    }

    /// From now on `/readyz` fails, so that no new client is sent here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// By which names the port may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Any,
    /// On a loopback address only this machine asks. Another name in `Host` means a web page that
    /// made its own name point here (DNS rebinding).
    Local,
}

impl Names {
    fn of(listener: &TcpListener) -> Self {
        match listener.local_addr() {
            Ok(address) if !address.ip().is_loopback() => Self::Any,
            _ => Self::Local,
        }
    }

    fn admit(self, request: &Request<Incoming>) -> bool {
        let header = |name| {
            let value = request.headers().get(name);
            value.map(|value| value.to_str().unwrap_or_default())
        };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let local = Admission::default();
        self == Self::Any || guard::admit(&local, peer, header(HOST), header(ORIGIN)).is_ok()
    }
}

/// Serves the admin port until cancelled.
pub async fn run(listener: TcpListener, admin: Arc<Admin>, cancel: CancellationToken) {
    let names = Names::of(&listener);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Over the limit the connection is closed at once, not queued.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let served = tokio::time::timeout(CONNECTION, serve(stream, admin, names)).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, admin: Arc<Admin>, names: Names) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = if names.admit(&request) {
            answer::answer(&admin, request.method(), request.uri().path())
        } else {
            answer::foreign()
        };
        async move { Ok::<Response<Full<Bytes>>, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_READ)
        .max_headers(limits::HEADER_COUNT)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
