//! What a backend says about its own lists, for as long as it says it (R4.11).
//!
//! Owns the one watch stream of a backend in this process: the stream of a session of its own where
//! the server is legacy (its only one: servers refuse a second GET), `subscriptions/listen` where it
//! is modern. Only for servers that announce changes; never for health, and never a reason for a
//! verdict: when it ends, lists are read once a minute as before.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use vmcp_core::health::{Dialect, SessionMode};
use vmcp_core::jsonrpc;
use vmcp_core::mcp::{Era, ProtocolVersion, meta, method};

use super::conversation::{MODERN_CAPABILITIES, client_info};
use super::ear::Hearing;
use super::link::Link;
use super::message::{self, Inbound};
use super::outgoing::{self, Voice};
use super::session::{Cell, OpenError, Terms};
use super::site::Site;
use super::tls::Trust;
use super::wire::{Refusal, WireError, exchange, next_id};
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
    let ended = match dialect.era {
        Era::Modern => modern(&endpoint, dialect.version, &changed, &cancel).await,
        Era::Legacy => {
            let site = Site::new(&endpoint);
            let session = Cell::new(&Terms::new(None, ProtocolVersion::LATEST_LEGACY));
            let ended = legacy(&site, &session, dialect, &changed, &cancel).await;
            session.end(&site).await;
            ended
        }
    };
    ended.unwrap_or_else(|error| {
        tracing::debug!(%error, "watch stream ended");
        match error {
            WireError::Refused(refusal) if is_final(&refusal) => Ended::Refused,
            _ => Ended::Broken,
        }
    })
}

/// Will the next stream be refused as well? An error of the protocol itself says so, at a modern
/// server; anything else may be the moment's (R2.3).
fn is_final(refusal: &Refusal) -> bool {
    match refusal.status {
        405 | 501 => true,
        400 | 404 => refusal.rpc_error().is_some(),
        _ => false,
    }
}

/// In a session of its own; the stream of it is held as that of any session.
async fn legacy(
    site: &Arc<Site>,
    session: &Cell,
    dialect: Dialect,
    changed: &OnChange,
    cancel: &CancellationToken,
) -> Result<Ended, WireError> {
    let opened = match session
        .get(site, dialect, Instant::now() + OPEN_WITHIN)
        .await
    {
        Ok(opened) => opened,
        Err(OpenError::Wire(error)) => return Err(error),
        Err(OpenError::Outcome(_) | OpenError::Ended) => return Ok(Ended::Broken),
    };
    let mut inbox = opened.desk().stand()?;
    if !opened.is_events() {
        match opened.listen(site).await {
            Hearing::Unoffered => return Ok(Ended::Refused),
            Hearing::Broken | Hearing::Lost => return Ok(Ended::Broken),
            Hearing::Opening | Hearing::Open => {}
        }
    }
    let mut teller = Teller::new(changed);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(Ended::Broken),
            () = teller.due() => teller.tell(),
            () = site.news.heard() => teller.hear(),
            said = inbox.recv() => match said {
                // Nothing that is said to a session concerns a watcher.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(Ended::Broken),
            },
        }
    }
}

async fn modern(
    endpoint: &Arc<Endpoint>,
    version: ProtocolVersion,
    changed: &OnChange,
    cancel: &CancellationToken,
) -> Result<Ended, WireError> {
    let deadline = Instant::now() + OPEN_WITHIN;
    let (mut link, _) = Link::dial(endpoint, &Trust::Machine, deadline).await?;
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
            () = cancel.cancelled() => return Ok(Ended::Broken),
            () = teller.due() => {
                teller.tell();
                continue;
            }
            inbound = reply.next(Instant::now() + SILENCE) => inbound?,
        };
        if matches!(inbound, Inbound::Response { .. }) {
            return Ok(Ended::Broken);
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
