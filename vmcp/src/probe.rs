//! `vmcp probe`: the gateway's own check, once.
//!
//! Owns the line of truth and the exit code. The check is the very function of the prober, so that a
//! person, a kubelet and the gateway never disagree (T6).

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vmcp_core::health::{Outcome, SessionMode, Wire};
use vmcp_core::mcp::Era;

use crate::backend::probe::{self, CheckReport, ProbeMemory, ProbeTarget, Want};
use crate::cli::{ProbeArgs, ProtocolArg, TransportArg};
use crate::snapshot::{Endpoint, ProtocolChoice, SessionLoss, Transport};

/// What a check says to a person and to a kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One line.
    pub line: String,
    /// 0 for healthy and for "wants a credential": whoever runs this has none, the gateway has.
    pub exit_code: u8,
}

/// Checks once.
pub async fn run(args: &ProbeArgs) -> Verdict {
    if !matches!(args.url.scheme(), "http" | "https") || args.url.host_str().is_none() {
        let line = format!("usage: {} is no http or https URL", args.url);
        return Verdict { line, exit_code: 2 };
    }
    let target = ProbeTarget {
        endpoint: Arc::new(endpoint(args)),
    };
    let memory = args.state.as_deref().map(remembered).unwrap_or_default();
    let report = probe::check(&target, memory, Want::Catalogue, args.timeout).await;
    let verdict = verdict(&report);
    match &args.state {
        Some(path) => {
            if let Err(error) = remember(path, &report.memory) {
                tracing::warn!(%error, path = %path.display(), "session not remembered");
                probe::end(&target, report.memory).await;
            }
        }
        None => probe::end(&target, report.memory).await,
    }
    verdict
}

fn endpoint(args: &ProbeArgs) -> Endpoint {
    Endpoint {
        url: args.url.clone(),
        host_header: args.host_header.as_deref().map(Into::into),
        transport: match args.transport {
            TransportArg::StreamableHttp => Transport::StreamableHttp,
            TransportArg::Sse => Transport::Sse,
        },
        protocol: match args.protocol {
            ProtocolArg::Auto => ProtocolChoice::Auto,
            ProtocolArg::Modern => ProtocolChoice::Modern,
            ProtocolArg::Legacy => ProtocolChoice::Legacy,
        },
        connect_timeout: args.timeout,
        call_timeout: args.timeout,
        session_loss: SessionLoss::default(),
        pods: crate::pods::Pods::default(),
    }
}

/// A state that cannot be read is no state: the check then begins anew.
fn remembered(path: &Path) -> ProbeMemory {
    std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn remember(path: &Path, memory: &ProbeMemory) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, serde_json::to_vec(memory)?)?;
    std::fs::rename(&draft, path)
}

fn verdict(report: &CheckReport) -> Verdict {
    let (line, exit_code) = match &report.outcome {
        Outcome::Healthy {
            latency,
            dialect,
            server,
            ..
        } => {
            let mut line = format!("ready: {}", dialect_words(dialect));
            if let Some(server) = server {
                let _ = write!(line, ", {} {}", server.name, server.version);
            }
            if let Some(catalog) = &report.catalog {
                let _ = write!(line, ", {} tools", catalog.tools.len());
            }
            let _ = write!(line, ", {}", millis(*latency));
            (line, 0)
        }
        Outcome::ListFailed { failure, .. } | Outcome::Failed(failure) => {
            (format!("unhealthy: {failure}"), 1)
        }
        Outcome::AuthRequired(failure) | Outcome::AuthFailed(failure) => {
            (format!("auth required: {failure}"), 0)
        }
        Outcome::RateLimited { retry_after } => {
            let wait = retry_after.map_or(String::new(), |wait| {
                format!(", retry in {} s", wait.as_secs())
            });
            (format!("unhealthy: RateLimited: HTTP 429{wait}"), 1)
        }
        Outcome::Cancelled => ("unhealthy: the check was cancelled".to_owned(), 1),
    };
    Verdict { line, exit_code }
}

fn dialect_words(dialect: &vmcp_core::health::Dialect) -> String {
    let era = match dialect.era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    };
    let mut words = format!("{era} {}", dialect.version.as_str());
    if dialect.wire == Wire::Sse {
        words.push_str(" sse");
    } else if dialect.era == Era::Legacy {
        words.push_str(match dialect.sessions {
            SessionMode::Stateful => " stateful",
            SessionMode::Stateless => " stateless",
        });
    }
    words
}

fn millis(latency: Duration) -> String {
    format!("{} ms", latency.as_millis())
}
