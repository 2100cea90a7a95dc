//! Requests to the other replicas.
//!
//! Owns the way there: which address a pod has, how long to wait for it, what a failure means for
//! the request. Tells apart what never left from what may have been served, because only the former
//! may be served elsewhere. Never repeats anything that was sent.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use vmcp_core::limits;
use vmcp_core::session::Owner;

use super::body::PeerBody;
use super::handshake::{HandshakeError, Identity};
use super::meter::PeerMeter;
use super::pool::{Connection, Pool};
use super::{Peer, Roster, Standing};
use crate::keep_alive::keep_alive;

/// How long a replica that could not be reached is not tried again: a request must not wait for a
/// dead one each time, and one that comes back is found soon.
const AVOID: Duration = Duration::from_secs(1);

/// Silence on the wire after which a replica is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(10);

/// Why there is no answer of the replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent.
    #[error("replica cannot be reached")]
    Unreachable,
    /// Nothing was sent: the process that was meant is gone, this one runs there now.
    #[error("replica has been restarted")]
    Restarted,
    /// It may have been served.
    #[error("replica went away")]
    Broken,
}

/// The other replicas.
#[derive(Debug)]
pub struct Peers {
    identity: Arc<Identity>,
    roster: watch::Receiver<Arc<Roster>>,
    pool: Arc<Pool>,
    avoided: Mutex<HashMap<Box<str>, Instant>>,
    meter: Arc<PeerMeter>,
}

impl Peers {
    #[must_use]
    pub fn new(identity: Arc<Identity>, roster: watch::Receiver<Arc<Roster>>) -> Self {
        Self {
            identity,
            roster,
            pool: Arc::default(),
            avoided: Mutex::default(),
            meter: Arc::default(),
        }
    }

    /// Counts there.
    #[must_use]
    pub fn with_meter(self, meter: Arc<PeerMeter>) -> Self {
        Self { meter, ..self }
    }

    #[must_use]
    pub fn meter(&self) -> &PeerMeter {
        &self.meter
    }

    #[must_use]
    pub fn own(&self) -> &Owner {
        &self.identity.own
    }

    /// For whoever follows who comes and goes.
    #[must_use]
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.clone()
    }

    /// All others that discovery knows.
    #[must_use]
    pub fn others(&self) -> Vec<Peer> {
        let roster = Arc::clone(&self.roster.borrow());
        let others = roster.peers.iter();
        let own = &self.identity.own.pod;
        others.filter(|peer| peer.pod != *own).cloned().collect()
    }

    /// The others that take requests, as far as is known here.
    #[must_use]
    pub fn ready(&self) -> Vec<Box<str>> {
        let mut others = self.others();
        others.retain(|peer| peer.standing == Standing::Ready && !self.is_avoided(&peer.pod));
        others.into_iter().map(|peer| peer.pod).collect()
    }

    /// Passes a request on. With `boot`, only to that very process.
    ///
    /// # Errors
    /// Says whether the request may be served elsewhere.
    pub async fn send(
        &self,
        pod: &str,
        boot: Option<&str>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<PeerBody>, SendError> {
        let address = self.address(pod).ok_or(SendError::Unreachable)?;
        let mut request = request;
        // A waiting connection may have been closed at the other end; a new one was not.
        while let Some(connection) = self.pool.take(&address).await {
            match self.over(connection, pod, boot, request).await {
                Ok(response) => return Ok(response),
                Err((_, Some(unsent))) => request = *unsent,
                Err((error, None)) => return Err(error),
            }
        }
        let connection = match self.connect(&address).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(pod, %error, "replica not reached");
                self.avoid(pod);
                return Err(SendError::Unreachable);
            }
        };
        let sent = self.over(connection, pod, boot, request).await;
        sent.map_err(|(error, _)| error)
    }

    /// Asks a replica something of our own, a short question with a short answer.
    ///
    /// # Errors
    /// No answer within `limits::PEER_ASK`, or one that says no.
    pub async fn ask(&self, pod: &str, path: &str, body: Bytes) -> Result<Bytes, SendError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "peer")
            .body(Full::new(body))
            .map_err(|_| SendError::Unreachable)?;
        let asking = async {
            let response = self.send(pod, None, request).await?;
            let fine = response.status().is_success();
            let body = Limited::new(response.into_body(), limits::PEER_ANSWER);
            let body = body.collect().await.map_err(|_| SendError::Broken)?;
            let body = body.to_bytes();
            fine.then_some(body).ok_or(SendError::Broken)
        };
        timeout(limits::PEER_ASK, asking)
            .await
            .unwrap_or(Err(SendError::Broken))
    }

    /// Asks all others at once; those that do not answer are left out.
    pub async fn ask_all(&self, path: &str, body: &Bytes) -> Vec<(Box<str>, Bytes)> {
        let mut others = self.others();
        others.retain(|peer| !self.is_avoided(&peer.pod));
        let asking: FuturesUnordered<_> = others
            .into_iter()
            .map(|peer| {
                let body = body.clone();
                async move {
                    let answer = self.ask(&peer.pod, path, body).await.ok()?;
                    Some((peer.pod, answer))
                }
            })
            .collect();
        asking.filter_map(std::future::ready).collect().await
    }

    /// That process is about to close its port: nothing is sent to it from now on, and no connection
    /// to it is kept.
    pub fn part(&self, process: &Owner) {
        self.avoid(&process.pod);
        self.pool.part(process);
    }

    fn address(&self, pod: &str) -> Option<Box<str>> {
        if self.is_avoided(pod) {
            return None;
        }
        let roster = self.roster.borrow();
        let mut peers = roster.peers.iter();
        let peer = peers.find(|peer| &*peer.pod == pod)?;
        Some(peer.address.clone())
    }

    /// One request over one connection. Gives the request back if it never left.
    async fn over(
        &self,
        mut connection: Connection,
        pod: &str,
        boot: Option<&str>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<PeerBody>, (SendError, Option<Box<Request<Full<Bytes>>>>)> {
        let remote = &connection.remote;
        if &*remote.pod != pod {
            return Err((SendError::Unreachable, Some(Box::new(request))));
        }
        if boot.is_some_and(|boot| *boot != *remote.boot) {
            self.pool.put_back(connection);
            return Err((SendError::Restarted, None));
        }
        let spare = request.clone();
        let sent = {
            let mut sending = pin!(connection.sender.try_send_request(request));
            tokio::select! {
                biased;
                sent = &mut sending => sent,
                () = tokio::time::sleep(limits::PEER_REPLY) => {
                    return Err((SendError::Broken, None));
                }
                // A request that was queued while the connection's task ended lies in the queue for
                // ever. Whatever that task took, it has resolved.
                _ended = &mut connection.driver => match futures::poll!(sending) {
                    Poll::Ready(sent) => sent,
                    Poll::Pending => return Err((SendError::Unreachable, Some(Box::new(spare)))),
                },
            }
        };
        match sent {
            Err(mut error) => match error.take_message() {
                Some(unsent) => Err((SendError::Unreachable, Some(Box::new(unsent)))),
                None => Err((SendError::Broken, None)),
            },
            Ok(response) => {
                let pool = Arc::clone(&self.pool);
                Ok(response.map(|incoming| PeerBody::new(incoming, connection, pool)))
            }
        }
    }

    async fn connect(&self, address: &str) -> Result<Connection, ConnectError> {
        let connecting = async {
            let mut refused = ConnectError::Handshake(HandshakeError::Refused);
            for key in 0..self.identity.keys() {
                match self.connect_with(address, key).await {
                    // Says nothing of why; perhaps it holds another key.
                    Err(error @ ConnectError::Handshake(_)) => refused = error,
                    connected => return connected,
                }
            }
            self.meter.refused.fetch_add(1, Ordering::Relaxed);
            Err(refused)
        };
        timeout(limits::PEER_CONNECT, connecting)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    async fn connect_with(&self, address: &str, key: usize) -> Result<Connection, ConnectError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        keep_alive(&stream, SILENCE)?;
        let remote = self.identity.call(&mut stream, key).await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "peer connection ended");
            }
        });
        Ok(Connection::new(sender, driver, remote, address))
    }

    fn avoid(&self, pod: &str) {
        lock(&self.avoided).insert(pod.into(), Instant::now());
    }

    fn is_avoided(&self, pod: &str) -> bool {
        let mut avoided = lock(&self.avoided);
        avoided.retain(|_, since| since.elapsed() < AVOID);
        avoided.contains_key(pod)
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("no connection in time")]
    Timeout,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
