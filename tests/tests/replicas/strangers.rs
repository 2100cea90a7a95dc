//! Who is no replica gets nothing at the peer port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::Replicas;

use crate::kit::{echo, text};

/// The peer port answers nobody who has not proven the session key, not even with an error.
#[tokio::test]
async fn a_stranger_at_the_peer_port_is_told_nothing() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x", "y"]).await?;
    let x = replicas.replica("x")?;
    let peer = x.peer.context("no peer port")?;
    let client = LegacyClient::open(x.listen).await?;

    let plain = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\nmcp-session-id: {}\r\ncontent-length: 0\r\n\r\n",
        client.session
    );
    let hello = br#"{"key":"AAAAAAAAAAA","nonce":"AA","owner":{"p":"y","b":"z"}}"#;
    let mut framed = u16::try_from(hello.len())?.to_be_bytes().to_vec();
    framed.extend_from_slice(hello);
    for said in [plain.as_bytes(), &framed] {
        let mut stream = TcpStream::connect(peer).await?;
        stream.write_all(said).await?;
        let mut heard = Vec::new();
        // Closed, with or without a reset; within the deadline of the handshake.
        let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut heard)).await?;
        ensure!(heard.is_empty(), "{:?}", String::from_utf8_lossy(&heard));
    }

    ensure!(text(&client.call("a_echo", echo("still")).await?) == "still");
    Ok(())
}

/// The replicas' own questions are not reachable through the clients' port.
#[tokio::test]
async fn a_client_cannot_ask_what_replicas_ask() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let replicas = Replicas::start(&[("a", backend.url())], json!({}), &["x"]).await?;

    for path in ["/.vmcp/locate", "/.vmcp/bury", "/.vmcp/hand"] {
        let answer = http::get(replicas.address, path).await?;
        ensure!(answer.status == 404, "{path}: {}", answer.status);
    }
    Ok(())
}
