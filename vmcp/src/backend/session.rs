//! Upstream sessions of traffic.
//!
//! Owns the life of one session at a stateful legacy backend, for one client or one lease (T12).
//! Opened by the first call that needs it and by one only; ended exactly by whoever removes it.
//! Never shared between owners, never used by checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use url::Url;

use vmcp_core::health::Dialect;
use vmcp_core::id::BackendId;
use vmcp_core::mcp::{Era, ProtocolVersion};

pub use super::opened::{Opened, Way};
pub use super::opening::{CLIENT_NAME, CLIENT_VERSION, OpenError};
use super::opening::{end, open};
use super::site::Site;
use crate::gateway::port::HandedSession;

/// A handshake is short whatever the call's own deadline is.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// What a session is opened with: the client's, never ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Raw object.
    pub capabilities: Arc<str>,
    pub version: ProtocolVersion,
}

impl Terms {
    /// A modern version cannot be offered in a handshake; the latest that can is.
    #[must_use]
    pub fn new(capabilities: Option<&Arc<str>>, version: ProtocolVersion) -> Self {
        let version = match version.era() {
            Era::Legacy => version,
            Era::Modern => ProtocolVersion::LATEST_LEGACY,
        };
        Self {
            capabilities: capabilities.map_or_else(|| "{}".into(), Arc::clone),
            version,
        }
    }

    /// The client can be asked something, so that somebody must listen.
    #[must_use]
    pub fn invites_questions(&self) -> bool {
        let inside = self.capabilities.trim_start_matches('{');
        !inside.trim_start().starts_with('}')
    }
}

/// A session that is opened once, when it is first needed.
#[derive(Debug)]
pub struct Cell {
    pub terms: Terms,
    opened: OnceCell<Opened>,
    /// Another replica opened it, and nobody listens for it here yet.
    unheard: AtomicBool,
    /// In place of one that was lost: the client is to be told once.
    restarted: AtomicBool,
    ended: AtomicBool,
    /// The backend was told, or is being told.
    told: AtomicBool,
}

impl Cell {
    #[must_use]
    pub fn new(terms: &Terms) -> Arc<Self> {
        Arc::new(Self::with(terms, None))
    }

    /// In place of a session that was lost.
    #[must_use]
    pub fn restarted(terms: &Terms) -> Arc<Self> {
        let cell = Self::with(terms, None);
        cell.restarted.store(true, Ordering::Relaxed);
        Arc::new(cell)
    }

    /// A session that another replica opened. `None`: it cannot be used.
    #[must_use]
    pub fn handed(session: &HandedSession) -> Option<Arc<Self>> {
        let terms = Terms::new(session.capabilities.as_ref(), session.version);
        let opened = Opened::handed(session)?;
        let cell = Self::with(&terms, Some(opened));
        cell.restarted.store(session.restarted, Ordering::Relaxed);
        Some(Arc::new(cell))
    }

    fn with(terms: &Terms, opened: Option<Opened>) -> Self {
        Self {
            terms: terms.clone(),
            unheard: AtomicBool::new(opened.is_some()),
            restarted: AtomicBool::new(false),
            opened: OnceCell::new_with(opened),
            ended: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    /// Takes the session out of this process: it is not ended, and calls under way go on in it. One
    /// that lives in a connection of ours is lost with it. `None`: there is nothing to tell.
    #[must_use]
    pub fn hand_over(&self, backend: &BackendId, url: &Url) -> Option<HandedSession> {
        self.ended.store(true, Ordering::SeqCst);
        let restarted = self.is_restarted();
        let opened = self.opened.get();
        let session = match opened.map(|opened| &opened.way) {
            // It is only said that it is a new one.
            None if !restarted => return None,
            // The backend keeps none.
            Some(Way::Http { id: None, .. }) => return None,
            None | Some(Way::Events(_)) => None,
            Some(Way::Http { id: Some(id), .. }) => Some(id.as_str().to_owned()),
        };
        if session.is_some() && self.told.swap(true, Ordering::SeqCst) {
            return None;
        }
        if let Some(opened) = opened.filter(|_| session.is_some()) {
            opened.close_ear();
        }
        Some(HandedSession {
            backend: backend.clone(),
            url: url.clone(),
            session,
            restarted,
            pin: opened.and_then(Opened::pin),
            version: opened.map_or(self.terms.version, |opened| opened.version),
            capabilities: Some(Arc::clone(&self.terms.capabilities)),
            server_capabilities: opened.map(|opened| Arc::from(&*opened.server)),
            log_level: opened.and_then(Opened::level),
        })
    }

    /// Is the client to be told that its session began anew? Once.
    #[must_use]
    pub fn take_restarted(&self) -> bool {
        self.restarted.swap(false, Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_restarted(&self) -> bool {
        self.restarted.load(Ordering::Relaxed)
    }

    /// The session, opened if need be. Calls of one owner wait for the one that opens it; calls of
    /// others never.
    ///
    /// # Errors
    /// `Ended` once the owner ended it. Nothing is remembered of another failure: the next call
    /// tries again.
    pub async fn get(
        &self,
        site: &Arc<Site>,
        dialect: Dialect,
        deadline: Instant,
    ) -> Result<&Opened, OpenError> {
        if self.is_ended() {
            return Err(OpenError::Ended);
        }
        let deadline = deadline.min(Instant::now() + OPEN_WITHIN);
        let opened = self
            .opened
            .get_or_try_init(|| Box::pin(open(site, dialect, &self.terms, deadline)))
            .await?;
        if self.unheard.swap(false, Ordering::Relaxed) && opened.is_worth_hearing(&self.terms) {
            let _ = Box::pin(opened.listen(site)).await;
        }
        // Both sides set their flag before they look at the other's, so one of them ends it.
        if self.is_ended() {
            Box::pin(self.tell_once(opened, site)).await;
            return Err(OpenError::Ended);
        }
        Ok(opened)
    }

    /// The session as it was opened, whether or not it was ended since.
    #[must_use]
    pub fn peek(&self) -> Option<&Opened> {
        self.opened.get()
    }

    /// Both are one session at the backend.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let id = |cell: &Self| match &cell.opened.get()?.way {
            Way::Http { id, .. } => id.as_ref().map(|id| id.as_str().to_owned()),
            Way::Events(_) => None,
        };
        id(self).is_some() && id(self) == id(other)
    }

    /// Its owner let go of it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Its pod has not left, and the stream, where there is one, has not ended.
    #[must_use]
    pub fn is_usable(&self, site: &Site) -> bool {
        let Some(opened) = self.opened.get() else {
            return true;
        };
        let left = |pin| site.endpoint.pods.has_left(pin);
        match &opened.way {
            _ if opened.pin().is_some_and(left) => false,
            Way::Events(stream) => stream.is_open(),
            Way::Http { .. } => true,
        }
    }

    /// Ends the session at the backend; a failure changes nothing here (R4.3). Idempotent: the
    /// backend hears of it once.
    pub async fn end(&self, site: &Site) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(opened) = self.opened.get() {
            self.tell_once(opened, site).await;
        }
    }

    async fn tell_once(&self, opened: &Opened, site: &Site) {
        if !self.told.swap(true, Ordering::SeqCst) {
            opened.close_ear();
            end(&opened.way, opened.version, opened.pin(), site).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody need listen for a client that can be asked nothing.
    #[test]
    fn only_declared_capabilities_invite_questions() {
        let terms = |raw: &str| Terms::new(Some(&raw.into()), ProtocolVersion::V2026_07_28);

        for empty in ["{}", "{ }", "{\n}"] {
            assert!(!terms(empty).invites_questions(), "{empty}");
        }
        assert!(terms(r#"{"roots":{}}"#).invites_questions());
        assert!(terms(r#"{ "a":1}"#).invites_questions());
        assert_eq!(terms("{}").version, ProtocolVersion::LATEST_LEGACY);
        assert_eq!(
            &*Terms::new(None, ProtocolVersion::V2025_03_26).capabilities,
            "{}"
        );
    }
}
