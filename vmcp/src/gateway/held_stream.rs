//! One standing stream at one backend, for as long as somebody wants it.
//!
//! Owns when it is opened, that it is opened again when it breaks (backoff, R4.4), when another set
//! of resources is wanted and when the backend is another one. Never judges what comes: that is the
//! sink's. Exists so that a client hears what a backend says outside calls, however often the
//! connection in between dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use vmcp_core::backoff::{self, Jitter};
use vmcp_core::id::{BackendName, Generation};
use vmcp_core::jsonrpc::quote;
use vmcp_core::limits;
use vmcp_core::mcp::{Era, method};

use super::failure::{no_longer_there, target};
use super::port::{
    BackendPort, KnownMeta, Origin, Repeat, SessionScope, Target, UpstreamError, UpstreamEvent,
    UpstreamListen, UpstreamRequest, UpstreamStream,
};
use super::sink::Sink;
use super::wish::{Ear, State, Wish};
use crate::near::Near;
use crate::snapshot::SnapshotReader;

/// A standing stream and what it needs to be opened again.
pub(super) struct HeldStream {
    pub port: Arc<dyn BackendPort>,
    pub snapshots: SnapshotReader,
    pub backend: BackendName,
    pub ear: Ear,
    pub wish: watch::Receiver<Wish>,
    pub state: watch::Sender<State>,
    pub sink: Sink,
}

/// A stream that stands.
pub(super) struct Stood {
    pub stream: UpstreamStream,
    pub generation: Generation,
    pub era: Era,
}

/// What there was before a stream is held.
pub(super) enum Before {
    Unknown,
    /// It stands already.
    Stands(Stood),
    /// It stood, at the replica that the session comes from.
    Stood,
}

/// Why a stream stands no more.
enum End {
    /// Nobody wants it.
    Unwanted,
    /// It broke, or the backend is another one.
    Broken,
}

/// Why there is none.
enum Refusal {
    /// Modern backends are asked about resources only, and there are none.
    NothingWanted,
    /// This generation of the backend offers no such stream (405 and the like).
    Never(Generation, UpstreamError),
    Now(UpstreamError),
}

/// Opens a standing stream once.
pub(super) async fn open(
    port: &dyn BackendPort,
    target: Near<Target>,
    ear: &Ear,
    resources: Vec<Arc<str>>,
) -> Result<UpstreamStream, UpstreamError> {
    let listen = UpstreamListen {
        target,
        scope: ear.scope.clone(),
        resources,
        client_capabilities: ear.capabilities.clone(),
        client_info: ear.info.clone(),
        client_version: ear.version,
        log_level: ear.level.now(),
        deadline: Instant::now() + limits::SUBSCRIBE,
    };
    // The port has the deadline too; this one bounds a port that forgot it.
    match timeout(limits::SUBSCRIBE * 2, port.listen(listen)).await {
        Ok(opened) => opened,
        Err(_) => Err(UpstreamError::Timeout(limits::SUBSCRIBE)),
    }
}

impl HeldStream {
    /// Until nobody wants it.
    pub(super) async fn run(mut self, before: Before) {
        let mut failures = 0;
        // A server that had such a stream before refuses it only for a session that it has lost.
        let mut proven = !matches!(before, Before::Unknown);
        let mut standing = match before {
            Before::Stands(stream) => Some(stream),
            Before::Stood | Before::Unknown => None,
        };
        loop {
            if let Some(stream) = standing.take() {
                let since = Instant::now();
                match self.follow(stream).await {
                    End::Unwanted => return,
                    End::Broken if since.elapsed() >= limits::STANDING_PROVEN => failures = 0,
                    End::Broken => failures += 1,
                }
                if !self.pause(failures, None).await {
                    return;
                }
            }
            if proven {
                self.subscribe_again().await;
            }
            match self.open().await {
                Ok(stream) => {
                    proven = true;
                    standing = Some(stream);
                }
                Err(Refusal::Never(_, error)) if proven => {
                    failures += 1;
                    if !self.refused(Refusal::Now(error), failures).await {
                        return;
                    }
                }
                Err(refusal) => {
                    failures += 1;
                    if !self.refused(refusal, failures).await {
                        return;
                    }
                }
            }
        }
    }

    /// `false`: nobody wants it.
    async fn follow(&mut self, mut stream: Stood) -> End {
        loop {
            tokio::select! {
                biased;
                () = self.sink.closed() => return End::Unwanted,
                event = stream.stream.events.recv() => match event {
                    Some(Ok(event)) => {
                        if !self.take(event).await {
                            return End::Unwanted;
                        }
                    }
                    Some(Err(_)) | None => return End::Broken,
                },
                wish = self.wish.changed() => {
                    if wish.is_err() {
                        return End::Unwanted;
                    }
                    match self.rewish(stream).await {
                        Some(again) => stream = again,
                        None => return End::Broken,
                    }
                }
                changed = self.snapshots.changed.changed() => {
                    if changed.is_err() {
                        return End::Unwanted;
                    }
                    if self.generation() != Some(stream.generation) {
                        return End::Broken;
                    }
                }
            }
        }
    }

    async fn take(&self, event: UpstreamEvent) -> bool {
        let resources = self.wish.borrow().resources.clone();
        self.sink.take(event, &resources).await
    }

    /// Other resources are wanted. A modern stream is asked for anew, and the old one is heard to
    /// its end, so that nothing is lost in between; a legacy session has one stream for all.
    async fn rewish(&mut self, mut stream: Stood) -> Option<Stood> {
        if stream.era == Era::Legacy {
            let revision = self.wish.borrow().revision;
            self.tell(revision, None, BTreeSet::new());
            return Some(stream);
        }
        match self.open().await {
            Ok(again) => {
                while let Some(Ok(event)) = stream.stream.events.recv_now() {
                    self.take(event).await;
                }
                Some(again)
            }
            Err(Refusal::NothingWanted) => None,
            // What stood before goes on standing.
            Err(Refusal::Never(..) | Refusal::Now(_)) => Some(stream),
        }
    }

    async fn open(&mut self) -> Result<Stood, Refusal> {
        // Together: what is wished for meanwhile was not tried.
        let (resources, revision) = {
            let wish = self.wish.borrow_and_update();
            let resources: Vec<_> = wish.resources.iter().cloned().collect();
            (resources, wish.revision)
        };
        let opened = self.open_for(&resources).await;
        let failure = match &opened {
            Ok(_) | Err(Refusal::NothingWanted) => None,
            Err(Refusal::Never(_, error) | Refusal::Now(error)) => Some(error.clone()),
        };
        let mut refused: BTreeSet<_> = resources.into_iter().collect();
        match &opened {
            Ok(stood) => refused.retain(|uri| !stood.stream.taken.contains(uri)),
            Err(_) => refused.clear(),
        }
        self.tell(revision, failure, refused);
        opened
    }

    async fn open_for(&self, resources: &[Arc<str>]) -> Result<Stood, Refusal> {
        let target = self.target().map_err(Refusal::Now)?;
        let generation = target.generation;
        let era = era_of(&target);
        if era == Era::Modern && resources.is_empty() {
            return Err(Refusal::NothingWanted);
        }
        match open(&*self.port, target, &self.ear, resources.to_vec()).await {
            Ok(stream) => Ok(Stood {
                stream,
                generation,
                era,
            }),
            Err(error) if is_final(&error) => Err(Refusal::Never(generation, error)),
            Err(error) => Err(Refusal::Now(error)),
        }
    }

    /// Repeats the subscriptions of a client's own session. One that was lost upstream has lost them
    /// with it, and is opened anew by this.
    async fn subscribe_again(&self) {
        let in_session = matches!(self.ear.scope, SessionScope::Client(_));
        let Ok(target) = self.target() else { return };
        if era_of(&target) == Era::Modern || !in_session {
            return;
        }
        let resources = self.wish.borrow().resources.clone();
        for uri in &resources {
            let request = Arc::new(UpstreamRequest {
                target: target.clone(),
                scope: self.ear.scope.clone(),
                origin: Origin::Gateway,
                method: method::RESOURCES_SUBSCRIBE.into(),
                params: Some(format!(r#"{{"uri":{}}}"#, quote(uri)).into()),
                known_meta: KnownMeta::Absent,
                name: None,
                client_capabilities: self.ear.capabilities.clone(),
                client_info: self.ear.info.clone(),
                client_version: self.ear.version,
                log_level: self.ear.level.now(),
                param_headers: Vec::new(),
                repeat: Repeat::Freely,
                principal: None,
                deadline: Instant::now() + limits::SUBSCRIBE,
            });
            if let Ok(mut events) = self.port.send(request).await {
                while let Some(Ok(UpstreamEvent::Notification(_))) = events.recv().await {}
            }
        }
    }

    /// Waits until another try makes sense. `false`: nobody wants it any more.
    async fn refused(&mut self, refusal: Refusal, failures: u32) -> bool {
        match refusal {
            Refusal::NothingWanted => loop {
                tokio::select! {
                    wish = self.wish.changed() => return wish.is_ok(),
                    () = self.sink.closed() => return false,
                    changed = self.snapshots.changed.changed() => {
                        if changed.is_err() || self.is_left() {
                            return false;
                        }
                    }
                }
            },
            Refusal::Never(generation, _) => self.pause(failures, Some(generation)).await,
            Refusal::Now(_) => self.pause(failures, None).await,
        }
    }

    /// Until the time has come or the backend is back; of a generation that refused for good only
    /// the next one is waited for.
    async fn pause(&mut self, failures: u32, refused_by: Option<Generation>) -> bool {
        if failures == 0 {
            return true;
        }
        let delay = match refused_by {
            None => backoff::probe_delay(failures, limits::STANDING_PROVEN, Jitter::NONE),
            Some(_) => Duration::MAX,
        };
        if self.is_left() {
            return false;
        }
        let was_there = self.target().is_ok();
        let elapsed = sleep(delay);
        tokio::pin!(elapsed);
        loop {
            tokio::select! {
                () = &mut elapsed => return true,
                wish = self.wish.changed() => return wish.is_ok(),
                () = self.sink.closed() => return false,
                changed = self.snapshots.changed.changed() => {
                    if changed.is_err() || self.is_left() {
                        return false;
                    }
                    let back = !was_there && self.target().is_ok();
                    let another = refused_by.is_some() && self.generation() != refused_by;
                    if back || another {
                        return true;
                    }
                }
            }
        }
    }

    fn tell(&self, revision: u64, failure: Option<UpstreamError>, refused: BTreeSet<Arc<str>>) {
        self.state.send_replace(State {
            revision: Some(revision),
            failure,
            refused,
        });
    }

    /// The backend was removed, and the client wants nothing of it by name: nothing of it stays
    /// (R2.8). A subscription stays until its client ends it.
    fn is_left(&self) -> bool {
        self.generation().is_none() && self.wish.borrow().resources.is_empty()
    }

    fn target(&self) -> Result<Near<Target>, UpstreamError> {
        let snapshot = self.snapshots.load();
        match snapshot.backend(&self.backend) {
            Some(view) => target(view),
            None => Err(no_longer_there()),
        }
    }

    fn generation(&self) -> Option<Generation> {
        let snapshot = self.snapshots.load();
        snapshot.backend(&self.backend).map(|view| view.generation)
    }
}

/// Legacy before the first success.
fn era_of(target: &Target) -> Era {
    target.dialect.map_or(Era::Legacy, |dialect| dialect.era)
}

/// Will this generation of the backend say the same again? Not where it is merely busy.
fn is_final(error: &UpstreamError) -> bool {
    let (UpstreamError::Protocol(failure) | UpstreamError::Unavailable(failure)) = error else {
        return false;
    };
    matches!(failure.http_status, Some(400..=499 | 501))
        && !matches!(failure.http_status, Some(408 | 425 | 429))
}
