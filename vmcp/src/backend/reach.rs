//! Where a connection goes.
//!
//! Owns the choice of the address: any of the URL's, a ready pod for a new session, or the one
//! place where a session lives (T12, architecture 8). A check always goes by the URL (R2.2). Opens
//! the stream and speaks no HTTP on it.

use tokio::time::Instant;
use url::Host;

use vmcp_core::health::{ProbeReason, Step};

use super::connect::{ConnectError, Connected, Origin, connect, connect_to};
use super::tls::Trust;
use super::wire::WireError;
use crate::pods::Pin;
use crate::snapshot::Endpoint;

/// To whom to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Whoever the URL leads to.
    Any,
    /// A pod that takes new sessions, where pods are known.
    New,
    /// Where a session lives.
    Pinned(Pin),
}

impl To {
    /// The place of a session, if it has one.
    #[must_use]
    pub fn pinned(pin: Option<Pin>) -> Self {
        pin.map_or(Self::Any, Self::Pinned)
    }

    /// Is a connection that leads there one to take?
    #[must_use]
    pub fn admits(self, there: Pin) -> bool {
        match self {
            Self::Any | Self::New => true,
            Self::Pinned(pin) => pin.address() == there.address(),
        }
    }
}

/// Opens a stream, and says what a session that is begun on it is pinned to.
///
/// # Errors
/// `Connect`; `Gone` where the pod that keeps the session is not there any more.
pub async fn reach(
    endpoint: &Endpoint,
    tls: &Trust,
    to: To,
    deadline: Instant,
) -> Result<(Connected, Pin), WireError> {
    let now = Instant::now();
    let deadline = deadline.min(now + endpoint.connect_timeout);
    // A try that is followed by another leaves it its time.
    let half = now + deadline.saturating_duration_since(now) / 2;
    match to {
        To::Any => {}
        To::New => {
            let pods = endpoint.pods.in_turn();
            if !pods.is_empty()
                && let Ok(connected) = connect_to(&endpoint.url, &pods, tls, half).await
            {
                let pin = Pin::Pod(connected.peer);
                return Ok((connected, pin));
            }
        }
        To::Pinned(pin @ Pin::Pod(address)) => {
            if endpoint.pods.has_left(pin) {
                return Err(WireError::Gone);
            }
            let connected = connect_to(&endpoint.url, &[address], tls, deadline).await;
            return match connected {
                Ok(connected) => Ok((connected, pin)),
                // Nothing listens: what it remembered is gone, and another can serve.
                Err(error) if refuses(&error) && endpoint.pods.has_other(address) => {
                    Err(WireError::Gone)
                }
                Err(error) => Err(error.into()),
            };
        }
        To::Pinned(pin @ Pin::Address(address)) if has_name(endpoint) => {
            if let Ok(connected) = connect_to(&endpoint.url, &[address], tls, half).await {
                return Ok((connected, pin));
            }
        }
        To::Pinned(Pin::Address(_)) => {}
    }
    let connected = connect(&endpoint.url, tls, deadline).await?;
    let pin = Pin::Address(connected.peer);
    Ok((connected, pin))
}

fn refuses(error: &ConnectError) -> bool {
    error.step == Step::Connect && error.reason == ProbeReason::ConnectRefused
}

/// A host that is an address leads nowhere else.
fn has_name(endpoint: &Endpoint) -> bool {
    Origin::of(&endpoint.url).is_ok_and(|origin| matches!(origin.host, Host::Domain(_)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::pods::{PodList, Pods};

    fn endpoint(url: &str, pods: Pods) -> Endpoint {
        Endpoint {
            pods,
            ..Endpoint::plain(url)
        }
    }

    async fn pin_of(endpoint: &Endpoint, to: To) -> Result<Pin, WireError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let reached = reach(endpoint, &Trust::Machine, to, deadline).await;
        reached.map(|(_, pin)| pin)
    }

    /// T18: where a name leads elsewhere now, the session is tried there: the server knows whether it
    /// has it.
    #[tokio::test]
    async fn an_address_that_does_not_answer_gives_way_to_the_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gone = SocketAddr::from(([127, 0, 0, 2], port));
        let pinned = To::Pinned(Pin::Address(gone));

        let by_name = endpoint(&format!("http://localhost:{port}/"), Pods::default());
        let found = pin_of(&by_name, pinned).await.unwrap();
        assert!(found.address().ip().is_loopback() && found.address() != gone);
        assert!(matches!(found, Pin::Address(_)));
        let stays = To::Pinned(Pin::Address(listener.local_addr().unwrap()));
        let found = pin_of(&by_name, stays).await.unwrap();
        assert_eq!(found.address(), listener.local_addr().unwrap());
    }

    /// A new session takes each ready pod in turn, and the URL where none of them answers.
    #[tokio::test]
    async fn new_sessions_go_round_the_ready_pods() {
        let pods = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let ready = pods.iter().map(|pod| pod.local_addr().unwrap()).collect();
        let url = format!("http://{}/", pods[0].local_addr().unwrap());
        let list = PodList {
            ready,
            ..PodList::default()
        };
        let all = endpoint(&url, Pods::of(list));

        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(pin_of(&all, To::New).await.unwrap());
        }
        let [one, two] = [0, 1].map(|pod: usize| Pin::Pod(pods[pod].local_addr().unwrap()));
        assert_eq!(seen, [one, two, one, two]);

        let dead = PodList {
            ready: vec![SocketAddr::from(([127, 0, 0, 2], 1))],
            ..PodList::default()
        };
        let by_url = pin_of(&endpoint(&url, Pods::of(dead)), To::New)
            .await
            .unwrap();
        assert_eq!(by_url, Pin::Address(pods[0].local_addr().unwrap()));
    }
}
