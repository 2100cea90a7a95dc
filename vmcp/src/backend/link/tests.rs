//! A connection that ends while a request is put on it.

use std::time::Duration;

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
    let sent = tokio::time::timeout(SOON, link.send(request)).await;

    let sent = sent.expect("nobody answers and nobody gives it back");
    assert!(matches!(sent, Err(LinkError::Unsent)), "{sent:?}");
    drop(connection);
}
