//! How long backends take.
//!
//! Owns a clock around the door to the backends. Never looks at what passes.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::gateway::port::{
    BackendPort, HandedUpstream, UpstreamError, UpstreamEvents, UpstreamListen, UpstreamRequest,
    UpstreamStream,
};
use crate::snapshot::SnapshotReader;

/// A door that measures the time to the first event of each request, failures included.
#[derive(Debug)]
pub struct MeteredPort<P> {
    inner: P,
    snapshots: SnapshotReader,
}

impl<P> MeteredPort<P> {
    #[must_use]
    pub fn new(inner: P, snapshots: SnapshotReader) -> Self {
        Self { inner, snapshots }
    }
}

impl<P: BackendPort> BackendPort for MeteredPort<P> {
    fn send(
        &self,
        request: UpstreamRequest,
    ) -> BoxFuture<'static, Result<UpstreamEvents, UpstreamError>> {
        let snapshots = self.snapshots.clone();
        let id = request.target.id.clone();
        let started = Instant::now();
        let answered = self.inner.send(request);
        async move {
            let answer = answered.await;
            let snapshot = snapshots.current.load();
            if let Some(view) = snapshot.backend(&id.name).filter(|view| view.id == id) {
                view.meter.upstream(started.elapsed());
            }
            answer
        }
        .boxed()
    }

    fn listen(
        &self,
        listen: UpstreamListen,
    ) -> BoxFuture<'static, Result<UpstreamStream, UpstreamError>> {
        self.inner.listen(listen)
    }

    fn export_sessions(&self, session: &str) -> HandedUpstream {
        self.inner.export_sessions(session)
    }

    fn import_sessions(&self, session: Arc<str>, handed: HandedUpstream) -> bool {
        self.inner.import_sessions(session, handed)
    }

    fn sessions_lost(&self, session: Arc<str>) {
        self.inner.sessions_lost(session);
    }

    fn notify(&self, session: &str, method: &str, params: Option<&str>) {
        self.inner.notify(session, method, params);
    }

    fn end_session(&self, session: Arc<str>) -> BoxFuture<'static, ()> {
        self.inner.end_session(session)
    }
}
