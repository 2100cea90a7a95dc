//! Real servers, started on a port and killed on drop.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::Peers;
use crate::eventually::eventually;
use crate::process::{Launch, Program};

/// Until a server answers on its port. Node and Python take 1 to 3 s on a free machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Another process may take the port between the choice and the bind.
const TRIES: u32 = 3;

/// A server that nobody here wrote, or a few lines on a library that nobody here wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The reference server, streamable HTTP: legacy, keeps sessions.
    EverythingHttp,
    /// The reference server, HTTP+SSE of 2024-11-05.
    EverythingSse,
    /// TypeScript server 2 that speaks 2026-07-28 alone: `greet`, `multiply`, `refuse`.
    ModernOnlyTs,
    /// FastMCP 1.30 without sessions, JSON replies: `count`, `repeat`.
    Stateless,
    /// supergateway without sessions in front of the reference server over stdio: a process per
    /// request, so that a request takes about a second.
    SupergatewayStateless,
    /// FastMCP 1.30 over HTTP+SSE: `shout`, `reverse`.
    SsePy1,
    /// mcp-server-time and mcp-server-git behind one stdio bridge; the URL is that of time, git is
    /// at [`PeerServer::at`] `/servers/git/mcp`.
    TimeAndGit,
    /// TypeScript server 2, 2026-07-28 alone, whose tools ask their client.
    FeaturesTs2,
    /// The same on FastMCP 1.30: the handshake, with sessions.
    FeaturesPy1,
    /// The same on Python SDK 2: both eras.
    FeaturesPy2,
    /// The same on FastMCP 4: both eras, but asks in the legacy one alone.
    FeaturesFastMcp4,
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    StreamableHttp,
    Sse,
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct PeerServer {
    pub url: String,
    pub transport: Transport,
    pub port: u16,
    program: Program,
    _folder: TempDir,
}

impl Server {
    #[must_use]
    pub fn transport(self) -> Transport {
        match self {
            Self::EverythingSse | Self::SsePy1 => Transport::Sse,
            _ => Transport::StreamableHttp,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::EverythingSse | Self::SsePy1 => "/sse",
            Self::TimeAndGit => "/servers/time/mcp",
            _ => "/mcp",
        }
    }
}

impl PeerServer {
    /// The URL of another path of the same server.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The process, for signals and its log.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }
}

impl Peers {
    /// # Errors
    /// As [`Peers::start`].
    pub async fn server_everything_http(&self) -> Result<PeerServer> {
        self.start(Server::EverythingHttp).await
    }

    /// # Errors
    /// As [`Peers::start`].
    pub async fn server_everything_sse(&self) -> Result<PeerServer> {
        self.start(Server::EverythingSse).await
    }

    /// # Errors
    /// As [`Peers::start`].
    pub async fn modern_only_ts(&self) -> Result<PeerServer> {
        self.start(Server::ModernOnlyTs).await
    }

    /// # Errors
    /// As [`Peers::start`].
    pub async fn stateless(&self) -> Result<PeerServer> {
        self.start(Server::Stateless).await
    }

    /// # Errors
    /// As [`Peers::start`].
    pub async fn sse_py1(&self) -> Result<PeerServer> {
        self.start(Server::SsePy1).await
    }

    /// # Errors
    /// As [`Peers::start`].
    pub async fn time_and_git_bridge(&self) -> Result<PeerServer> {
        self.start(Server::TimeAndGit).await
    }

    /// Starts `server` on a free port and waits until it answers there.
    ///
    /// # Errors
    /// It cannot be started, ends, or does not answer in time; the error carries its log.
    pub async fn start(&self, server: Server) -> Result<PeerServer> {
        let mut tries = 1;
        loop {
            match self.start_on(server, free_port()?).await {
                Err(_taken) if tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    /// Starts `server` on `port` and waits until it answers there.
    ///
    /// # Errors
    /// As [`Peers::start`].
    pub async fn start_on(&self, server: Server, port: u16) -> Result<PeerServer> {
        let folder = tempfile::tempdir().context("a folder for the log")?;
        let program = self.launch(server, port).start(folder.path().join("log"))?;
        eventually(
            &format!("{server:?} answers on port {port}"),
            START_DEADLINE,
            || async {
                if let Some(status) = program.exited()? {
                    return Ok(Err(anyhow::anyhow!("it ended: {status}")));
                }
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                Ok(Ok(()))
            },
        )
        .await
        .and_then(|answered| answered)
        .with_context(|| format!("last lines of {server:?}:\n{}", program.log_tail()))?;
        let url = format!("http://127.0.0.1:{port}{}", server.path());
        let transport = server.transport();
        Ok(PeerServer {
            url,
            transport,
            port,
            program,
            _folder: folder,
        })
    }

    /// The command that serves on `port`, for whoever wants to start it at a time of his own.
    #[must_use]
    pub fn launch(&self, server: Server, port: u16) -> Launch {
        let everything = self.npm_bin("mcp-server-everything");
        let number = port.to_string();
        match server {
            Server::EverythingHttp => self
                .node(everything)
                .arg("streamableHttp")
                .env("PORT", number),
            Server::EverythingSse => self.node(everything).arg("sse").env("PORT", number),
            Server::ModernOnlyTs => self
                .node(self.script("server-ts-modern.mjs"))
                .env("PORT", number),
            Server::Stateless => self
                .py1_script("server_py1_stateless.py")
                .env("PORT", number),
            Server::SsePy1 => self.py1_script("server_py1_sse.py").env("PORT", number),
            Server::FeaturesTs2 => self
                .node(self.script("server-features-ts.mjs"))
                .env("PORT", number),
            Server::FeaturesPy1 => self
                .py1_script("server_features_py1.py")
                .env("PORT", number),
            Server::FeaturesPy2 => self
                .py2_script("server_features_py2.py")
                .env("PORT", number),
            Server::FeaturesFastMcp4 => self
                .py2_script("server_features_fastmcp.py")
                .env("PORT", number),
            Server::SupergatewayStateless => {
                let node = self.folder.join("npm/node_modules/node/bin/node");
                let child = format!("{} {} stdio", node.display(), everything.display());
                self.node(self.npm_bin("supergateway"))
                    .args(["--stdio", &child, "--outputTransport", "streamableHttp"])
                    .args(["--port", &number, "--logLevel", "none"])
            }
            Server::TimeAndGit => {
                let time = self.python("py1", "mcp-server-time");
                let git = self.python("py1", "mcp-server-git");
                Launch::new(self.python("py1", "mcp-proxy"))
                    .args([
                        "--port",
                        &number,
                        "--host",
                        "127.0.0.1",
                        "--pass-environment",
                    ])
                    .args(["--named-server", "time"])
                    .arg(format!("{} --local-timezone UTC", time.display()))
                    .args(["--named-server", "git"])
                    .arg(git)
            }
        }
    }

    fn py1_script(&self, name: &str) -> Launch {
        Launch::new(self.python("py1", "python")).arg(self.script(name))
    }

    fn py2_script(&self, name: &str) -> Launch {
        Launch::new(self.python("py2", "python")).arg(self.script(name))
    }
}

fn free_port() -> Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    ensure!(port != 0, "no free port");
    Ok(port)
}
