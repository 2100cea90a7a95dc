//! Wires the parts and runs them until told to stop: watches at once, work only while
//! leading, the end in the opposite order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::apply::Writer;
use crate::cache::{Feeder, Scope};
use crate::cli::Options;
use crate::client::{self, ConnectError};
use crate::events::{self, Events};
use crate::guard::Guard;
use crate::leader::{Candidate, Ending, Held};
use crate::lease::LeaseBook;
use crate::limits::SHUTDOWN_TIMEOUT;
use crate::look::Reader;
use crate::metrics::Metrics;
use crate::virtualmcpserver::validate::{GatewayRole, Settings};
use crate::watches::{self, Listeners};
use crate::worker::{self, Controller, Stops};
use crate::world::{Queues, World};

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("no connection to Kubernetes: {0}")]
    Connect(#[from] ConnectError),
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        address: SocketAddr,
        cause: std::io::Error,
    },
    #[error("cannot write the ready file: {0}")]
    ReadyFile(#[source] std::io::Error),
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Another replica may lead by now; a restart is the safe way to begin anew.
    #[error("the leader lease was lost")]
    LeaseLost,
}

/// Runs until the token is cancelled.
///
/// # Errors
/// It cannot start, or it lost its Lease.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), RunError> {
    let client = client::connect().await?;
    let metrics = Metrics::new()?;
    let tasks = TaskTracker::new();
    // Watches and the admin port outlive the work, so that the last visits see the truth.
    let end = CancellationToken::new();
    let (events, receiver) = Events::new();
    let identity = identity(&options);
    let world = Arc::new(world(&options, &client, &metrics, &events, (&tasks, &end)));
    tasks.spawn(events::publish(
        client.clone(),
        identity.clone(),
        receiver,
        end.clone(),
    ));
    let address = admin(&options, &world, &metrics, (&tasks, &end)).await?;
    if let Some(path) = &options.ready_file {
        write_ready_file(path, address)
            .await
            .map_err(RunError::ReadyFile)?;
    }
    tracing::info!(admin = %address, "serving");
    let namespace = options
        .pod_namespace
        .clone()
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let mut candidate = Candidate::new(client, &namespace, identity);
    let result = lead(&mut candidate, &world, &metrics, &stop).await;
    end.cancel();
    tasks.close();
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
    tracing::info!("stopped");
    result
}

async fn lead(
    candidate: &mut Candidate,
    world: &Arc<World>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let synced = tokio::select! {
        () = stop.cancelled() => false,
        synced = world.caches.synced() => synced,
    };
    if !synced {
        return Ok(());
    }
    let Some(held) = candidate.acquire(stop).await else {
        return Ok(());
    };
    tracing::info!("leading");
    metrics.leads();
    world.events.lead();
    let work = TaskTracker::new();
    let stops = Stops::default();
    for controller in [Controller::McpServer, Controller::VirtualMcpServer] {
        worker::start(controller, world, metrics, &work, &stops);
    }
    let ending = candidate.hold(held, stop).await;
    stops.after_visit.cancel();
    work.close();
    match ending {
        // Whoever lost it must not write another thing.
        Ending::Lost => {
            stops.at_once.cancel();
            work.wait().await;
            Err(RunError::LeaseLost)
        }
        Ending::Stopped(held) => {
            finish(candidate, &work, &stops, held).await;
            Ok(())
        }
    }
}

async fn finish(candidate: &Candidate, work: &TaskTracker, stops: &Stops, held: Held) {
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, work.wait())
        .await
        .is_err()
    {
        // What they sent may still land: the next leader waits for the Lease to run out.
        stops.at_once.cancel();
        tracing::warn!("visits did not end in time, the leader lease is not released");
        return;
    }
    if let Err(error) = candidate.release(held).await {
        tracing::warn!(%error, "leader lease not released");
    }
}

fn world(
    options: &Options,
    client: &Client,
    metrics: &Metrics,
    events: &Events,
    (tasks, end): (&TaskTracker, &CancellationToken),
) -> World {
    let (scope, gateway_role) = if options.namespaces.is_empty() {
        (Scope::Cluster, GatewayRole::ClusterRole)
    } else {
        let names = options.namespaces.clone();
        (Scope::Namespaces(names), GatewayRole::Role)
    };
    let queues = Queues::default();
    let leases = Arc::new(Mutex::new(LeaseBook::default()));
    let feeder = Feeder {
        client: client.clone(),
        scope,
        tasks: tasks.clone(),
        stop: end.clone(),
    };
    let listeners = Listeners {
        queues: queues.clone(),
        events: events.clone(),
        leases: Arc::clone(&leases),
    };
    let caches = watches::start(&feeder, &listeners);
    let guard = Arc::new(Guard::default());
    let writer = Writer::new(client.clone(), metrics.clone(), Arc::clone(&guard));
    let settings = Settings {
        gateway_image: options.gateway_image.clone(),
        gateway_role,
    };
    World::new(
        settings,
        caches,
        queues,
        (writer, Reader::new(client.clone())),
        (guard, leases),
        events.clone(),
    )
}

async fn admin(
    options: &Options,
    world: &Arc<World>,
    metrics: &Metrics,
    (tasks, end): (&TaskTracker, &CancellationToken),
) -> Result<SocketAddr, RunError> {
    let failed = |cause| RunError::Listen {
        address: options.admin,
        cause,
    };
    let listener = TcpListener::bind(options.admin).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let caches = world.caches.clone();
    let admin = Admin {
        metrics: metrics.clone(),
        ready: Arc::new(move || caches.are_synced()),
    };
    tasks.spawn(admin.serve(listener, end.clone()));
    Ok(address)
}

async fn write_ready_file(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let text = serde_json::json!({ "admin": address.to_string() }).to_string();
    // Renamed into place: whoever waits for the file never reads half of it.
    let half = path.with_extension("part");
    tokio::fs::write(&half, text).await?;
    tokio::fs::rename(&half, path).await
}

/// Unique among replicas.
fn identity(options: &Options) -> String {
    let name = options
        .pod_name
        .clone()
        .or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.unwrap_or_else(|| "vmcp-operator".to_owned());
    match options.pod_name {
        Some(_) => name,
        None => format!("{name}-{}", std::process::id()),
    }
}
