//! Writing the report into the live object.
//!
//! Owns when (the pacer says so) and against what (the newest object known). Never writes onto an
//! object of another UID: the API server would take it without a word.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use vmcp_core::report::{Pacer, PublishDecision, Report, ReportedBackend};
use vmcp_core::time::Tick;
use vmcp_crds::{MCPServer, VirtualMCPServer, labels};

use super::published::{fitted, published};
use super::{ApiError, StatusWriter, api, fields, strays};

/// Pause after a write that failed for another reason than a conflict.
const RETRY: Duration = Duration::from_secs(2);

/// Nothing is due: everything that could change that wakes us.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Publisher {
    gateways: Api<VirtualMCPServer>,
    servers: Api<MCPServer>,
    writer: StatusWriter,
    holding: watch::Receiver<bool>,
    pacer: Pacer,
    /// Newer than the watch: the answer to our last write, or what a conflict made us read.
    newer: Option<Arc<VirtualMCPServer>>,
    /// (name, UID) of the entries in our last write.
    written: BTreeSet<(String, String)>,
    /// Entries whose MCPServer is gone although discovery has not noticed yet.
    gone: BTreeSet<(String, String)>,
}

impl Publisher {
    pub(super) fn new(writer: StatusWriter, holding: watch::Receiver<bool>) -> Self {
        let namespace = &writer.identity.namespace;
        Self {
            gateways: Api::namespaced(writer.client.clone(), namespace),
            servers: Api::namespaced(writer.client.clone(), namespace),
            pacer: Pacer::new(writer.clock.now()),
            newer: None,
            written: BTreeSet::new(),
            gone: BTreeSet::new(),
            holding,
            writer,
        }
    }

    /// Writes until cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut changed = self.writer.snapshots.changed.clone();
        let mut live = self.writer.live.clone();
        let mut holding = self.holding.clone();
        loop {
            let wait = self.turn().await;
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                Ok(()) = changed.changed() => {}
                Ok(()) = live.changed() => {}
                Ok(()) = holding.changed() => {}
            }
        }
    }

    /// Looks whether a write is due and makes it; returns how long there is nothing to do.
    async fn turn(&mut self) -> Duration {
        if !*self.holding.borrow() {
            return IDLE;
        }
        let Some(live) = self.live() else { return IDLE };
        let snapshot = self.writer.snapshots.load();
        if !snapshot.configured || live.metadata.uid.as_deref() != Some(&*snapshot.uid) {
            return IDLE;
        }
        let now = self.writer.clock.now();
        let current = self.without_gone(fitted(&live, Report::clone(&snapshot.report)));
        let old = published(&live, &current);
        if !snapshot.first_round_done && old.is_some() {
            // What the writer before us published is truer than "not known yet".
            return IDLE;
        }
        match self.pacer.due(old.as_ref(), &current, now) {
            PublishDecision::Nothing => IDLE,
            PublishDecision::At(at) => at.since(now).max(Duration::from_millis(1)),
            PublishDecision::Now => self.write(&live, current, now).await,
        }
    }

    async fn write(&mut self, live: &VirtualMCPServer, current: Report, now: Tick) -> Duration {
        self.pacer.wrote(now);
        let written = match self.still_there(live, current).await {
            Ok(current) => self.apply(live, &current, now).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Duration::ZERO,
            Err(error) if error.is_conflict() => match self.read_again().await {
                Ok(()) => Duration::ZERO,
                Err(error) => put_off(&error),
            },
            Err(error) if error.is_not_found() => IDLE,
            Err(error) => put_off(&error),
        }
    }

    async fn apply(
        &mut self,
        live: &VirtualMCPServer,
        current: &Report,
        now: Tick,
    ) -> Result<(), ApiError> {
        let millis = self.writer.clock.unix_ms(now) / 1000 * 1000;
        let body = fields::apply(
            live,
            current,
            Timestamp::from_millisecond(millis).unwrap_or_default(),
        );
        let params = PatchParams::apply(labels::FIELD_MANAGER_STATUS).force();
        let name = &self.writer.identity.name;
        let answer = api(self
            .gateways
            .patch_status(name, &params, &Patch::Apply(&body)))
        .await?;
        self.writer.meter.status_written();
        self.written = current.discovered_backends.iter().filter_map(key).collect();
        self.newer = Some(Arc::new(self.without_strays(answer, current).await?));
        tracing::debug!(phase = %current.phase, backends = current.backends, "status written");
        Ok(())
    }

    /// The object without the entries that our apply could not remove.
    async fn without_strays(
        &self,
        answer: VirtualMCPServer,
        current: &Report,
    ) -> Result<VirtualMCPServer, ApiError> {
        let Some(patch) = strays::removal(&answer, current) else {
            return Ok(answer);
        };
        let (name, params) = (&self.writer.identity.name, PatchParams::default());
        match api(self
            .gateways
            .patch_status(name, &params, &Patch::Json::<()>(patch)))
        .await
        {
            // Somebody changed the list meanwhile: what is left over is seen at the next turn.
            Err(error) if error.is_invalid() => api(self.gateways.get(name)).await,
            patched => patched,
        }
    }

    /// An entry of ours that somebody removed is not added again before its MCPServer was seen:
    /// the operator may know of the deletion earlier than our watch does (R2.8).
    async fn still_there(
        &mut self,
        live: &VirtualMCPServer,
        current: Report,
    ) -> Result<Report, ApiError> {
        let listed: BTreeSet<&str> = live
            .status
            .iter()
            .flat_map(|status| &status.discovered_backends)
            .map(|entry| entry.name.as_str())
            .collect();
        let removed: Vec<(String, String)> = current
            .discovered_backends
            .iter()
            .filter_map(key)
            .filter(|key| self.written.contains(key) && !listed.contains(key.0.as_str()))
            .collect();
        for (name, uid) in removed {
            let server = api(self.servers.get_metadata_opt(&name)).await?;
            let alive = server.is_some_and(|server| {
                server.metadata.uid.as_deref() == Some(&uid)
                    && server.metadata.deletion_timestamp.is_none()
            });
            if !alive {
                self.gone.insert((name, uid));
            }
        }
        Ok(self.without_gone(current))
    }

    fn without_gone(&mut self, mut current: Report) -> Report {
        let known: BTreeSet<_> = current.discovered_backends.iter().filter_map(key).collect();
        self.gone.retain(|key| known.contains(key));
        let gone = &self.gone;
        let backends = &mut current.discovered_backends;
        backends.retain(|backend| key(backend).is_none_or(|key| !gone.contains(&key)));
        if backends.len() != current.backend_count {
            let ready = backends
                .iter()
                .filter(|backend| backend.state.serves())
                .count();
            current.backend_count = backends.len();
            current.ready_backend_count = ready;
            current.backends = format!("{ready}/{}", backends.len());
        }
        current
    }

    async fn read_again(&mut self) -> Result<(), ApiError> {
        let name = self.writer.identity.name.clone();
        self.newer = api(self.gateways.get_opt(&name)).await?.map(Arc::new);
        Ok(())
    }

    /// The newest of what the watch saw and what we read or wrote ourselves.
    fn live(&mut self) -> Option<Arc<VirtualMCPServer>> {
        let watched = self.writer.live.borrow().clone()?;
        let newer = self.newer.as_ref().filter(|own| {
            own.metadata.uid == watched.metadata.uid && version(own) > version(&watched)
        });
        match newer {
            Some(own) => Some(Arc::clone(own)),
            None => {
                self.newer = None;
                Some(watched)
            }
        }
    }
}

/// Resource versions of one resource can be compared since Kubernetes 1.35.
fn version(object: &VirtualMCPServer) -> u128 {
    object
        .resource_version()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn key(backend: &ReportedBackend) -> Option<(String, String)> {
    Some((backend.name.clone(), backend.uid.clone()?))
}

fn put_off(error: &ApiError) -> Duration {
    tracing::warn!(%error, "status not written");
    RETRY
}
