//! TLS towards backends: verified, and its failures told by step.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use vmcp::backend::connect::{Stream, connect};
use vmcp::backend::probe::Want;
use vmcp::backend::tls::Trust;
use vmcp_core::health::{ProbeReason, Step};
use vmcp_tests::backend::{Backend, Script};

use crate::kit::{PATIENCE, Prober, failure};

/// A TLS server with a certificate of its own making, and the roots that trust it.
async fn server() -> Result<(u16, RootCertStore)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let config = Arc::new(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream, Arc::clone(&config)));
        }
    });
    Ok((port, roots))
}

/// Handshakes with rustls itself, so that no further crate is needed, and closes.
async fn echo(mut tcp: tokio::net::TcpStream, config: Arc<rustls::ServerConfig>) -> Result<()> {
    let mut connection = rustls::ServerConnection::new(config)?;
    let mut inbound = vec![0; 16 * 1024];
    loop {
        let mut outbound = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut outbound)?;
        }
        tcp.write_all(&outbound).await?;
        let read = tcp.read(&mut inbound).await?;
        if read == 0 {
            return Ok(());
        }
        let mut bytes = &inbound[..read];
        while !bytes.is_empty() {
            connection.read_tls(&mut bytes)?;
            connection
                .process_new_packets()
                .context("the client's bytes")?;
        }
    }
}

/// A trusted certificate for the right name gives a stream, with a duration for each step.
#[tokio::test]
async fn a_trusted_server_is_connected_to() -> Result<()> {
    let (port, roots) = server().await?;
    let url = format!("https://localhost:{port}/mcp").parse()?;

    let connected = connect(&url, &Trust::only(roots)?, Instant::now() + PATIENCE).await?;

    assert!(matches!(connected.stream, Stream::Tls(_)));
    assert!(connected.timings.dns.is_some() && connected.timings.connect.is_some());
    assert!(connected.timings.tls.is_some());
    Ok(())
}

/// R2.2: a certificate of an unknown issuer, and one for another name, fail at the step TLS.
#[tokio::test]
async fn an_untrusted_or_misnamed_certificate_is_refused() -> Result<()> {
    let (port, roots) = server().await?;
    let by_address = format!("https://127.0.0.1:{port}/mcp").parse()?;

    let misnamed = connect(&by_address, &Trust::only(roots)?, Instant::now() + PATIENCE).await;
    let error = misnamed
        .err()
        .context("a certificate for another name was accepted")?;
    assert_eq!(
        (error.reason, error.step),
        (ProbeReason::TlsFailed, Step::Tls)
    );

    let report = Prober::new(&format!("https://localhost:{port}/mcp"))
        .cycle(Want::Liveness)
        .await;
    let failure = failure(&report.outcome);
    assert_eq!(
        (failure.reason, failure.step),
        (ProbeReason::TlsFailed, Step::Tls)
    );
    Ok(())
}

/// R1.14: a plain server behind an https URL is a TLS failure, and a silent one is one in time.
#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() -> Result<()> {
    let plain = Backend::start(Script::legacy()).await?;
    let url = plain.url().replace("http://", "https://");
    let report = Prober::new(&url).cycle(Want::Liveness).await;
    assert_eq!(failure(&report.outcome).reason, ProbeReason::TlsFailed);

    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://{}/mcp", silent.local_addr()?);
    let started = std::time::Instant::now();
    let report = Prober::new(&url)
        .cycle_within(Want::Liveness, Duration::from_millis(400))
        .await;
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(failure(&report.outcome).reason, ProbeReason::TlsFailed);
    Ok(())
}
