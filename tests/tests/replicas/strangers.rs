//! Who is no replica gets nothing at the peer port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{GatewayProcess, Replicas, SOON, remote, virtual_server};

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

    for path in [
        "/.vmcp/locate",
        "/.vmcp/bury",
        "/.vmcp/hand",
        "/.vmcp/graves",
    ] {
        let answer = http::get(replicas.address, path).await?;
        ensure!(answer.status == 404, "{path}: {}", answer.status);
    }
    Ok(())
}

/// A replica that has not heard yet who else there is would open every session a second time: no
/// client is sent there.
#[tokio::test]
async fn a_replica_that_does_not_know_the_others_yet_is_not_ready() -> Result<()> {
    let backend = Backend::start(Script::legacy()).await?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("objects"))?;
    std::fs::create_dir(path("keys"))?;
    std::fs::write(path("keys").join("0"), [7_u8; 32])?;
    let manifests = [
        virtual_server("local", json!({})),
        remote("a", &backend.url()),
    ];
    for (at, manifest) in manifests.iter().enumerate() {
        let file = path("objects").join(format!("{at}.json"));
        std::fs::write(file, manifest.to_string())?;
    }
    let (keys, peers) = (path("keys"), path("peers"));
    let extra = [
        "--session-keys",
        keys.to_str().context("a path")?,
        "--peers",
        peers.to_str().context("a path")?,
        "--peer-listen",
        "127.0.0.1:0",
    ];
    let gateway = GatewayProcess::from_files(&path("objects"), &extra, dir.path()).await?;
    let said = |wanted: u16, text: &'static str| {
        let admin = gateway.admin;
        eventually(text, SOON, move || async move {
            let answer = http::get(admin, "/readyz").await?;
            let fits = answer.status == wanted && answer.text().contains(text);
            ensure!(fits, "{} {}", answer.status, answer.text());
            Ok(())
        })
    };

    said(503, "other replicas are not known yet").await?;
    std::fs::write(&peers, "")?;
    said(200, "").await
}
