//! Everything that runs, from its start to its stop.
//!
//! Owns the tasks and the order in which they end: invisible first, then what was begun is
//! finished, then what is held at backends is closed (T7). Makes no part itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::{CLOSE_BACKENDS, CLOSE_REGISTRY, CUT, HAND_REST, LAST_ANSWERS, STILL_ACCEPT};
use super::replica::{Replica, Us};
use super::wiring::{admin_page, announcer, follow_files, gateway, on_detach, shelf, telling};
use super::{ServeError, Source};
use crate::admin::{self, Admin};
use crate::backend::Upstream;
use crate::clock::Clock;
use crate::config::Config;
use crate::discovery::kube::KubeDiscovery;
use crate::lanes::Lanes;
use crate::metrics::ProcessMeter;
use crate::peer::Roster;
use crate::prober::{Fleet, LiveChecker};
use crate::registry::{Doors, Registry};
use crate::server::{self, Stop};
use crate::status::StatusWriter;

/// Where it listens.
pub(super) struct Sockets {
    pub(super) listener: TcpListener,
    pub(super) admin: TcpListener,
    /// For the other replicas.
    pub(super) peers: Option<TcpListener>,
    /// Who serves what comes to `listener`.
    pub(super) lanes: Lanes,
}

/// Everything that runs.
pub(super) struct Running {
    admin: Arc<Admin>,
    upstream: Upstream,
    /// Checks; ended by the registry.
    probes: TaskTracker,
    stop: Stop,
    replica: Replica,
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
        sockets: Sockets,
    ) -> Result<Self, ServeError> {
        let us = Us::new(config)?;
        let clock = Clock::start();
        let process = Arc::new(ProcessMeter::default());
        let leader = Arc::new(AtomicBool::new(false));
        let (registry, doors) = Registry::new(clock);
        let (shelf, stock) = shelf(config, &source).unzip();
        let registry = registry.with_stock(stock.unwrap_or_default());
        let upstream = Upstream::new(doors.observations.clone(), announcer(&doors));
        let detach = on_detach(&upstream);
        let fleet = Fleet::new(LiveChecker, clock, doors.events.clone(), detach);
        let streams = CancellationToken::new();
        let telling = telling(&us, sockets.peers.as_ref(), &doors);
        let (told, drain) = (telling.as_ref(), streams.clone());
        let gateway = gateway(&us, &doors, &upstream, &process, told, drain)?;
        let lanes = &sockets.lanes;
        let replica = Replica::start(config, &us, &gateway, sockets.peers, telling, lanes);
        let admin = admin_page(&us, &doors, &upstream, &process, &leader, lanes)?;
        let admin = Arc::new(admin);
        replica.await_peers(&admin);

        let stop = Stop::default();
        let (discovery, status) = (CancellationToken::new(), CancellationToken::new());
        let registry_stop = CancellationToken::new();
        if let Some(shelf) = shelf {
            tokio::spawn(shelf.keep(doors.snapshots.clone(), registry_stop.clone()));
        }
        let probes = fleet.tasks();
        let registry_task = tokio::spawn(registry.run(fleet, registry_stop.clone()));
        let status_task = follow(
            source,
            config,
            &doors,
            Follow {
                roster: replica.roster.clone(),
                discovery: discovery.clone(),
                status: status.clone(),
                clock,
                process,
                leader,
            },
        );
        tokio::spawn(admin::run(
            sockets.admin,
            Arc::clone(&admin),
            CancellationToken::new(),
        ));
        let sweeper = Arc::clone(&gateway);
        tokio::spawn(async move { sweeper.sweep().await });
        let server_task = tokio::spawn(server::run(
            sockets.listener,
            gateway,
            Arc::clone(&replica.relay),
            sockets.lanes,
            stop.clone(),
        ));
        Ok(Self {
            admin,
            upstream,
            probes,
            stop,
            replica,
            streams,
            discovery,
            status,
            registry: registry_stop,
            server_task,
            registry_task,
            status_task,
        })
    }

    /// Ends within [`STOP_WITHIN`] and the drain.
    pub(super) async fn stop(self, config: &Config) {
        self.admin.drain();
        self.status.cancel();
        self.replica.leave();
        // Somebody takes us out of rotation, and needs time to notice.
        let balanced = self.status_task.is_some() || config.peer_listen.is_some();
        let accept = if balanced {
            STILL_ACCEPT
        } else {
            Duration::ZERO
        };
        let drained = Instant::now() + accept + config.drain;
        let released = async {
            if let Some(task) = self.status_task {
                let _ = timeout(STILL_ACCEPT, task).await;
            }
        };
        tokio::join!(released, tokio::time::sleep(accept));
        self.stop.drain.cancel();
        self.streams.cancel();
        let mut server = self.server_task;
        let relay = &self.replica.relay;
        // A hand-over that was begun is finished: what it took is in nobody's hands.
        let (served, ()) = tokio::join!(timeout_at(drained, &mut server), relay.hand_over(drained));
        // Perhaps only sessions are left over.
        if served.is_err() || Instant::now() >= drained {
            tracing::warn!(
                seconds = config.drain.as_secs(),
                "drain is over, calls are stopped"
            );
            relay.hand_rest(Instant::now() + HAND_REST).await;
            // Stopped from behind first, so that each caller has an answer before its connection
            // is cut.
            let stopped = self.upstream.shutdown(Duration::ZERO);
            let _ = timeout(CLOSE_BACKENDS, stopped).await;
            if !server.is_finished() && timeout(LAST_ANSWERS, &mut server).await.is_err() {
                self.stop.now.cancel();
                let _ = timeout(CUT, server).await;
            }
        }
        self.replica.stop().await;
        self.discovery.cancel();
        self.registry.cancel();
        let _ = timeout(CLOSE_REGISTRY, self.registry_task).await;
        self.probes.close();
        let close = async {
            tokio::join!(self.probes.wait(), self.upstream.shutdown(Duration::ZERO));
        };
        if timeout(CLOSE_BACKENDS, close).await.is_err() {
            tracing::warn!("backends did not let go in time");
        }
    }
}

/// What a source is followed with.
struct Follow {
    roster: watch::Sender<Arc<Roster>>,
    discovery: CancellationToken,
    status: CancellationToken,
    clock: Clock,
    process: Arc<ProcessMeter>,
    leader: Arc<AtomicBool>,
}

/// Starts to follow the desired state; in a cluster also to report on it.
fn follow(source: Source, config: &Config, doors: &Doors, with: Follow) -> Option<JoinHandle<()>> {
    let events = doors.events.clone();
    match source {
        Source::Files(files, first) => {
            tokio::spawn(follow_files(*files, first, events, with.discovery));
            None
        }
        Source::Kubernetes { client, identity } => {
            let allowed = config.allow_hosts.clone();
            let (watches, live) = KubeDiscovery::new(identity.clone(), allowed, with.roster);
            tokio::spawn(watches.run(client.clone(), events, with.discovery));
            let writer = StatusWriter {
                client,
                identity,
                holder: config.pod.clone(),
                clock: with.clock,
                snapshots: doors.snapshots.clone(),
                live,
                meter: with.process,
                leader: with.leader,
            };
            Some(tokio::spawn(writer.run(with.status)))
        }
    }
}
