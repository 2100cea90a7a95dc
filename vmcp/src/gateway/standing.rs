//! What a legacy session hears outside its calls.
//!
//! Owns which standing streams a session has at backends: one at each whose session it uses, while
//! the client listens (GET), and one at each where it is subscribed to a resource. They live as
//! long as the session and never keep it alive. Changed lists are told from the snapshot, not from
//! backends.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vmcp_core::bridge::InputCapabilities;
use vmcp_core::id::BackendName;
use vmcp_core::jsonrpc;
use vmcp_core::limits;
use vmcp_core::session::Subscribed;

use super::Gateway;
use super::dialogue::{Asked, relay, withdrawal};
use super::forward::Forward;
use super::held_stream::{Before, HeldStream};
use super::legacy::declared;
use super::live::Live;
use super::message::{EndpointPath, Messages};
use super::port::{ServerRequest, SessionScope, UpstreamError};
use super::sink::Sink;
use super::watch::{Changes, Interest, Served};
use super::wills::HandedStanding;
use super::wish::{Ear, Level, State, Wish};

/// The standing streams of one session.
#[derive(Debug, Default)]
pub struct Standing {
    inner: Mutex<Inner>,
    /// They end with the session, and before what it has upstream is ended: none of them opens
    /// there what nobody would end (T7).
    streams: TaskTracker,
}

#[derive(Debug, Default)]
struct Inner {
    /// The client has opened its own stream.
    listening: bool,
    /// Legacy backends that keep a session for this client.
    used: BTreeSet<BackendName>,
    held: HashMap<BackendName, Held>,
}

#[derive(Debug)]
struct Held {
    wish: watch::Sender<Wish>,
    state: watch::Receiver<State>,
}

/// A changed wish, and where to see what became of it.
pub(super) struct Wished {
    revision: u64,
    state: watch::Receiver<State>,
}

impl Standing {
    /// Every resource that the client is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Arc<str>> {
        let inner = self.lock();
        let resources = inner.held.values().flat_map(|held| {
            let wish = held.wish.borrow();
            wish.resources.iter().cloned().collect::<Vec<_>>()
        });
        resources.collect()
    }

    /// The same, by backend.
    pub(super) fn subscribed(&self) -> Subscribed {
        self.lock().subscribed()
    }

    /// For the replica that the session moves to.
    pub(super) fn pack(&self) -> HandedStanding {
        let inner = self.lock();
        HandedStanding {
            used: inner.used.clone(),
            subscribed: inner.subscribed(),
        }
    }

    /// Resolves when no stream can open anything any more. To be awaited after the session's end.
    pub(super) async fn over(&self) {
        self.streams.close();
        self.streams.wait().await;
    }

    /// Forgets a subscription. `false`: there was none.
    fn forget(&self, uri: &str) -> bool {
        let mut inner = self.lock();
        let listening = inner.listening;
        let has = |held: &Held| held.wish.borrow().resources.contains(uri);
        let Some((backend, held)) = inner.held.iter().find(|(_, held)| has(held)) else {
            return false;
        };
        held.change(|resources| {
            resources.remove(uri);
        });
        let idle = held.wish.borrow().resources.is_empty();
        if idle && !(listening && inner.used.contains(backend)) {
            let backend = backend.clone();
            inner.held.remove(&backend);
        }
        true
    }

    /// Forgets all subscriptions; streams stay.
    pub(super) fn forget_all(&self) {
        for held in self.lock().held.values() {
            held.change(BTreeSet::clear);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn subscribed(&self) -> Subscribed {
        let subscribed = self.held.iter().map(|(backend, held)| {
            let resources = held.wish.borrow().resources.clone();
            (backend.clone(), resources)
        });
        subscribed.filter(|(_, uris)| !uris.is_empty()).collect()
    }

    /// A stream is held there. One whose backend was removed has ended.
    fn hears(&self, backend: &BackendName) -> bool {
        let held = self.held.get(backend);
        held.is_some_and(|held| !held.wish.is_closed())
    }
}

impl Held {
    fn change(&self, act: impl FnOnce(&mut BTreeSet<Arc<str>>)) -> Wished {
        let mut revision = 0;
        self.wish.send_modify(|wish| {
            act(&mut wish.resources);
            wish.revision += 1;
            revision = wish.revision;
        });
        Wished {
            revision,
            state: self.state.clone(),
        }
    }
}

impl Wished {
    /// Waits until the stream stands as wished, or does not; what of the wish the backend did not
    /// take. Bounded.
    pub(super) async fn settled(mut self) -> Result<BTreeSet<Arc<str>>, UpstreamError> {
        let revision = Some(self.revision);
        let tried = self.state.wait_for(|state| state.revision >= revision);
        match timeout(limits::SUBSCRIBE * 3, tried).await {
            Ok(Ok(state)) => match &state.failure {
                Some(failure) => Err(failure.clone()),
                None => Ok(state.refused.clone()),
            },
            // The session ended.
            Ok(Err(_)) => Ok(BTreeSet::new()),
            Err(_) => Err(UpstreamError::Timeout(limits::SUBSCRIBE)),
        }
    }
}

impl Gateway {
    /// The client listens: `events` are its own stream. It holds the session as long as it is read.
    pub(super) fn stand(
        &self,
        live: &Arc<Live>,
        path: &EndpointPath,
        events: Messages,
    ) -> Messages {
        let mut inner = live.standing.lock();
        if !std::mem::replace(&mut inner.listening, true) {
            tokio::spawn(tell_changes(
                Changes::new(
                    self.cues.clone(),
                    path.clone(),
                    Interest::ALL,
                    Served::ByOne,
                ),
                Arc::downgrade(live),
                live.ended.clone(),
                self.stopping.clone(),
            ));
            for backend in inner.used.clone() {
                self.hold_stream(live, &mut inner, &backend);
            }
        }
        drop(inner);
        let over = ended(live.ended.clone(), self.stopping.clone());
        let live = Arc::clone(live);
        let held = events.map(move |event| {
            let _session = &live;
            event
        });
        Box::pin(held.take_until(Box::pin(over)))
    }

    /// The session uses a session of this backend's.
    pub(super) fn used(&self, forward: &Forward) {
        let Some(guard) = &forward.caller.cancel else {
            return;
        };
        let keeps_session = forward
            .view
            .dialect
            .is_some_and(|dialect| super::failure::keeps_session(&dialect));
        let backend = &forward.view.id.name;
        let mut inner = guard.live.standing.lock();
        if keeps_session
            && (inner.used.insert(backend.clone()) || !inner.hears(backend))
            && inner.listening
        {
            self.hold_stream(&guard.live, &mut inner, backend);
        }
    }

    /// Adds a subscription. `None`: there are too many.
    pub(super) fn want(
        &self,
        live: &Arc<Live>,
        backend: &BackendName,
        uri: &Arc<str>,
    ) -> Option<Wished> {
        if live.standing.subscriptions().len() >= limits::SUBSCRIPTIONS {
            return None;
        }
        let mut inner = live.standing.lock();
        let held = self.hold_stream(live, &mut inner, backend);
        let wished = held.change(|resources| {
            resources.insert(Arc::clone(uri));
        });
        drop(inner);
        self.wants_anew(live);
        Some(wished)
    }

    /// Takes a subscription away. `false`: there was none.
    pub(super) fn want_no_more(&self, live: &Live, uri: &str) -> bool {
        let forgotten = live.standing.forget(uri);
        if forgotten {
            self.wants_anew(live);
        }
        forgotten
    }

    /// The session comes from another replica, and hears on.
    pub(super) fn hear_on(&self, live: &Arc<Live>, handed: HandedStanding) {
        let mut inner = live.standing.lock();
        inner.used.extend(handed.used);
        for (backend, mut resources) in handed.subscribed {
            // What its client has said here already stays.
            if let Some(held) = inner.held.get(&backend) {
                resources.extend(held.wish.borrow().resources.iter().cloned());
            }
            let wish = Wish {
                resources,
                revision: 0,
            };
            let held = self.stream(live, &backend, wish, Before::Stood);
            inner.held.insert(backend, held);
        }
    }

    /// The stream at this backend, begun if there is none.
    fn hold_stream<'a>(
        &self,
        live: &Arc<Live>,
        inner: &'a mut Inner,
        backend: &BackendName,
    ) -> &'a Held {
        if !inner.hears(backend) {
            inner.held.retain(|_, held| !held.wish.is_closed());
        }
        let entry = inner.held.entry(backend.clone());
        entry.or_insert_with(|| self.stream(live, backend, Wish::default(), Before::Unknown))
    }

    fn stream(&self, live: &Arc<Live>, backend: &BackendName, wish: Wish, before: Before) -> Held {
        let (wish, wished) = watch::channel(wish);
        let (told, state) = watch::channel(State::default());
        let stream = HeldStream {
            port: Arc::clone(&self.port),
            snapshots: self.snapshots.clone(),
            backend: backend.clone(),
            ear: ear(live),
            wish: wished,
            state: told,
            sink: Sink::Session {
                live: Arc::downgrade(live),
                ended: live.ended.clone(),
            },
        };
        let over = ended(live.ended.clone(), self.stopping.clone());
        live.standing.streams.spawn(async move {
            tokio::select! {
                biased;
                () = over => {}
                () = stream.run(before) => {}
            }
        });
        Held { wish, state }
    }
}

/// As the calls of this session present themselves: the upstream session is the same.
fn ear(live: &Arc<Live>) -> Ear {
    Ear {
        scope: SessionScope::Client(Arc::clone(&live.id)),
        capabilities: declared(live),
        info: live.claims.client_info_raw.as_deref().map(Arc::from),
        version: live.claims.protocol_version,
        level: Level::Of(Arc::downgrade(live)),
    }
}

/// Tells a session of changed lists until it ends.
async fn tell_changes(
    mut changes: Changes,
    live: std::sync::Weak<Live>,
    session_ended: CancellationToken,
    stopping: CancellationToken,
) {
    let tell = async {
        while let Some(methods) = changes.next().await {
            let Some(live) = live.upgrade() else { return };
            for method in methods {
                let message = jsonrpc::write_notification(method, None);
                live.outbox.push_standing(message.into());
            }
        }
    };
    tokio::select! {
        () = tell => {}
        () = ended(session_ended, stopping) => {}
    }
}

async fn ended(session: CancellationToken, stopping: CancellationToken) {
    tokio::select! {
        () = session.cancelled() => {}
        () = stopping.cancelled() => {}
    }
}

/// A request of a backend's outside any call, for the client of a session. One that the client
/// cannot be asked is refused as during a call; without a client that listens it is dropped, and the
/// backend is told so.
pub(super) fn ask(live: &Arc<Live>, request: ServerRequest) {
    let claims = &live.claims;
    let declared = claims.client_capabilities_raw.as_deref();
    let capabilities = InputCapabilities::declared(claims.protocol_version, declared);
    if let Err(error) = capabilities.check(&request.method, request.params.as_deref()) {
        request.answer.answer(Err(error));
        return;
    }
    let (question, pending) = live.asks.ask(&request.method, request.params.as_deref());
    if !live.outbox.push_standing(question) {
        return;
    }
    let (ended, outbox) = (live.ended.clone(), Arc::clone(&live.outbox));
    tokio::spawn(async move {
        let relayed = ended.run_until_cancelled(relay(pending, request.answer));
        if let Some(Asked {
            withdrawn: Some(id),
        }) = relayed.await
        {
            outbox.push_standing(withdrawal(&id));
        }
    });
}
