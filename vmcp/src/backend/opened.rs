//! An open session of traffic: where it lives, how it is reached, what it was told.
//!
//! Owns what is asked and told in it beside calls. How it is opened and ended is `opening`'s, who
//! may use it and for how long `session`'s.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use vmcp_core::jsonrpc::{self, raw};
use vmcp_core::mcp::{ProtocolVersion, method};

use super::desk::Desk;
use super::ear::{Ear, Hearing, Of, Settling};
use super::message::Answer;
use super::opening::answer_of;
use super::outgoing::{self, Last, SessionId, Voice};
use super::reach::To;
use super::session::Terms;
use super::side::Side;
use super::site::Site;
use super::sse2024::SseSession;
use super::wire::{WireError, next_id};
use crate::gateway::port::HandedSession;
use crate::pods::Pin;

/// An open session.
#[derive(Debug)]
pub struct Opened {
    pub version: ProtocolVersion,
    /// Raw capabilities of the server.
    pub server: Box<str>,
    pub way: Way,
    /// Where it lives.
    pin: Mutex<Option<Pin>>,
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
    Events(Box<SseSession>),
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

impl Opened {
    pub(super) fn new(version: ProtocolVersion, server: &str, way: Way, pin: Option<Pin>) -> Self {
        Self {
            version,
            server: server.into(),
            way,
            pin: Mutex::new(pin),
            ear: Mutex::default(),
            level: Mutex::default(),
        }
    }

    /// A session that another replica opened.
    #[must_use]
    pub fn handed(session: &HandedSession) -> Option<Self> {
        let way = Way::Http {
            id: Some(SessionId::parse(session.session.as_deref()?).ok()?),
            desk: Arc::default(),
        };
        let server = session.server_capabilities.as_deref().unwrap_or("{}");
        let opened = Self::new(session.version, server, way, session.pin);
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
                To::pinned(self.pin()),
                (self.version, id.as_ref()),
            ),
            Way::Events(stream) => stream.side.clone(),
        }
    }

    /// Where it lives, if that matters.
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was met elsewhere: its first address does not answer any more, and this one knows it.
    pub fn met_at(&self, pin: Pin) {
        let mut known = self.pin.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some() {
            *known = Some(pin);
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
            to: To::pinned(self.pin()),
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
        let to = To::pinned(self.pin());
        let (_link, mut reply) = site.exchange(to, request, &id, deadline).await?;
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
