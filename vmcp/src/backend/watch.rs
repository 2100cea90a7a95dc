//! What a backend says about its own list of tools, for as long as it says it (R4.11).
//!
//! Owns the one watch stream of a backend in this process: a GET with a session of its own where
//! the server is legacy, `subscriptions/listen` where it is modern. Only for servers that announce
//! changes; never for health, and never a reason for a verdict: when it ends, lists are read once a
//! minute as before.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use vmcp_core::health::{Dialect, SessionMode, Wire};
use vmcp_core::jsonrpc;
use vmcp_core::mcp::{Era, ProtocolVersion, meta, method};

use super::conversation::{MODERN_CAPABILITIES, client_info};
use super::link::Link;
use super::message::{self, Inbound};
use super::outgoing::{self, Voice};
use super::reply::chunk;
use super::session::{Cell, OpenError, Terms};
use super::site::Site;
use super::sse_event::Decoder;
use super::tls::Trust;
use super::wire::{WireError, exchange, exchange_stream, next_id, within};
use crate::snapshot::Endpoint;

/// Until the stream stands. Not cut short by a removal, so that no session is left behind (T7).
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// A stream that says nothing for this long may be dead without knowing: a new one is opened.
const SILENCE: Duration = Duration::from_secs(300);

/// What a modern server is asked to tell.
const INTEREST: &str = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}}"#;

/// How a watch stream ended, which says whether another is worth asking for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server offers no such stream, whatever it announces.
    Refused,
    /// Anything else.
    Broken,
}

/// Called once for each announcement. Must not wait.
#[derive(Clone)]
pub struct OnChange(Arc<dyn Fn() + Send + Sync>);

impl OnChange {
    pub fn new(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(act))
    }

    /// One announcement.
    pub fn announce(&self) {
        (self.0)();
    }
}

impl fmt::Debug for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnChange")
    }
}

/// Can a backend of this dialect be followed at all?
#[must_use]
pub fn can_follow(dialect: Dialect) -> bool {
    let speaks = dialect.era == Era::Modern || dialect.sessions == SessionMode::Stateful;
    dialect.wire == Wire::StreamableHttp && speaks
}

/// Follows a backend until its stream ends or `cancel`; then nothing of it is left there.
pub async fn follow(
    endpoint: Arc<Endpoint>,
    dialect: Dialect,
    changed: OnChange,
    cancel: CancellationToken,
) -> Ended {
    let tls = Trust::Machine;
    let ended = match dialect.era {
        Era::Modern => modern(&endpoint, &tls, dialect.version, &changed, &cancel).await,
        Era::Legacy => {
            let site = Site::new(&endpoint);
            let session = Cell::new(&Terms::new(None, ProtocolVersion::LATEST_LEGACY));
            let ended = legacy(&site, &session, dialect, &changed, &cancel).await;
            session.end(&site).await;
            ended
        }
    };
    let Err(error) = ended else {
        return Ended::Broken;
    };
    tracing::debug!(%error, "watch stream ended");
    match error.status() {
        Some(status) if is_final(status) => Ended::Refused,
        _ => Ended::Broken,
    }
}

/// Will the next stream be refused as well? Not where the server is merely busy.
const fn is_final(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 408 | 425 | 429)
}

async fn legacy(
    site: &Arc<Site>,
    session: &Cell,
    dialect: Dialect,
    changed: &OnChange,
    cancel: &CancellationToken,
) -> Result<(), WireError> {
    let deadline = Instant::now() + OPEN_WITHIN;
    let opened = match session.get(site, dialect, deadline).await {
        Ok(opened) => opened,
        Err(OpenError::Wire(error)) => return Err(error),
        Err(OpenError::Outcome(_) | OpenError::Ended) => return Ok(()),
    };
    let Some(id) = opened.way.id() else {
        return Ok(());
    };
    let voice = Voice::Legacy {
        version: opened.version,
        session: Some(id),
    };
    let (mut link, _) = Link::dial(&site.endpoint, &site.tls, deadline).await?;
    let request = outgoing::listen(&site.endpoint, voice, None)?;
    let mut body = exchange_stream(&mut link, request, deadline).await?;
    let mut decoder = Decoder::default();
    loop {
        let next = within(Instant::now() + SILENCE, chunk(&mut body));
        let bytes = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            bytes = next => bytes??,
        };
        let Some(bytes) = bytes else { return Ok(()) };
        decoder.push(&bytes)?;
        while let Some(event) = decoder.next_event()? {
            message::in_event(&event)?
                .iter()
                .for_each(|inbound| hear(inbound, changed));
        }
    }
}

async fn modern(
    endpoint: &Arc<Endpoint>,
    tls: &Trust,
    version: ProtocolVersion,
    changed: &OnChange,
    cancel: &CancellationToken,
) -> Result<(), WireError> {
    let deadline = Instant::now() + OPEN_WITHIN;
    let (mut link, _) = Link::dial(endpoint, tls, deadline).await?;
    let id = next_id();
    let listen = method::SUBSCRIPTIONS_LISTEN;
    let params = meta::modern_params(
        Some(INTEREST),
        version,
        MODERN_CAPABILITIES,
        Some(&client_info()),
    );
    let body = jsonrpc::write_request(&id, listen, Some(&params));
    let voice = Voice::Modern {
        version,
        method: listen,
        name: None,
    };
    let request = outgoing::post(endpoint, voice, body)?;
    let mut reply = exchange(&mut link, request, &id, deadline).await?;
    loop {
        let inbound = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            inbound = reply.next(Instant::now() + SILENCE) => inbound?,
        };
        if matches!(inbound, Inbound::Response { .. }) {
            return Ok(());
        }
        hear(&inbound, changed);
    }
}

fn hear(inbound: &Inbound, changed: &OnChange) {
    let Inbound::Notification(raw) = inbound else {
        return;
    };
    if message::changes_a_list(raw) {
        changed.announce();
    }
}
