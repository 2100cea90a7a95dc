//! What a backend says about its own lists, for as long as it says it (R4.11).
//!
//! Owns the one watch stream of a backend in this process: a GET with a session of its own where
//! the server is legacy, `subscriptions/listen` where it is modern, the stream itself where it is
//! one of 2024-11-05. Only for servers that announce
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

/// Announcements closer together than this are told as one: a server may say it without end.
const TOGETHER: Duration = Duration::from_secs(1);

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
    dialect.era == Era::Modern || dialect.sessions == SessionMode::Stateful
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
            let ended = match dialect.wire {
                Wire::StreamableHttp => legacy(&site, &session, dialect, &changed, &cancel).await,
                Wire::Sse => events(&site, &session, dialect, &changed, &cancel).await,
            };
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
    let mut teller = Teller::new(changed);
    loop {
        let next = within(Instant::now() + SILENCE, chunk(&mut body));
        let bytes = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = teller.due() => {
                teller.tell();
                continue;
            }
            bytes = next => bytes??,
        };
        let Some(bytes) = bytes else { return Ok(()) };
        decoder.push(&bytes)?;
        while let Some(event) = decoder.next_event()? {
            message::in_event(&event)?
                .iter()
                .for_each(|inbound| hear(inbound, &mut teller));
        }
    }
}

/// The stream of 2024-11-05 carries everything; the news of it is gathered by its reader.
async fn events(
    site: &Arc<Site>,
    session: &Cell,
    dialect: Dialect,
    changed: &OnChange,
    cancel: &CancellationToken,
) -> Result<(), WireError> {
    let opened = match session
        .get(site, dialect, Instant::now() + OPEN_WITHIN)
        .await
    {
        Ok(opened) => opened,
        Err(OpenError::Wire(error)) => return Err(error),
        Err(OpenError::Outcome(_) | OpenError::Ended) => return Ok(()),
    };
    let mut inbox = opened.desk().stand()?;
    let mut teller = Teller::new(changed);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = teller.due() => teller.tell(),
            () = site.news.heard() => teller.hear(),
            said = inbox.recv() => match said {
                // Nothing that is said to a session concerns a watcher.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
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
    let mut teller = Teller::new(changed);
    loop {
        let inbound = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = teller.due() => {
                teller.tell();
                continue;
            }
            inbound = reply.next(Instant::now() + SILENCE) => inbound?,
        };
        if matches!(inbound, Inbound::Response { .. }) {
            return Ok(());
        }
        hear(&inbound, &mut teller);
    }
}

/// Tells the first announcement at once and those that follow it closely as one.
struct Teller<'a> {
    changed: &'a OnChange,
    told: Option<Instant>,
    waiting: bool,
}

impl<'a> Teller<'a> {
    fn new(changed: &'a OnChange) -> Self {
        Self {
            changed,
            told: None,
            waiting: false,
        }
    }

    fn hear(&mut self) {
        match self.told {
            Some(at) if at.elapsed() < TOGETHER => self.waiting = true,
            _ => self.tell(),
        }
    }

    fn tell(&mut self) {
        self.told = Some(Instant::now());
        self.waiting = false;
        self.changed.announce();
    }

    /// Resolves when what waits is to be told.
    fn due(&self) -> impl Future<Output = ()> + use<> {
        let at = self.told.filter(|_| self.waiting).map(|at| at + TOGETHER);
        async move {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }
}

/// However the stream ends, its last word counts.
impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.tell();
        }
    }
}

fn hear(inbound: &Inbound, teller: &mut Teller<'_>) {
    let Inbound::Notification(raw) = inbound else {
        return;
    };
    if message::changes_a_list(raw) {
        teller.hear();
    }
}
