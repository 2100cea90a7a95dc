//! A backend that says that one of its lists changed.
//!
//! Owns the way of that news to the registry, which reads the list anew and tells clients only if
//! it differs (T15). Never hands the notification to a client. Exists so that a backend that says
//! it without end floods nothing that other backends use (R4.11).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use vmcp_core::id::{BackendId, Generation};

use super::slot::Slot;
use crate::near::Near;

/// What is to be done when a list changed. Must not wait.
#[derive(Clone)]
pub struct Announcer(Arc<Announce>);

type Announce = dyn Fn(&BackendId, Generation) + Send + Sync;

/// What the standing streams of one runtime say: each session of a server hears the same, so it is
/// gathered, and told at each [`News::tell`].
#[derive(Clone, Debug, Default)]
pub struct News(Arc<Whispers>);

#[derive(Debug, Default)]
struct Whispers {
    something: AtomicBool,
    wake: Notify,
}

impl News {
    pub fn hear(&self) {
        self.0.something.store(true, Ordering::Relaxed);
        self.0.wake.notify_one();
    }

    /// Resolves when something was heard. For one listener.
    pub async fn heard(&self) {
        self.0.wake.notified().await;
    }

    /// Passes on what was heard since the last time.
    pub fn tell(&self, announcer: &Announcer, id: &BackendId, generation: Generation) {
        if self.0.something.swap(false, Ordering::Relaxed) {
            announcer.tell(id, generation);
        }
    }
}

/// The announcements of one call: the first is passed on at once, all that follow together at its
/// end.
#[derive(Debug)]
pub struct Announcements {
    of: Near<Slot>,
    heard: Heard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// And passed on.
    Once,
    /// Something changed after the first.
    Again,
}

impl Announcer {
    #[must_use]
    pub fn new(announce: impl Fn(&BackendId, Generation) + Send + Sync + 'static) -> Self {
        Self(Arc::new(announce))
    }

    pub fn tell(&self, id: &BackendId, generation: Generation) {
        (self.0)(id, generation);
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcer(..)")
    }
}

impl Announcements {
    #[must_use]
    pub fn new(of: Near<Slot>) -> Self {
        Self {
            of,
            heard: Heard::Nothing,
        }
    }

    pub fn hear(&mut self) {
        self.heard = match self.heard {
            Heard::Nothing => {
                self.of.announce();
                Heard::Once
            }
            Heard::Once | Heard::Again => Heard::Again,
        };
    }
}

/// However the call ends, its last word counts.
impl Drop for Announcements {
    fn drop(&mut self) {
        if self.heard == Heard::Again {
            self.of.announce();
        }
    }
}
