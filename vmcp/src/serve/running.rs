//! Everything that runs, from its start to its stop.
//!
//! Owns the tasks and the order in which they end: invisible first, then what was begun is
//! finished, then what is held at backends is closed (T7). Makes no part itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wiring::{admin_page, announcer, follow_files, gateway, on_detach};
use super::{ServeError, Source};
use crate::admin::{self, Admin};
use crate::backend::Upstream;
use crate::clock::Clock;
use crate::config::Config;
use crate::discovery::kube::KubeDiscovery;
use crate::metrics::ProcessMeter;
use crate::prober::{Fleet, LiveChecker};
use crate::registry::Registry;
use crate::server::{self, Stop};
use crate::status::StatusWriter;

/// A load balancer needs this long to see that we are no longer ready.
const STILL_ACCEPT: Duration = Duration::from_secs(5);

/// Ending sessions at backends is a courtesy: it gets this long at the end.
const CLOSE_BACKENDS: Duration = Duration::from_secs(3);

/// Calls that were stopped still write their answer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Releasing the Lease; after this it expires by itself.
const RELEASE_LEASE: Duration = Duration::from_secs(3);
/// Everything that runs.
pub(super) struct Running {
    admin: Arc<Admin>,
    upstream: Upstream,
    /// Checks; ended by the registry.
    probes: TaskTracker,
    stop: Stop,
    /// Streams that would never end by themselves.
    streams: CancellationToken,
    discovery: CancellationToken,
    status: CancellationToken,
    registry: CancellationToken,
    server_task: JoinHandle<()>,
    registry_task: JoinHandle<()>,
    status_task: Option<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(
        config: &Config,
        source: Source,
        listener: TcpListener,
        admin_listener: TcpListener,
    ) -> Result<Self, ServeError> {
        let clock = Clock::start();
        let process = Arc::new(ProcessMeter::default());
        let leader = Arc::new(AtomicBool::new(false));
        let (registry, doors) = Registry::new(clock);
        let upstream = Upstream::new(doors.observations.clone(), announcer(&doors));
        let fleet = Fleet::new(
            LiveChecker,
            clock,
            doors.events.clone(),
            on_detach(&upstream),
        );
        let streams = CancellationToken::new();
        let gateway = gateway(&config.pod, &doors, &upstream, &process, streams.clone())?;
        let admin = Arc::new(admin_page(&doors, &upstream, &process, &leader)?);

        let stop = Stop::default();
        let (discovery, status) = (CancellationToken::new(), CancellationToken::new());
        let registry_stop = CancellationToken::new();
        let probes = fleet.tasks();
        let registry_task = tokio::spawn(registry.run(fleet, registry_stop.clone()));
        let status_task = match source {
            Source::Files(files, first) => {
                let events = doors.events.clone();
                tokio::spawn(follow_files(*files, first, events, discovery.clone()));
                None
            }
            Source::Kubernetes { client, identity } => {
                let allowed = config.allow_hosts.clone();
                let (watches, live) = KubeDiscovery::new(identity.clone(), allowed);
                let events = doors.events.clone();
                tokio::spawn(watches.run(client.clone(), events, discovery.clone()));
                let writer = StatusWriter {
                    client,
                    identity,
                    holder: config.pod.clone(),
                    clock,
                    snapshots: doors.snapshots.clone(),
                    live,
                    meter: process,
                    leader,
                };
                Some(tokio::spawn(writer.run(status.clone())))
            }
        };
        tokio::spawn(admin::run(
            admin_listener,
            Arc::clone(&admin),
            CancellationToken::new(),
        ));
        let sweeper = Arc::clone(&gateway);
        tokio::spawn(async move { sweeper.sweep().await });
        let server_task = tokio::spawn(server::run(listener, gateway, stop.clone()));
        Ok(Self {
            admin,
            upstream,
            probes,
            stop,
            streams,
            discovery,
            status,
            registry: registry_stop,
            server_task,
            registry_task,
            status_task,
        })
    }

    pub(super) async fn stop(self, config: &Config) {
        self.admin.drain();
        self.status.cancel();
        if let Some(task) = self.status_task {
            let _ = tokio::time::timeout(RELEASE_LEASE, task).await;
            tokio::time::sleep(STILL_ACCEPT).await;
        }
        self.stop.drain.cancel();
        self.streams.cancel();
        let mut server = self.server_task;
        if tokio::time::timeout(config.drain, &mut server)
            .await
            .is_err()
        {
            tracing::warn!(
                seconds = config.drain.as_secs(),
                "drain is over, calls are stopped"
            );
            // Stopped from behind first, so that each caller has an answer before its connection
            // is cut.
            let stopped = self.upstream.shutdown(Duration::ZERO);
            let _ = tokio::time::timeout(CLOSE_BACKENDS, stopped).await;
            if tokio::time::timeout(LAST_ANSWERS, &mut server)
                .await
                .is_err()
            {
                self.stop.now.cancel();
                let _ = tokio::time::timeout(CLOSE_BACKENDS, server).await;
            }
        }
        self.discovery.cancel();
        self.registry.cancel();
        let _ = tokio::time::timeout(CLOSE_BACKENDS, self.registry_task).await;
        self.probes.close();
        let close = async {
            tokio::join!(self.probes.wait(), self.upstream.shutdown(Duration::ZERO));
        };
        if tokio::time::timeout(CLOSE_BACKENDS, close).await.is_err() {
            tracing::warn!("backends did not let go in time");
        }
    }
}
