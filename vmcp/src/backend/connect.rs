//! From a URL to an open stream: DNS, TCP, TLS.
//!
//! Owns the first three steps towards a backend, each with its own share of the deadline, its own
//! error and its own duration. Holds no cache of any kind: an address that was right a minute ago
//! is exactly the mistake that a check must find (R2.2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use vmcp_core::health::{ProbeReason, Step};

pub use super::stream::Stream;
use super::timings::Timings;
use super::tls::Trust;
use crate::keep_alive::keep_alive;
use crate::pods::Http;

/// A further address is tried when the one before it has been silent for this long (RFC 8305
/// recommends 250 ms), so that one dead address costs no more than that.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A connection that said nothing for this long is asked whether it lives: it is given up half a
/// minute after its last word.
const SILENCE: Duration = Duration::from_secs(15);

/// Addresses of one name that are tried at most: a headless Service may list hundreds.
const MAX_ADDRESSES: usize = 16;

/// A stream to a backend, and what it took to get it.
#[derive(Debug)]
pub struct Connected {
    pub stream: Stream,
    /// As both sides agreed under encryption; without it nothing was agreed.
    pub http: Http,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub timings: Timings,
}

/// Why there is no stream. All of it is transient: the next try looks everything up anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    pub reason: ProbeReason,
    pub step: Step,
    pub message: String,
    /// The time was up, as opposed to an answer that says no.
    pub timed_out: TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedOut {
    Yes,
    No,
}

/// The origin of a URL, in the parts that a connection needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub tls: bool,
    pub host: Host<String>,
    pub port: u16,
}

impl Origin {
    /// # Errors
    /// `InvalidUrl` for a scheme other than http and https, or without a host.
    pub fn of(url: &Url) -> Result<Self, ConnectError> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => {
                return Err(invalid_url(format!(
                    "scheme {other} is neither http nor https"
                )));
            }
        };
        let host = url
            .host()
            .ok_or_else(|| invalid_url("the URL names no host".to_owned()))?
            .to_owned();
        let port = url
            .port_or_known_default()
            .ok_or_else(|| invalid_url("the URL names no port".to_owned()))?;
        Ok(Self { tls, host, port })
    }
}

/// Opens a new stream to the origin of `url`.
///
/// # Guarantees
/// The name is looked up anew, the source port is new, no TLS state is carried over.
///
/// # Errors
/// Typed by step; none later than `deadline`.
pub async fn connect(url: &Url, tls: &Trust, deadline: Instant) -> Result<Connected, ConnectError> {
    let origin = Origin::of(url)?;
    let started = Instant::now();
    // Half of the time at most, so that a slow name server is told from a slow server.
    let addresses = resolve(&origin, share(started, deadline, 2)).await?;
    let dns = started.elapsed();
    let mut connected = open(&origin, &addresses, tls, deadline).await?;
    connected.timings.dns = Some(dns);
    Ok(connected)
}

/// As [`connect`], to the first of these addresses that answers; no name is looked up.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to(
    url: &Url,
    addresses: &[SocketAddr],
    tls: &Trust,
    deadline: Instant,
) -> Result<Connected, ConnectError> {
    open(&Origin::of(url)?, addresses, tls, deadline).await
}

async fn open(
    origin: &Origin,
    addresses: &[SocketAddr],
    tls: &Trust,
    deadline: Instant,
) -> Result<Connected, ConnectError> {
    let mut timings = Timings::default();
    let started = Instant::now();
    let tcp = dial(addresses, deadline).await?;
    timings.connect = Some(started.elapsed());
    let local = tcp
        .local_addr()
        .map_err(|error| refused(&error.to_string()))?;
    let peer = tcp
        .peer_addr()
        .map_err(|error| refused(&error.to_string()))?;

    if !origin.tls {
        return Ok(Connected {
            stream: Stream::Plain(tcp),
            http: Http::One,
            local,
            peer,
            timings,
        });
    }
    let started = Instant::now();
    let stream = encrypt(tcp, origin, tls, deadline).await?;
    timings.tls = Some(started.elapsed());
    Ok(Connected {
        http: stream.agreed(),
        stream,
        local,
        peer,
        timings,
    })
}

/// The point after one of `parts` equal shares of what is left.
fn share(now: Instant, deadline: Instant, parts: u32) -> Instant {
    now + deadline.saturating_duration_since(now) / parts
}

async fn resolve(origin: &Origin, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match &origin.host {
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new(IpAddr::V4(*ip), origin.port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new(IpAddr::V6(*ip), origin.port)]),
        Host::Domain(name) => name.as_str(),
    };
    match timeout_at(deadline, tokio::net::lookup_host((name, origin.port))).await {
        Err(_elapsed) => Err(dns_failed(
            format!("lookup of {name} timed out"),
            TimedOut::Yes,
        )),
        Ok(Err(error)) => Err(dns_failed(
            format!("lookup of {name} failed: {error}"),
            TimedOut::No,
        )),
        Ok(Ok(found)) => {
            let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
            if addresses.is_empty() {
                return Err(dns_failed(
                    format!("lookup of {name} found no address"),
                    TimedOut::No,
                ));
            }
            Ok(addresses)
        }
    }
}

/// Tries all addresses, the next one when the last failed or was silent; the first stream wins.
async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    let all = async {
        loop {
            if let Some(address) = waiting.next() {
                attempts.push(async move { (address, TcpStream::connect(address).await) });
            }
            if attempts.is_empty() {
                return Err(());
            }
            tokio::select! {
                Some((address, result)) = attempts.next() => match result {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = Some(refused(&format!("connection to {address} failed: {error}"))),
                },
                () = sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {}
            }
        }
    };
    match timeout_at(deadline, all).await {
        Ok(Ok(stream)) => {
            // Requests are single small writes; waiting to join them only adds latency.
            let _ = stream.set_nodelay(true);
            let _ = keep_alive(&stream, SILENCE);
            Ok(stream)
        }
        Ok(Err(())) => Err(last.unwrap_or_else(|| refused("no address to connect to"))),
        Err(_elapsed) => Err(ConnectError {
            reason: ProbeReason::ConnectTimeout,
            step: Step::Connect,
            message: format!("connection to {} timed out", joined(addresses)),
            timed_out: TimedOut::Yes,
        }),
    }
}

async fn encrypt(
    tcp: TcpStream,
    origin: &Origin,
    trust: &Trust,
    deadline: Instant,
) -> Result<Stream, ConnectError> {
    let name = match &origin.host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
            tls_failed(format!("{name} is no name for a certificate"), TimedOut::No)
        })?,
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
    };
    let config = trust
        .config()
        .map_err(|error| tls_failed(error.to_string(), TimedOut::No))?;
    let connector = TlsConnector::from(config);
    match timeout_at(deadline, connector.connect(name, tcp)).await {
        Err(_elapsed) => Err(tls_failed(
            "TLS handshake timed out".to_owned(),
            TimedOut::Yes,
        )),
        Ok(Err(error)) => Err(tls_failed(
            format!("TLS handshake failed: {error}"),
            TimedOut::No,
        )),
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
    }
}

fn joined(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(3).map(ToString::to_string).collect();
    shown.join(", ")
}

fn invalid_url(message: String) -> ConnectError {
    ConnectError {
        reason: ProbeReason::InvalidUrl,
        step: Step::Dns,
        message,
        timed_out: TimedOut::No,
    }
}

fn dns_failed(message: String, timed_out: TimedOut) -> ConnectError {
    ConnectError {
        reason: ProbeReason::DnsFailed,
        step: Step::Dns,
        message,
        timed_out,
    }
}

fn refused(message: &str) -> ConnectError {
    ConnectError {
        reason: ProbeReason::ConnectRefused,
        step: Step::Connect,
        message: message.to_owned(),
        timed_out: TimedOut::No,
    }
}

fn tls_failed(message: String, timed_out: TimedOut) -> ConnectError {
    ConnectError {
        reason: ProbeReason::TlsFailed,
        step: Step::Tls,
        message,
        timed_out,
    }
}

#[cfg(test)]
mod tests;
