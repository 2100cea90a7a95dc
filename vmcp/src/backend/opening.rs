//! The handshake of a session of traffic, and its end.
//!
//! Owns `initialize`, `initialized`, the listening stream before the first call, and the DELETE
//! (T7). Who may use the session and for how long is `session`'s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::health::{Dialect, Wire};
use vmcp_core::jsonrpc::{self, raw};
use vmcp_core::mcp::{InitializeResult, ProtocolVersion, initialize_params, method};

use super::desk::Desk;
use super::detect::{AfterInitialize, after_initialize};
use super::ear::{Ear, Hearing, Of, Settling};
use super::link::Link;
use super::message::{Answer, Inbound};
use super::outgoing::{self, Last, SessionId, Voice};
use super::reply::Reply;
use super::session::Terms;
use super::side::Side;
use super::site::Site;
use super::sse2024::SseSession;
use super::wire::{WireError, exchange, next_id, tell};
use crate::gateway::port::HandedSession;
use crate::snapshot::Endpoint;

/// How traffic introduces itself to a backend.
pub const CLIENT_NAME: &str = "vmcp";
pub const CLIENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Ending is a courtesy; it must not hold up a removal.
const END_WITHIN: Duration = Duration::from_secs(2);

/// An open session.
#[derive(Debug)]
pub struct Opened {
    pub version: ProtocolVersion,
    /// Raw capabilities of the server.
    pub server: Box<str>,
    pub way: Way,
    ear: Mutex<Option<Ear>>,
    /// Raw JSON string that `logging/setLevel` was last sent with.
    level: Mutex<Option<Arc<str>>>,
}

/// How the session is reached.
#[derive(Debug)]
pub enum Way {
    /// `id` is `None` where the server turned out to keep none.
    Http {
        id: Option<SessionId>,
        desk: Arc<Desk>,
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

impl From<WireError> for OpenError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Opened {
    fn new(version: ProtocolVersion, server: &str, way: Way) -> Self {
        Self {
            version,
            server: server.into(),
            way,
            ear: Mutex::default(),
            level: Mutex::default(),
        }
    }

    /// A session that another replica opened.
    #[must_use]
    pub fn handed(session: &HandedSession) -> Option<Self> {
        let way = Way::Http {
            id: Some(SessionId::parse(&session.session).ok()?),
            desk: Arc::default(),
        };
        let server = session.server_capabilities.as_deref().unwrap_or("{}");
        let opened = Self::new(session.version, server, way);
        if let Some(level) = &session.log_level {
            opened.note_level(Arc::clone(level));
        }
        Some(opened)
    }

    /// The way to it beside calls.
    #[must_use]
    pub fn side(&self, site: &Site) -> Side {
        match &self.way {
            Way::Http { id, .. } => Side::legacy(
                &site.endpoint,
                &site.tls,
                &site.places,
                self.version,
                id.as_ref(),
            ),
            Way::Events(stream) => stream.side.clone(),
        }
    }

    /// The server knows it from others.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.is_events() || self.way.id().is_some()
    }

    /// All answers come on one stream (2024-11-05).
    #[must_use]
    pub fn is_events(&self) -> bool {
        matches!(self.way, Way::Events(_))
    }

    #[must_use]
    pub fn desk(&self) -> &Arc<Desk> {
        match &self.way {
            Way::Http { desk, .. } => desk,
            Way::Events(stream) => &stream.desk,
        }
    }

    /// Begins to listen to what the server says unasked, and waits a little until that stands.
    pub async fn listen(&self, site: &Arc<Site>) -> Hearing {
        let Way::Http { id: Some(id), desk } = &self.way else {
            return Hearing::Unoffered;
        };
        let of = Of {
            site: Arc::clone(site),
            desk: Arc::clone(desk),
            side: self.side(site),
            session: id.clone(),
            version: self.version,
        };
        match self.begin_to_listen(of) {
            Some(settling) => settling.settle(&site.ears).await,
            None => Hearing::Unoffered,
        }
    }

    fn begin_to_listen(&self, of: Of) -> Option<Settling> {
        let mut ear = self.ear.lock().unwrap_or_else(PoisonError::into_inner);
        if ear.as_ref().is_none_or(Ear::is_lost) {
            *ear = Ear::open(of);
        }
        ear.as_ref().map(Ear::settling)
    }

    /// May the server have something to say unasked? Log messages come there too, at many servers.
    #[must_use]
    pub fn is_worth_hearing(&self, terms: &Terms) -> bool {
        terms.invites_questions() || self.logs()
    }

    /// Nobody listens any more, and who did hears of it.
    pub fn close_ear(&self) {
        self.desk()
            .fall_silent(&WireError::Lost("the session ended".to_owned()));
        drop(
            self.ear
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// The answer to a question beside calls.
    ///
    /// # Errors
    /// What happened instead of an answer.
    pub async fn ask(
        &self,
        site: &Site,
        method: &str,
        params: Option<&str>,
        deadline: Instant,
    ) -> Result<Answer, WireError> {
        let id = match &self.way {
            Way::Events(stream) => return stream.answer(method, params, deadline).await,
            Way::Http { id, .. } => id.as_ref(),
        };
        let voice = Voice::Legacy {
            version: self.version,
            session: id,
        };
        let id = next_id();
        let body = jsonrpc::write_request(&id, method, params);
        let request = outgoing::ending(outgoing::post(&site.endpoint, voice, body)?, Last::Yes);
        let (mut link, _) = Link::dial(&site.endpoint, &site.tls, deadline).await?;
        let mut reply = exchange(&mut link, request, &id, deadline).await?;
        answer_of(&mut reply, deadline).await
    }

    /// Tells the server the log level, where it takes one and knows another. A failure changes
    /// nothing for the call.
    pub async fn tell_level(&self, site: &Site, level: &Arc<str>, deadline: Instant) {
        if !self.logs() || self.level().as_ref() == Some(level) {
            return;
        }
        let params = format!(r#"{{"level":{level}}}"#);
        let told = self.ask(site, method::LOGGING_SET_LEVEL, Some(&params), deadline);
        match told.await {
            // A level that it refuses is not offered again.
            Ok(_) => self.note_level(Arc::clone(level)),
            Err(error) => tracing::debug!(%error, "log level not told"),
        }
    }

    /// The log level that the server was told, raw.
    #[must_use]
    pub fn level(&self) -> Option<Arc<str>> {
        self.level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note_level(&self, level: Arc<str>) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// Does the server take a log level?
    fn logs(&self) -> bool {
        raw::top_level(&self.server, "logging").is_some_and(|raw| raw.starts_with('{'))
    }
}

/// Opens a session.
///
/// # Errors
/// `Wire` and `Outcome`; nothing is left behind then.
pub async fn open(
    site: &Arc<Site>,
    dialect: Dialect,
    terms: &Terms,
    deadline: Instant,
) -> Result<Opened, OpenError> {
    let opened = match dialect.wire {
        Wire::Sse => open_events(site, terms, deadline).await?,
        Wire::StreamableHttp => open_http(site, terms, deadline).await?,
    };
    if opened.is_worth_hearing(terms) {
        let _ = opened.listen(site).await;
    }
    Ok(opened)
}

async fn open_events(
    site: &Arc<Site>,
    terms: &Terms,
    deadline: Instant,
) -> Result<Opened, OpenError> {
    let stream = SseSession::open(&site.endpoint, &site.places, &site.news, deadline).await?;
    let answer = stream
        .answer(method::INITIALIZE, Some(&params(terms)), deadline)
        .await;
    let found = initialized(&answer, &site.endpoint)?;
    stream
        .notify(method::NOTIFICATION_INITIALIZED, None, deadline)
        .await?;
    let way = Way::Events(stream);
    Ok(Opened::new(found.version, &found.capabilities_raw, way))
}

async fn open_http(site: &Site, terms: &Terms, deadline: Instant) -> Result<Opened, OpenError> {
    let (endpoint, tls) = (&site.endpoint, &site.tls);
    let (mut link, _) = Link::dial(endpoint, tls, deadline).await?;
    let id = next_id();
    let body = jsonrpc::write_request(&id, method::INITIALIZE, Some(&params(terms)));
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
    let way = Way::Http {
        id: session,
        desk: Arc::default(),
    };
    let found = match initialized(&answer, endpoint) {
        Ok(found) => found,
        Err(error) => {
            // The head had named a session already: it must not stay behind (T7).
            end(&way, ProtocolVersion::LATEST_LEGACY, site).await;
            return Err(error);
        }
    };
    let link = free.then_some(link);
    if let Err(error) = tell_initialized(site, link, &way, found.version, deadline).await {
        end(&way, found.version, site).await;
        return Err(error.into());
    }
    Ok(Opened::new(found.version, &found.capabilities_raw, way))
}

/// Whatever the status: the call that follows shows whether the session works.
async fn tell_initialized(
    site: &Site,
    link: Option<Link>,
    way: &Way,
    version: ProtocolVersion,
    deadline: Instant,
) -> Result<u16, WireError> {
    let voice = Voice::Legacy {
        version,
        session: way.id(),
    };
    let body = jsonrpc::write_notification(method::NOTIFICATION_INITIALIZED, None);
    let request = outgoing::post(&site.endpoint, voice, body)?;
    let mut link = match link {
        Some(link) => link,
        None => Link::dial(&site.endpoint, &site.tls, deadline).await?.0,
    };
    tell(&mut link, outgoing::ending(request, Last::Yes), deadline).await
}

impl Way {
    #[must_use]
    pub fn id(&self) -> Option<&SessionId> {
        match self {
            Self::Http { id, .. } => id.as_ref(),
            Self::Events(_) => None,
        }
    }
}

async fn answer_of(reply: &mut Reply, deadline: Instant) -> Result<Answer, WireError> {
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

/// Ends a session at the backend. A stream ends with its connection.
pub async fn end(way: &Way, version: ProtocolVersion, site: &Site) {
    let Some(id) = way.id() else {
        return;
    };
    let deadline = Instant::now() + END_WITHIN;
    let ended = async {
        let request = outgoing::delete(&site.endpoint, version, id)?;
        let (mut link, _) = Link::dial(&site.endpoint, &site.tls, deadline).await?;
        tell(&mut link, outgoing::ending(request, Last::Yes), deadline).await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "upstream session not ended");
    }
}

fn params(terms: &Terms) -> String {
    initialize_params(
        terms.version,
        CLIENT_NAME,
        CLIENT_VERSION,
        &terms.capabilities,
    )
}
