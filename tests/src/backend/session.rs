//! Sessions of the legacy eras: opened, used, ended.
//!
//! Owns the list of every session ever opened, so that a test can say that none was left behind
//! (T7). For 2024-11-05 a session is an open stream and holds the sender into it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::mpsc;

use super::framing::Piece;

/// Ids are unique over all backends of a process, so that one never passes at another.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client sent DELETE.
    Deleted,
    /// The server forgot it: restart or [`super::Backend::forget_sessions`].
    Forgotten,
    /// The 2024-11-05 stream was closed.
    StreamClosed,
}

/// One session ever opened.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    pub id: String,
    /// `clientInfo.name` of its `initialize`, empty before.
    pub client_name: String,
    /// Raw JSON of the client's declared capabilities, empty before `initialize`.
    pub client_capabilities: String,
    pub opened: Instant,
    pub ended: Option<(Instant, SessionEnd)>,
    /// Requests that carried its id.
    pub requests: u32,
    /// `notifications/initialized` was received.
    pub initialized: bool,
}

#[derive(Debug)]
struct Session {
    record: SessionRecord,
    stream: Option<mpsc::Sender<Piece>>,
    /// Held by the GET stream of it.
    listening: Weak<()>,
}

/// The one GET stream of a session, as long as it is open.
pub(super) type Listening = Arc<()>;

#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Vec<Session>>);

impl Sessions {
    fn inner(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session; `stream` is the sender into its event stream (2024-11-05).
    pub(super) fn open(&self, stream: Option<mpsc::Sender<Piece>>) -> String {
        let id = format!("session-{:08}", NEXT.fetch_add(1, Ordering::Relaxed));
        let record = SessionRecord {
            id: id.clone(),
            client_name: String::new(),
            client_capabilities: String::new(),
            opened: Instant::now(),
            ended: None,
            requests: 0,
            initialized: false,
        };
        let listening = Weak::new();
        self.inner().push(Session {
            record,
            stream,
            listening,
        });
        id
    }

    /// Counts a request on a live session; false where the id names none.
    pub(super) fn touch(&self, id: &str) -> bool {
        self.with(id, |session| session.record.requests += 1)
            .is_some()
    }

    /// `None` where the session has its GET stream already.
    pub(super) fn listen(&self, id: &str) -> Option<Listening> {
        self.with(id, |session| {
            let free = session.listening.strong_count() == 0;
            free.then(|| {
                let listening = Arc::new(());
                session.listening = Arc::downgrade(&listening);
                listening
            })
        })
        .flatten()
    }

    pub(super) fn introduce(&self, id: &str, params: &serde_json::Value) {
        self.with(id, |session| {
            let name = params["clientInfo"]["name"].as_str().unwrap_or_default();
            session.record.client_name = name.to_owned();
            session.record.client_capabilities = params["capabilities"].to_string();
        });
    }

    pub(super) fn initialized(&self, id: &str) {
        self.with(id, |session| session.record.initialized = true);
    }

    pub(super) fn is_initialized(&self, id: &str) -> bool {
        self.with(id, |session| session.record.initialized)
            .unwrap_or(false)
    }

    pub(super) fn stream(&self, id: &str) -> Option<mpsc::Sender<Piece>> {
        self.with(id, |session| session.stream.clone()).flatten()
    }

    /// Every open stream of 2024-11-05.
    pub(super) fn streams(&self) -> Vec<mpsc::Sender<Piece>> {
        let sessions = self.inner();
        sessions
            .iter()
            .filter_map(|one| one.stream.clone())
            .collect()
    }

    /// False where the id names no live session.
    pub(super) fn end(&self, id: &str, how: SessionEnd) -> bool {
        self.with(id, |session| {
            session.record.ended = Some((Instant::now(), how));
            session.stream = None;
        })
        .is_some()
    }

    pub(super) fn forget_all(&self) {
        let now = Instant::now();
        for session in self
            .inner()
            .iter_mut()
            .filter(|session| session.record.ended.is_none())
        {
            session.record.ended = Some((now, SessionEnd::Forgotten));
            session.stream = None;
        }
    }

    /// As [`Sessions::forget_all`], but whoever listens hears nothing of it.
    pub(super) fn vanish(&self) {
        let now = Instant::now();
        for session in self.inner().iter_mut() {
            let end = (now, SessionEnd::Forgotten);
            session.record.ended.get_or_insert(end);
        }
    }

    pub(super) fn all(&self) -> Vec<SessionRecord> {
        self.inner()
            .iter()
            .map(|session| session.record.clone())
            .collect()
    }

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut sessions = self.inner();
        let found = sessions
            .iter_mut()
            .find(|session| session.record.id == id && session.record.ended.is_none());
        found.map(act)
    }
}
