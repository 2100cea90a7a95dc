//! A stream whose reader hears what the server said last.
//!
//! Owns one thing: a write that the server no longer takes does not hide what it sent before. A
//! server that goes away says up to where it processed requests and closes; requests on their way
//! then meet a reset, and HTTP/2 would give up on the failed write with that word unread (T19). So
//! writes into the void succeed, and the end comes from reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub struct LastWords<S> {
    stream: S,
    /// The server takes nothing any more.
    deaf: bool,
}

impl<S> LastWords<S> {
    pub const fn of(stream: S) -> Self {
        Self {
            stream,
            deaf: false,
        }
    }
}

fn is_deafness(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        match ready!(Pin::new(&mut this.stream).poll_write(cx, buf)) {
            Err(error) if is_deafness(&error) => {
                this.deaf = true;
                // Whoever reads may have been told to wait.
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(buf.len()))
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut this.stream).poll_flush(cx)) {
            Err(error) if is_deafness(&error) => {
                this.deaf = true;
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(()))
            }
            flushed => Poll::Ready(flushed),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// T19: a server that closes on unread bytes resets the connection; what it said is read all
    /// the same, and then the end.
    #[tokio::test]
    async fn what_was_said_last_is_heard_after_a_reset() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = LastWords::of(TcpStream::connect(address).await.unwrap());
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"unread").await.unwrap();
        server.write_all(b"farewell").await.unwrap();
        server.readable().await.unwrap();
        drop(server);

        while !client.deaf {
            client.write_all(b"more").await.unwrap();
            tokio::task::yield_now().await;
        }
        client.flush().await.unwrap();

        let mut said = [0; 8];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"farewell");
        assert!(matches!(client.read(&mut said).await, Ok(0) | Err(_)));
    }
}
