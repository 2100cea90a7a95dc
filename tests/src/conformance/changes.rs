//! Who is told when a list or a resource changes.
//!
//! Modern clients listen on a stream of their own; legacy sessions are remembered when they open
//! and told on their standing stream.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::ResourceUpdatedNotificationParam;
use rmcp::service::{Peer, RoleServer, SubscriptionContext};
use tokio::sync::broadcast;

/// Changes that a slow listener may lag behind; more than any test makes.
const BACKLOG: usize = 64;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Tools,
    Prompts,
    Resource(String),
}

/// The listeners of one server.
#[derive(Clone, Debug)]
pub struct Changes {
    modern: broadcast::Sender<Change>,
    legacy: Arc<Mutex<Vec<Session>>>,
    tools: Arc<AtomicU32>,
    prompts: Arc<AtomicU32>,
}

/// What one legacy session subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions(Arc<Mutex<HashSet<String>>>);

#[derive(Debug)]
struct Session {
    peer: Peer<RoleServer>,
    subscriptions: Subscriptions,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            modern: broadcast::channel(BACKLOG).0,
            legacy: Arc::default(),
            tools: Arc::default(),
            prompts: Arc::default(),
        }
    }
}

impl Subscriptions {
    pub fn add(&self, uri: String) {
        locked(&self.0).insert(uri);
    }

    pub fn remove(&self, uri: &str) {
        locked(&self.0).remove(uri);
    }

    fn cover(&self, change: &Change) -> bool {
        match change {
            Change::Resource(uri) => locked(&self.0).contains(uri),
            _ => true,
        }
    }
}

impl Changes {
    /// Remembers a legacy session until its transport closes.
    pub fn remember(&self, peer: Peer<RoleServer>, subscriptions: Subscriptions) {
        let mut sessions = locked(&self.legacy);
        sessions.retain(|session| !session.peer.is_transport_closed());
        sessions.push(Session {
            peer,
            subscriptions,
        });
    }

    /// How often the tools changed: a list that is announced as changed must differ.
    #[must_use]
    pub fn tools(&self) -> u32 {
        self.tools.load(Ordering::SeqCst)
    }

    /// How often the prompts changed.
    #[must_use]
    pub fn prompts(&self) -> u32 {
        self.prompts.load(Ordering::SeqCst)
    }

    /// Makes the change and tells everybody who wants to know.
    pub async fn announce(&self, change: Change) {
        match &change {
            Change::Tools => self.tools.fetch_add(1, Ordering::SeqCst),
            Change::Prompts => self.prompts.fetch_add(1, Ordering::SeqCst),
            Change::Resource(_) => 0,
        };
        // Nobody may be listening; that is no error.
        let _ = self.modern.send(change.clone());
        let peers: Vec<Peer<RoleServer>> = locked(&self.legacy)
            .iter()
            .filter(|session| session.subscriptions.cover(&change))
            .map(|session| session.peer.clone())
            .collect();
        for peer in peers {
            let told = match &change {
                Change::Tools => peer.notify_tool_list_changed().await,
                Change::Prompts => peer.notify_prompt_list_changed().await,
                Change::Resource(uri) => {
                    let what = ResourceUpdatedNotificationParam::new(uri);
                    peer.notify_resource_updated(what).await
                }
            };
            if let Err(error) = told {
                tracing::debug!(%error, "a session is gone");
            }
        }
    }

    /// Tells one modern listener until it leaves.
    pub async fn feed(&self, listener: SubscriptionContext) {
        let mut changes = self.modern.subscribe();
        let sink = listener.sink().clone();
        loop {
            let change = tokio::select! {
                () = listener.cancelled() => return,
                change = changes.recv() => change,
            };
            let told = match change {
                Ok(Change::Tools) => sink.notify_tool_list_changed().await,
                Ok(Change::Prompts) => sink.notify_prompt_list_changed().await,
                Ok(Change::Resource(uri)) => sink.notify_resource_updated(uri).await,
                Err(_lagged) => continue,
            };
            if let Err(error) = told {
                // What the listener did not ask for is refused here, which is the point of it.
                tracing::debug!(%error, "not told");
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
