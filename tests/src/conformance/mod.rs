//! A server that the official conformance suite takes for a complete one, and the suite itself.
//!
//! Owns the tools, prompts and resources that the suite's scenarios name, served through the
//! published `rmcp` crate in either era, and the runs of the suite. It must never share code with
//! the gateway: it is the yardstick. What `rmcp` leaves to its user stands in `front`.

mod changes;
mod definitions;
mod front;
#[expect(
    deprecated,
    reason = "logging, sampling and roots are deprecated, and served until they are removed"
)]
mod handler;
#[expect(
    deprecated,
    reason = "logging, sampling and roots are deprecated, and served until they are removed"
)]
mod progress;
mod resources;
mod results;
mod rounds;
mod state;
pub mod suite;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use changes::Changes;
use handler::Handler;

/// Between two comments on an idle stream.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Which revisions the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Era {
    /// The `initialize` handshake alone, up to 2025-11-25.
    Legacy,
    /// 2026-07-28 alone.
    Modern,
    /// Both.
    Dual,
}

/// Serves until the task is dropped.
///
/// # Errors
/// The listener cannot accept.
pub async fn serve(listener: TcpListener, era: Era) -> Result<()> {
    let changes = Changes::default();
    let config = StreamableHttpServerConfig::default()
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        .with_legacy_session_mode(era != Era::Modern);
    let service = StreamableHttpService::new(
        move || Ok(Handler::new(era, changes.clone())),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        let service = service.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { front::answer(era, &service, request).await }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

/// Binds `address` and says where it listens.
///
/// # Errors
/// The address is taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))
}
