//! `vmcp serve`: everything wired together.
//!
//! Owns the order of start and stop and nothing between them. A start that cannot work fails before
//! anything listens; a stop first becomes invisible (Lease, readiness), then finishes what it has
//! begun, then closes what it holds at backends (T7).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::backend::Upstream;
use crate::backend::announce::Announcer;
use crate::clock::Clock;
use crate::config::{Config, Origin};
use crate::discovery::desired::Desired;
use crate::discovery::files::{Files, StartError};
use crate::discovery::kube::{self, ClientError, Identity, KubeDiscovery};
use crate::gateway::Gateway;
use crate::gateway::seal::{SealError, Sealer};
use crate::gateway::session::Sessions;
use crate::metrics::{Exposition, MeteredPort, ProcessMeter, Requests, SnapshotCollector};
use crate::prober::{Fleet, LiveChecker};
use crate::registry::{Cause, Doors, Event, Events, Registry};
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

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Files(#[from] StartError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot write {path}: {source}", path = path.display())]
    ReadyFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot make sessions: {0}")]
    Sessions(#[from] SealError),
    #[error("cannot export metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl ServeError {
    /// 2 where the user's own input is wrong, 1 where the world is.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Files(_) => 2,
            _ => 1,
        }
    }
}

/// Serves until a signal, then drains.
///
/// # Errors
/// Everything that keeps it from starting.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let source = Source::open(&config).await?;
    let mut signals = Signals::new()?;
    let listener = listen(config.listen).await?;
    let admin_listener = listen(config.admin).await?;
    let bound = Bound {
        listen: address(&listener)?,
        admin: address(&admin_listener)?,
    };

    let running = Running::start(&config, source, listener, admin_listener)?;
    if let Some(path) = &config.ready_file {
        bound.write(path)?;
    }
    tracing::info!(listen = %bound.listen, admin = %bound.admin, "serving");

    signals.wait().await;
    tracing::info!("stopping");
    tokio::select! {
        () = running.stop(&config) => tracing::info!("stopped"),
        () = signals.wait() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

/// Discovery that is ready to run.
enum Source {
    Files(Box<Files>, Box<Desired>),
    Kubernetes {
        client: ::kube::Client,
        identity: Identity,
        holder: String,
    },
}

impl Source {
    async fn open(config: &Config) -> Result<Self, ServeError> {
        match &config.origin {
            Origin::Files(paths) => {
                let (files, first) = Files::open(paths.clone(), config.allow_hosts.clone())?;
                Ok(Self::Files(Box::new(files), Box::new(first)))
            }
            Origin::Kubernetes { identity, holder } => Ok(Self::Kubernetes {
                client: kube::client().await?,
                identity: identity.clone(),
                holder: holder.clone(),
            }),
        }
    }
}

/// Everything that runs.
struct Running {
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
    fn start(
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
        let gateway = gateway(&doors, &upstream, &process, streams.clone())?;
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
            Source::Kubernetes {
                client,
                identity,
                holder,
            } => {
                let allowed = config.allow_hosts.clone();
                let (watches, live) = KubeDiscovery::new(identity.clone(), allowed);
                let events = doors.events.clone();
                tokio::spawn(watches.run(client.clone(), events, discovery.clone()));
                let writer = StatusWriter {
                    client,
                    identity,
                    holder,
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

    async fn stop(self, config: &Config) {
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

fn admin_page(
    doors: &Doors,
    upstream: &Upstream,
    process: &Arc<ProcessMeter>,
    leader: &Arc<AtomicBool>,
) -> Result<Admin, ServeError> {
    let snapshots = doors.snapshots.clone();
    let upstream = upstream.clone();
    let exposition = Exposition::new(SnapshotCollector {
        snapshots: snapshots.clone(),
        process: Arc::clone(process),
        clock: doors.clock,
        connections: Arc::new(move || upstream.connections()),
    })?;
    Ok(Admin::new(
        snapshots,
        doors.clock,
        exposition,
        Arc::clone(leader),
    ))
}

async fn follow_files(
    files: Files,
    first: Box<Desired>,
    events: Events,
    cancel: CancellationToken,
) {
    // Fails only when the registry is gone, and then there is nothing to follow for.
    if events.send(Event::Discovered(first)).await.is_ok() {
        files.run(events, cancel).await;
    }
}

/// A full queue loses an announcement; the list is read once a minute anyway.
fn announcer(doors: &Doors) -> Announcer {
    let events = doors.events.clone();
    Announcer::new(move |id, generation| {
        let id = id.clone();
        let _ = events.try_send(Event::ListChanged { id, generation });
    })
}

fn on_detach(upstream: &Upstream) -> crate::prober::OnDetach {
    let upstream = upstream.clone();
    Box::new(move |id, generation, cause| match cause {
        Cause::Renewed => upstream.detach(id, generation),
        Cause::Removed => upstream.remove(id, generation),
    })
}

fn gateway(
    doors: &Doors,
    upstream: &Upstream,
    process: &Arc<ProcessMeter>,
    streams: CancellationToken,
) -> Result<Arc<Gateway>, ServeError> {
    let meter = Requests::new(doors.snapshots.clone(), Arc::clone(process));
    let sessions = Sessions::new(Arc::new(Sealer::random()?));
    let snapshots = doors.snapshots.clone();
    let port = Arc::new(MeteredPort::new(upstream.clone(), snapshots.clone()));
    Ok(Arc::new(Gateway::new(
        snapshots,
        port,
        sessions,
        Arc::new(meter),
        streams,
    )))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    Ok(listener.local_addr()?)
}

/// Where we listen, for scripts that asked for port 0.
struct Bound {
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Bound {
    /// Whole or not at all: a reader never meets half a file.
    fn write(&self, path: &Path) -> Result<(), ServeError> {
        let text = serde_json::json!({
            "listen": self.listen.to_string(),
            "admin": self.admin.to_string(),
        });
        let draft = path.with_extension("tmp");
        std::fs::write(&draft, format!("{text}\n"))
            .and_then(|()| std::fs::rename(&draft, path))
            .map_err(|source| ServeError::ReadyFile {
                path: path.to_owned(),
                source,
            })
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, ServeError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
