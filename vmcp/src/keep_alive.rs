//! Silence on a connection that may have nobody at its other end.
//!
//! Owns how the system is told to ask. Which silence is long enough is for whoever opened the
//! connection to say.

use std::time::Duration;

use tokio::net::TcpStream;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(5);

/// So many questions without an answer, and the connection is given up.
const TRIES: u32 = 3;

/// A node that vanishes closes nothing: only this finds out while a connection says nothing. It is
/// given up 15 s after `silence`.
///
/// # Errors
/// The system does not take it.
pub fn keep_alive(stream: &TcpStream, silence: Duration) -> std::io::Result<()> {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(silence)
        .with_interval(INTERVAL)
        .with_retries(TRIES);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}
