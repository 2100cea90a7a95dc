//! Upstream sessions of traffic.
//!
//! Owns the opening and the ending of one session at a stateful legacy backend, for one client or
//! one lease (T12). Opened by the first call that needs it and by one only; ended exactly by
//! whoever removes it. Never shared between owners, never used by checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use vmcp_core::health::{Dialect, Wire};
use vmcp_core::jsonrpc;
use vmcp_core::mcp::{InitializeResult, ProtocolVersion, initialize_params, method};

use super::detect::{AfterInitialize, after_initialize};
use super::link::Link;
use super::message::{Answer, Inbound};
use super::outgoing::{self, Last, SessionId, Voice};
use super::sse2024::SseSession;
use super::tls::Trust;
use super::wire::{WireError, exchange, next_id, tell};
use crate::snapshot::Endpoint;

/// How traffic introduces itself to a backend.
pub const CLIENT_NAME: &str = "vmcp";
pub const CLIENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// No client stands behind a server's request yet, so none is invited.
const CAPABILITIES: &str = "{}";

/// A handshake is short whatever the call's own deadline is.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Ending is a courtesy; it must not hold up a removal.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A session that is opened once, when it is first needed.
#[derive(Debug, Default)]
pub struct Cell {
    opened: OnceCell<Opened>,
    ended: AtomicBool,
    /// The backend was told, or is being told.
    told: AtomicBool,
}

/// An open session.
#[derive(Debug)]
pub enum Opened {
    /// `id` is `None` where the server turned out to keep none.
    Http {
        id: Option<SessionId>,
        version: ProtocolVersion,
    },
    Events(SseSession),
}

/// Why there is no session.
#[derive(Debug)]
pub enum OpenError {
    Wire(WireError),
    /// An answer, and not the one that was needed.
    Outcome(Box<vmcp_core::health::Outcome>),
    /// The owner is gone.
    Ended,
}

impl Cell {
    /// The session, opened if need be. Calls of one owner wait for the one that opens it; calls of
    /// others never.
    ///
    /// # Errors
    /// `Ended` once the owner ended it. Nothing is remembered of another failure: the next call
    /// tries again.
    pub async fn get(
        &self,
        endpoint: &Arc<Endpoint>,
        tls: &Trust,
        dialect: Dialect,
        deadline: Instant,
    ) -> Result<&Opened, OpenError> {
        if self.is_ended() {
            return Err(OpenError::Ended);
        }
        let deadline = deadline.min(Instant::now() + OPEN_WITHIN);
        let opened = self
            .opened
            .get_or_try_init(|| open(endpoint, tls, dialect, deadline))
            .await?;
        // Both sides set their flag before they look at the other's, so one of them ends it.
        if self.is_ended() {
            self.tell_once(opened, endpoint, tls).await;
            return Err(OpenError::Ended);
        }
        Ok(opened)
    }

    /// The session as it was opened, whether or not it was ended since.
    #[must_use]
    pub fn peek(&self) -> Option<&Opened> {
        self.opened.get()
    }

    /// Its owner let go of it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The stream, where there is one, has not ended.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match self.opened.get() {
            Some(Opened::Events(stream)) => stream.is_open(),
            _ => true,
        }
    }

    /// Ends the session at the backend; a failure changes nothing here (R4.3). Idempotent: the
    /// backend hears of it once.
    pub async fn end(&self, endpoint: &Endpoint, tls: &Trust) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(opened) = self.opened.get() {
            self.tell_once(opened, endpoint, tls).await;
        }
    }

    async fn tell_once(&self, opened: &Opened, endpoint: &Endpoint, tls: &Trust) {
        if !self.told.swap(true, Ordering::SeqCst) {
            end(opened, endpoint, tls).await;
        }
    }
}

async fn open(
    endpoint: &Arc<Endpoint>,
    tls: &Trust,
    dialect: Dialect,
    deadline: Instant,
) -> Result<Opened, OpenError> {
    match dialect.wire {
        Wire::Sse => open_events(endpoint, deadline).await,
        Wire::StreamableHttp => open_http(endpoint, tls, deadline).await,
    }
}

async fn open_events(endpoint: &Arc<Endpoint>, deadline: Instant) -> Result<Opened, OpenError> {
    let stream = SseSession::open(endpoint, deadline).await?;
    let answer = stream
        .answer(method::INITIALIZE, Some(&params()), deadline)
        .await;
    initialized(&answer, endpoint)?;
    stream
        .notify(method::NOTIFICATION_INITIALIZED, None, deadline)
        .await?;
    Ok(Opened::Events(stream))
}

async fn open_http(
    endpoint: &Arc<Endpoint>,
    tls: &Trust,
    deadline: Instant,
) -> Result<Opened, OpenError> {
    let (mut link, _) = Link::dial(endpoint, tls, deadline).await?;
    let id = next_id();
    let body = jsonrpc::write_request(&id, method::INITIALIZE, Some(&params()));
    let request = outgoing::post(endpoint, Voice::Plain, body).map_err(WireError::from)?;
    let mut session = None;
    let answer = async {
        let mut reply = exchange(&mut link, request, &id, deadline).await?;
        session.clone_from(&reply.session);
        let answer = answer_of(&mut reply, deadline).await?;
        let free = reply.finish().await;
        Ok((answer, free))
    }
    .await;
    let (answer, free) = match answer {
        Ok((answer, free)) => (Ok(answer), free),
        Err(error) => (Err(error), false),
    };
    let opened = match initialized(&answer, endpoint) {
        Ok(found) => Opened::Http {
            id: session,
            version: found.version,
        },
        Err(error) => {
            // The head had named a session already: it must not stay behind (T7).
            end(
                &Opened::Http {
                    id: session,
                    version: ProtocolVersion::LATEST_LEGACY,
                },
                endpoint,
                tls,
            )
            .await;
            return Err(error);
        }
    };
    if let Opened::Http { id, version } = &opened {
        let voice = Voice::Legacy {
            version: *version,
            session: id.as_ref(),
        };
        let body = jsonrpc::write_notification(method::NOTIFICATION_INITIALIZED, None);
        let request = outgoing::post(endpoint, voice, body).map_err(WireError::from)?;
        let mut link = if free {
            link
        } else {
            Link::dial(endpoint, tls, deadline).await?.0
        };
        // Whatever the status: the call that follows shows whether the session works.
        if let Err(error) = tell(&mut link, outgoing::ending(request, Last::Yes), deadline).await {
            end(&opened, endpoint, tls).await;
            return Err(error.into());
        }
    }
    Ok(opened)
}

async fn answer_of(
    reply: &mut super::reply::Reply,
    deadline: Instant,
) -> Result<Answer, WireError> {
    loop {
        if let Inbound::Response { answer, .. } = reply.next(deadline).await? {
            return Ok(answer);
        }
    }
}

fn initialized(
    answer: &Result<Answer, WireError>,
    endpoint: &Endpoint,
) -> Result<InitializeResult, OpenError> {
    if let Err(error) = answer {
        return Err(OpenError::Wire(error.clone()));
    }
    match after_initialize(answer, &endpoint.url) {
        AfterInitialize::Legacy(found) => Ok(*found),
        AfterInitialize::MaybeEvents(outcome)
        | AfterInitialize::NotLegacy(outcome)
        | AfterInitialize::Stop(outcome) => Err(OpenError::Outcome(Box::new(outcome))),
    }
}

async fn end(opened: &Opened, endpoint: &Endpoint, tls: &Trust) {
    let Opened::Http {
        id: Some(id),
        version,
    } = opened
    else {
        // A stream ends with its connection.
        return;
    };
    let deadline = Instant::now() + END_WITHIN;
    let ended = async {
        let request = outgoing::ending(outgoing::delete(endpoint, *version, id)?, Last::Yes);
        let (mut link, _) = Link::dial(endpoint, tls, deadline).await?;
        tell(&mut link, request, deadline).await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "upstream session not ended");
    }
}

fn params() -> String {
    initialize_params(
        ProtocolVersion::LATEST_LEGACY,
        CLIENT_NAME,
        CLIENT_VERSION,
        CAPABILITIES,
    )
}

impl From<WireError> for OpenError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}
