use super::*;

async fn to(url: &str, within: Duration) -> Result<Connected, ConnectError> {
    connect(
        &url.parse().unwrap(),
        &Trust::Machine,
        Instant::now() + within,
    )
    .await
}

/// R1.14: a host that answers nothing is a timeout of its own reason, in time.
#[tokio::test]
async fn a_silent_host_is_a_connect_timeout() {
    // A listener whose queue is full drops what comes: a host that is there and says nothing.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let mut filling = Vec::new();
    for _ in 0..8 {
        let pending = tokio::time::timeout(
            Duration::from_millis(100),
            TcpStream::connect(("127.0.0.1", port)),
        );
        filling.push(pending.await);
    }

    let started = Instant::now();
    let outcome = to(
        &format!("http://127.0.0.1:{port}/"),
        Duration::from_millis(300),
    )
    .await;

    let error = outcome.err().unwrap();
    assert_eq!(
        (error.reason, error.step),
        (ProbeReason::ConnectTimeout, Step::Connect)
    );
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// All addresses of a name are tried: here `localhost` may be two, and only one listens.
#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dead: SocketAddr = format!("127.0.0.2:{}", port).parse().unwrap();
    let live: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();

    let stream = dial(&[dead, live], Instant::now() + Duration::from_secs(5))
        .await
        .unwrap();

    assert_eq!(stream.peer_addr().unwrap(), live);
}

/// A backend whose node vanished is noticed within half a minute, though nobody closes anything.
#[tokio::test]
async fn a_silent_stream_is_asked_whether_it_lives() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());

    let connected = to(&url, Duration::from_secs(5)).await.unwrap();

    let Stream::Plain(tcp) = &connected.stream else {
        panic!("no TLS was asked for")
    };
    let socket = socket2::SockRef::from(tcp);
    assert!(socket.keepalive().unwrap());
    let noticed = socket.tcp_keepalive_time().unwrap()
        + socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
    assert!(noticed <= Duration::from_secs(30), "{noticed:?}");
}

/// An address is only http or https.
#[test]
fn other_schemes_are_no_address() {
    for url in ["ftp://h/", "file:///x", "mailto:a@b"] {
        let error = Origin::of(&url.parse().unwrap()).err().unwrap();
        assert_eq!(error.reason, ProbeReason::InvalidUrl, "{url}");
    }
    let origin = Origin::of(&"https://h/mcp".parse().unwrap()).unwrap();
    assert_eq!((origin.tls, origin.port), (true, 443));
}
