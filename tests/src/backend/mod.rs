//! A scriptable MCP server that misbehaves on command.
//!
//! Owns everything that stands in for a backend in a test: a [`Script`] says what a well-behaved
//! server would do (era, sessions, tools, framing), a [`Fault`] says what goes wrong now, and a
//! `Recorder` keeps what really arrived at the socket. Both may change at any moment
//! while the server runs, and the server may stop and come back on the same port. It must never
//! share code with the gateway: it is the independent side of every assertion. It is strict where
//! the specification is (headers, sessions), so that a sloppy client is found out.
//!
//! [`FaultProxy`] breaks the network in front of a real server instead.

mod answers;
mod asking;
mod call;
mod engine;
mod fault;
mod framing;
mod legacy;
mod listener;
mod modern;
mod proxy;
mod record;
mod reply;
mod script;
mod session;
mod shelf;
mod sse;
mod tasks;
mod tool;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use engine::Engine;
use listener::Listener;

pub use fault::{CallFailure, Fault};
pub use proxy::{FaultProxy, Passage, ProxyConnection};
pub use record::{ConnRecord, Recorded};
pub use script::{Era, GetStream, Logging, ReplyFormat, Script, UnknownSession};
pub use session::{SessionEnd, SessionRecord};
pub use shelf::{Item, Shelf, contents};
pub use tool::{Behaviour, Order, Over, Question, Tool};

/// How long a rebind of the same port may take.
const REBIND_DEADLINE: Duration = Duration::from_secs(5);

/// A running (or stopped) server on a loopback port that it keeps for life.
///
/// Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Backend {
    engine: Arc<Engine>,
    port: u16,
    listener: tokio::sync::Mutex<Option<Listener>>,
}

impl Backend {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(script: Script) -> anyhow::Result<Self> {
        Self::start_on(0, script).await
    }

    /// Starts on a given port; 0 takes a free one.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start_on(port: u16, script: Script) -> anyhow::Result<Self> {
        let engine = Arc::new(Engine::new(script));
        let listener = Listener::bind(port, Arc::clone(&engine)).context("bind a backend")?;
        let port = listener.port();
        Ok(Self {
            engine,
            port,
            listener: tokio::sync::Mutex::new(Some(listener)),
        })
    }

    /// A port that nothing listens on yet, for a backend that comes late: [`Backend::restart`]
    /// opens it.
    ///
    /// # Errors
    /// No free port.
    pub async fn late(script: Script) -> anyhow::Result<Self> {
        let backend = Self::start(script).await?;
        backend.stop().await;
        Ok(backend)
    }

    /// `http://127.0.0.1:PORT/mcp`, or `/sse` for a 2024-11-05 server.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "http://127.0.0.1:{}{}",
            self.port,
            self.engine.script().path()
        )
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes `fault` true for every request that begins after this returns, and replaces the
    /// earlier one. [`Fault::Refuse`] closes the port and all connections first; every other
    /// value opens the port again if it was closed.
    ///
    /// # Errors
    /// The port cannot be bound again.
    pub async fn set(&self, fault: Fault) -> anyhow::Result<()> {
        let refuse = matches!(fault, Fault::Refuse);
        self.engine.set_fault(fault);
        if refuse {
            self.close().await;
            return Ok(());
        }
        self.open().await
    }

    /// Back to good behaviour: `set(Fault::None)`.
    ///
    /// # Errors
    /// The port cannot be bound again.
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.set(Fault::None).await
    }

    /// Dies as a process does: port closed, connections closed, sessions forgotten.
    pub async fn stop(&self) {
        self.close().await;
        self.engine.sessions().forget_all();
    }

    /// Comes back on the same port without the old sessions and with the same script and fault.
    ///
    /// # Errors
    /// The port cannot be bound again.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.stop().await;
        self.open().await
    }

    /// Every connection that is open now takes no more requests, as when a server restarts
    /// gracefully; new ones are accepted.
    pub async fn leave_connections(&self) {
        if let Some(listener) = &*self.listener.lock().await {
            listener.leave();
        }
    }

    /// Forgets every session while the port and the connections stay (T8, T18).
    pub fn forget_sessions(&self) {
        self.engine.sessions().forget_all();
    }

    /// Another process has taken the place of this one, on another node: it knows no session, and
    /// nobody closed the streams of the old one.
    pub fn vanish(&self) {
        self.engine.sessions().vanish();
    }

    /// Changes the script of the running server, and tells no one.
    pub fn update(&self, change: impl FnOnce(&mut Script)) {
        self.engine.update(change);
    }

    /// Replaces the tools and sends `notifications/tools/list_changed` on every open stream.
    pub fn set_tools(&self, tools: Vec<Tool>) {
        self.engine.update(|script| script.tools = tools);
        self.engine.announce_tools_changed();
    }

    /// From now on `tool` answers with exactly these bytes as its `result`.
    pub fn set_result(&self, tool: &str, raw: impl Into<String>) {
        let raw = raw.into();
        self.engine.update(|script| {
            for known in script.tools.iter_mut().filter(|known| known.name == tool) {
                known.behaviour = Behaviour::Raw(raw.clone());
            }
        });
    }

    /// Sends `notifications/tools/list_changed` on every open stream.
    pub fn announce_tools_changed(&self) {
        self.engine.announce_tools_changed();
    }

    /// Sends a raw message on every open `subscriptions/listen`.
    pub fn say_to_listeners(&self, message: &str) {
        self.engine.say(modern::LISTENERS, message);
    }

    /// Sends a raw message on the open GET stream of one session.
    pub fn say(&self, session: &str, message: &str) {
        self.engine.say(session, message);
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn log(&self) -> Vec<Recorded> {
        self.engine.recorder().log()
    }

    /// The requests so far whose JSON-RPC method is `method` (`GET` and `DELETE` for those).
    #[must_use]
    pub fn requests(&self, method: &str) -> Vec<Recorded> {
        self.log()
            .into_iter()
            .filter(|entry| entry.method() == method)
            .collect()
    }

    /// Forgets the log and the closed connections, to look at one phase of a test alone.
    pub fn clear_log(&self) {
        self.engine.recorder().clear();
    }

    /// Every TCP connection accepted so far.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnRecord> {
        self.engine.recorder().connections()
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.connections()
            .iter()
            .filter(|conn| conn.closed.is_none())
            .count()
    }

    /// Health-check cycles seen so far, see [`Recorded::cycle`].
    #[must_use]
    pub fn cycles(&self) -> u32 {
        self.engine.recorder().cycles()
    }

    /// Sessions (or 2024-11-05 streams) that are open now.
    #[must_use]
    pub fn sessions_open(&self) -> usize {
        self.sessions()
            .iter()
            .filter(|session| session.ended.is_none())
            .count()
    }

    /// Every session ever opened here and how it ended.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionRecord> {
        self.engine.sessions().all()
    }

    async fn close(&self) {
        if let Some(listener) = self.listener.lock().await.take() {
            listener.close().await;
        }
    }

    async fn open(&self) -> anyhow::Result<()> {
        let mut slot = self.listener.lock().await;
        if slot.is_some() {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + REBIND_DEADLINE;
        loop {
            match Listener::bind(self.port, Arc::clone(&self.engine)) {
                Ok(listener) => {
                    *slot = Some(listener);
                    return Ok(());
                }
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("rebind port {}", self.port));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}
