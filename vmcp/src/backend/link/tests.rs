//! A connection that ends while a request is put on it, and one that is driven by whoever waits.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

/// Far more than it takes to notice.
const SOON: Duration = Duration::from_secs(20);

/// The one moment that matters, held still: the connection has asked for a request, and its task is
/// over before it takes one. On two threads that lasts some nanoseconds.
#[tokio::test]
async fn a_request_in_the_queue_of_a_connection_that_has_ended_was_not_sent() {
    let (stream, _other_end) = tokio::io::duplex(1_024);
    let (sender, mut connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    assert!(futures::poll!(&mut connection).is_pending());
    let one = One {
        sender,
        driven: Driven::Task(Driver(tokio::spawn(async {}))),
        _counted_in: None,
    };
    let mut link = Link {
        how: How::One(one),
        pin: Pin::Address(([127, 0, 0, 1], 1).into()),
    };
    assert!(link.is_open(), "the moment is missed");

    let request = Request::post("/").body(Full::default()).unwrap();
    let sent = timeout(SOON, link.send(request)).await;

    let sent = sent.expect("nobody answers and nobody gives it back");
    assert!(matches!(sent, Err(LinkError::Unsent)), "{sent:?}");
    drop(connection);
}

/// Larger than what one read takes, and than what lies between two halves of a connection.
const LARGE: usize = 4 * 1024 * 1024;

async fn pair() -> (Link, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let ours = ours.unwrap();
    let counted = Counted::among(&Arc::default());
    let one = One::open(Stream::Plain(ours), Some(counted)).await.unwrap();
    let link = Link {
        how: How::One(one),
        pin: Pin::Address(address),
    };
    (link, theirs.unwrap().0)
}

fn request() -> Outgoing {
    let request = Request::post("/").header("host", "h");
    request.body("{}".into()).unwrap()
}

async fn answer(theirs: &mut TcpStream, body: &[u8]) {
    let mut read = Vec::new();
    while !read.ends_with(b"{}") {
        assert!(theirs.read_buf(&mut read).await.unwrap() > 0);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    theirs.write_all(head.as_bytes()).await.unwrap();
    theirs.write_all(body).await.unwrap();
}

/// Nothing but the one who waits moves a call on, however long its body is, and the connection
/// can be used again afterwards.
#[tokio::test]
async fn a_call_is_carried_by_whoever_waits_for_it() {
    let (mut link, mut theirs) = pair().await;
    for body in [vec![b'a'; 10], vec![b'b'; LARGE], vec![b'c'; 10]] {
        let serving = answer(&mut theirs, &body);
        let asking = async {
            let response = link.send(request()).await.unwrap();
            link.until(response.into_body().collect()).await.unwrap()
        };
        let both = async { tokio::join!(serving, asking) };

        let ((), read) = timeout(SOON, both).await.unwrap();

        assert_eq!(read.to_bytes(), body);
        assert!(link.is_open());
    }
}

/// T19: a request never left if the peer had closed the idle connection before it was sent.
#[tokio::test]
async fn a_peer_that_left_is_noticed_when_the_connection_is_taken_up() {
    let (mut link, theirs) = pair().await;
    assert!(link.is_open());
    drop(theirs);

    let closed = async {
        while link.is_open() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, closed).await.unwrap();

    assert!(matches!(link.send(request()).await, Err(LinkError::Unsent)));
}

/// A peer that goes away in mid-call ends the wait of the head, and of the body.
#[tokio::test]
async fn a_connection_that_breaks_ends_every_wait() {
    let (mut link, theirs) = pair().await;
    let leave = async { drop(theirs) };
    let both = async { tokio::join!(link.send(request()), leave).0 };
    let sent = timeout(SOON, both).await.unwrap();
    assert!(sent.is_err());

    let (mut link, mut theirs) = pair().await;
    let cut = async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc";
        theirs.read_u8().await.unwrap();
        theirs.write_all(head).await.unwrap();
    };
    let both = async { tokio::join!(link.send(request()), cut).0 };
    let response = timeout(SOON, both).await.unwrap().unwrap();
    let body = timeout(SOON, link.until(response.into_body().collect()));
    assert!(body.await.unwrap().is_err());
}
