use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use vmcp_core::limits;
use vmcp_core::session::Owner;

use super::handshake::Identity;
use super::listener::Porter;
use super::{Door, Peer, Peers, Roster, SendError, Standing, listener};
use crate::lanes::Lanes;

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(20);

fn identity(pod: &str) -> Arc<Identity> {
    let own = Owner {
        pod: pod.into(),
        boot: format!("boot of {pod}").into(),
    };
    Arc::new(Identity::new(own, &[[1; 32]]))
}

/// A replica `b` that says what it was told, and `a` that knows it.
struct Pair {
    a: Peers,
    b: Arc<Identity>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn pair() -> Pair {
    pair_of(identity("a"), identity("b")).await
}

async fn pair_of(a: Arc<Identity>, b: Arc<Identity>) -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let echo = service_fn(|request: Request<Incoming>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let stop = CancellationToken::new();
    // It knows nobody: to it, everybody is a stranger.
    let porter = Porter {
        identity: Arc::clone(&b),
        door: Door::new(watch::channel(Arc::default()).1),
        meter: Arc::default(),
        lanes: Lanes::default(),
    };
    let serving = listener::serve(listener, porter, echo, stop.clone());
    let peers = [Peer {
        pod: "b".into(),
        address: address.into(),
        standing: Standing::Ready,
    }];
    let roster = Roster {
        peers: peers.into(),
        heard: true,
    };
    // The sender may go: what was said last stays.
    let (_, roster) = watch::channel(Arc::new(roster));
    Pair {
        a: Peers::new(a, roster),
        b,
        stop,
        serving: tokio::spawn(serving),
    }
}

async fn say(peers: &Peers, word: &'static str) -> Result<Bytes, SendError> {
    peers
        .ask("b", "/", Bytes::from_static(word.as_bytes()))
        .await
}

/// On one thread the listener's end of the connection hears of the stop before the request is
/// written: the moment at which closing it would leave nobody able to say whether the request was
/// served.
#[tokio::test]
async fn a_request_that_crosses_the_end_of_a_replica_is_answered() {
    let pair = pair().await;
    assert_eq!(say(&pair.a, "before").await.unwrap(), "before");

    pair.stop.cancel();
    let crossing = say(&pair.a, "crossing").await;

    assert_eq!(crossing.unwrap(), "crossing");
    assert_eq!(say(&pair.a, "after").await, Err(SendError::Unreachable));
}

/// Else each stop would wait for connections that nobody uses.
#[tokio::test]
async fn a_replica_ends_as_soon_as_the_others_know() {
    let pair = pair().await;
    assert_eq!(say(&pair.a, "before").await.unwrap(), "before");

    pair.a.part(&pair.b.own);
    pair.stop.cancel();

    assert!(
        timeout(SOON, pair.serving).await.is_ok(),
        "a connection is kept"
    );
    assert_eq!(say(&pair.a, "after").await, Err(SendError::Unreachable));
}

/// An answer that was begun before the end comes after it.
#[tokio::test]
async fn no_connection_to_a_replica_that_ends_is_kept() {
    let pair = pair().await;
    let request = Request::post("/").body(Full::new(Bytes::from_static(b"long")));
    let response = pair.a.send("b", None, request.unwrap()).await.unwrap();

    pair.a.part(&pair.b.own);
    let body = response.into_body().collect().await.unwrap();
    pair.stop.cancel();

    assert_eq!(body.to_bytes(), "long");
    assert!(
        timeout(SOON, pair.serving).await.is_ok(),
        "a connection is kept"
    );
}

/// Decision 4: in the second roll of a rotation the pods that still leave from before the first one
/// hold the oldest key alone; they are asked and answer all the same.
#[tokio::test]
async fn a_replica_that_holds_the_oldest_key_alone_is_reached() {
    let own = |pod: &str| Owner {
        pod: pod.into(),
        boot: "boot".into(),
    };
    let (new, old) = ([2; 32], [1; 32]);
    let a = Arc::new(Identity::new(own("a"), &[new, old]));
    let b = Arc::new(Identity::new(own("b"), &[old]));
    let pair = pair_of(a, b).await;

    assert_eq!(say(&pair.a, "still there?").await.unwrap(), "still there?");
    pair.stop.cancel();
    drop(pair.a);
    let _ = timeout(SOON, pair.serving).await;
}

/// Whoever opens connections and says nothing keeps no replica out.
#[tokio::test]
async fn silent_connections_do_not_shut_the_port() {
    let pair = pair().await;
    let to = pair.a.others()[0].address.parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..limits::PEER_HANDSHAKES {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(to).await.unwrap());
    }

    assert_eq!(say(&pair.a, "open?").await.unwrap(), "open?");
    pair.stop.cancel();
    drop((silent, pair.a));
    let _ = timeout(SOON, pair.serving).await;
}
