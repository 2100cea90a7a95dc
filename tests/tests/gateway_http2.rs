//! HTTP/2 through a gateway process, as servers behind TLS agree on it (ALPN).

use std::path::Path;
use std::sync::Arc;

use ::http::Version;
use anyhow::{Result, ensure};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use vmcp_tests::backend::{Backend, Script};
use vmcp_tests::eventually::eventually;
use vmcp_tests::http::{self, LegacyClient};
use vmcp_tests::stack::{GatewayProcess, SOON, remote, virtual_server};

const CALLS: usize = 30;

/// TLS in front of a backend that offers these protocols; the URL, and the certificate for `roots`.
async fn encrypted(backend: &Backend, protocols: &[&str], roots: &Path) -> Result<String> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(roots, made.cert.pem())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}/mcp", listener.local_addr()?.port());
    let target = backend.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut target = TcpStream::connect(("127.0.0.1", target)).await?;
                copy_bidirectional(&mut stream, &mut target).await
            });
        }
    });
    Ok(url)
}

async fn gateway(url: &str, roots: &Path, dir: &Path) -> Result<GatewayProcess> {
    let objects = dir.join("objects");
    std::fs::create_dir(&objects)?;
    for manifest in [virtual_server("local", json!({})), remote("one", url)] {
        let kind = manifest["kind"].as_str().unwrap_or_default();
        std::fs::write(objects.join(format!("{kind}.json")), manifest.to_string())?;
    }
    let gateway = GatewayProcess::trusting(Some(roots), &objects, &[], dir).await?;
    eventually("the backend is ready", SOON, || async {
        let status = http::get(gateway.admin, "/status").await?.json()?;
        ensure!(status["phase"] == json!("Ready"), "{status}");
        Ok(())
    })
    .await?;
    Ok(gateway)
}

/// Where the server takes HTTP/2, calls share a connection and checks have their own, new each time
/// (R2.2); where it does not, HTTP/1.1 is spoken. Sessions, streams and results are the same.
#[tokio::test]
async fn the_server_chooses_the_http_of_its_calls() -> Result<()> {
    for (protocols, spoken) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        for script in [Script::legacy().with_get_stream(), Script::modern()] {
            let dir = tempfile::tempdir()?;
            let backend = Backend::start(script).await?;
            let roots = dir.path().join("roots.pem");
            let url = encrypted(&backend, protocols, &roots).await?;
            let gateway = gateway(&url, &roots, dir.path()).await?;
            let client = LegacyClient::open(gateway.listen).await?;
            let first = client.call("one_echo", json!({ "text": "first" })).await?;
            ensure!(first["result"].is_object(), "{first}");

            let mut calls = JoinSet::new();
            for number in 0..CALLS {
                let client = client.clone();
                calls.spawn(async move {
                    client.call("one_slow", json!({ "ms": 300 })).await?;
                    let text = format!("t{number}");
                    let answer = client.call("one_echo", json!({ "text": text })).await?;
                    ensure!(
                        answer.to_string().contains(&format!("\"{text}\"")),
                        "{answer}"
                    );
                    Ok(())
                });
            }
            while let Some(done) = calls.join_next().await {
                done??;
            }

            let log = backend.log();
            for request in &log {
                ensure!(request.version == spoken, "{protocols:?}: {request:?}");
            }
            let of = |call: bool| {
                let requests = log.iter();
                let chosen = requests.filter(|one| (one.method() == "tools/call") == call);
                let mut connections: Vec<_> = chosen.map(|one| one.connection).collect();
                connections.sort_unstable();
                connections.dedup();
                connections
            };
            let (calls, others) = (of(true), of(false));
            ensure!(
                calls.iter().all(|one| !others.contains(one)),
                "shared with checks"
            );
            match spoken {
                // Another one where the first had been idle for long before the others began.
                Version::HTTP_2 => ensure!(calls.len() <= 2, "{calls:?}"),
                _ => ensure!(calls.len() >= CALLS / 2, "{calls:?}"),
            }
        }
    }
    Ok(())
}
