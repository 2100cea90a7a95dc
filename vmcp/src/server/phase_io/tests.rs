//! The clocks of a connection, on paused time.

use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;

const CLOCKS: Clocks = Clocks {
    head: Duration::from_secs(5),
    idle: Duration::from_secs(120),
};

/// A client that sent the first bytes of a head, which were read.
async fn with_a_head_begun() -> (DuplexStream, Serving, PhaseIo<DuplexStream>) {
    let (mut client, server) = tokio::io::duplex(64);
    let serving = Serving::default();
    let mut io = PhaseIo::new(server, serving.clone(), CLOCKS);
    client.write_all(b"POST").await.unwrap();
    io.read_exact(&mut [0_u8; 4]).await.unwrap();
    (client, serving, io)
}

/// Slow headers are cut off (limit "header read 5 s").
#[tokio::test(start_paused = true)]
async fn a_head_that_stalls_is_cut_after_the_limit() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut io = PhaseIo::new(server, Serving::default(), CLOCKS);
    let mut buf = [0_u8; 8];

    client.write_all(b"POST").await.unwrap();
    assert_eq!(io.read(&mut buf).await.unwrap(), 4);
    let started = Instant::now();
    let error = io.read(&mut buf).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_no_head_deadline() {
    let (_client, server) = tokio::io::duplex(64);
    let mut io = PhaseIo::new(server, Serving::default(), CLOCKS);
    let mut buf = [0_u8; 8];

    let read = tokio::time::timeout(Duration::from_secs(60), io.read(&mut buf)).await;

    assert!(read.is_err(), "still waiting");
}

#[tokio::test(start_paused = true)]
async fn a_request_being_served_stops_the_head_clock() {
    let (_client, serving, mut io) = with_a_head_begun().await;
    let mut buf = [0_u8; 8];

    let _guard = serving.begin();
    let read = tokio::time::timeout(Duration::from_secs(60), io.read(&mut buf)).await;

    assert!(read.is_err(), "still waiting");
}

/// A request that was served between two reads has ended its head's clock.
#[tokio::test(start_paused = true)]
async fn an_answered_request_leaves_no_clock_on_the_idle_connection() {
    let (_client, serving, mut io) = with_a_head_begun().await;
    let mut buf = [0_u8; 8];

    drop(serving.begin());
    let read = tokio::time::timeout(Duration::from_secs(60), io.read(&mut buf)).await;

    assert!(read.is_err(), "still waiting");
}

/// Limit "idle 120 s": from the end of an answer, however long that took.
#[tokio::test(start_paused = true)]
async fn a_silent_client_is_cut_after_its_idle_time() {
    let (_client, serving, mut io) = with_a_head_begun().await;
    let mut buf = [0_u8; 8];
    let guard = serving.begin();
    let long = Duration::from_secs(300);
    let read = tokio::time::timeout(long, io.read(&mut buf)).await;
    assert!(read.is_err(), "a request is being served");

    drop(guard);
    let answered = Instant::now();
    let error = io.read(&mut buf).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(answered.elapsed().as_secs(), 120);
}

/// The next head has its own five seconds, whatever the clock was set to before.
#[tokio::test(start_paused = true)]
async fn a_later_head_is_cut_as_soon_as_the_first() {
    let (mut client, server) = tokio::io::duplex(64);
    let serving = Serving::default();
    let mut io = PhaseIo::new(server, serving.clone(), CLOCKS);
    let mut buf = [0_u8; 8];
    for _ in 0..3 {
        client.write_all(b"POST").await.unwrap();
        io.read_exact(&mut buf[..4]).await.unwrap();
        drop(serving.begin());
        let pause = Duration::from_secs(50);
        let read = tokio::time::timeout(pause, io.read(&mut buf)).await;
        assert!(read.is_err(), "still waiting");
    }

    client.write_all(b"POST").await.unwrap();
    io.read_exact(&mut buf[..4]).await.unwrap();
    let started = Instant::now();
    let error = io.read(&mut buf).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn the_version_is_told_by_bytes_that_are_read_again() {
    for (sent, version) in [
        (&b"PRI * HTTP/2.0"[..], Version::Http2),
        (b"PRINT /mcp", Version::Http1),
        (b"POST /mcp", Version::Http1),
        (b"G", Version::Http1),
        (b"PR", Version::Http1),
        (b"", Version::Http1),
    ] {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = PhaseIo::new(server, Serving::default(), CLOCKS);
        client.write_all(sent).await.unwrap();
        drop(client);

        assert_eq!(io.version().await.unwrap(), version, "{sent:?}");

        let mut read = Vec::new();
        io.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, sent);
    }
}

/// What rests holds no buffer: an empty rest of one is still all of it.
#[tokio::test]
async fn an_empty_rest_of_a_buffer_lets_the_buffer_go() {
    let (_client, server) = tokio::io::duplex(64);
    let mut io = PhaseIo::new(server, Serving::default(), CLOCKS);
    let buffer = Bytes::from(vec![0; 64]);
    let mut rest = buffer.clone();
    rest.truncate(0);
    assert!(!buffer.is_unique());

    io.go_on(Instant::now(), rest);

    assert!(buffer.is_unique());
}
