//! How the parts are joined, one function for each joint.
//!
//! Owns the closures between modules that must not know each other. Starts nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use vmcp_core::id::BackendId;

use super::replica::Us;
use super::{ServeError, Source};
use crate::admin::Admin;
use crate::backend::Upstream;
use crate::backend::announce::Announcer;
use crate::config::Config;
use crate::discovery::desired::Desired;
use crate::discovery::files::Files;
use crate::gateway::Gateway;
use crate::gateway::cue::{Cue, Cues};
use crate::gateway::session::Sessions;
use crate::lanes::Lanes;
use crate::metrics::{Exposition, ProcessMeter, Requests, SnapshotCollector};
use crate::registry::{Cause, Doors, Event, Events};
use crate::server::Herald;
use crate::shelf::{Shelf, Stock};

pub(super) fn admin_page(
    us: &Us,
    doors: &Doors,
    upstream: &Upstream,
    process: &Arc<ProcessMeter>,
    leader: &Arc<AtomicBool>,
    lanes: &Lanes,
) -> Result<Admin, ServeError> {
    let snapshots = doors.snapshots.clone();
    let upstream = upstream.clone();
    let exposition = Exposition::new(SnapshotCollector {
        snapshots: snapshots.clone(),
        process: Arc::clone(process),
        peers: Arc::clone(&us.meter),
        clock: doors.clock,
        connections: Arc::new(move || upstream.connections()),
        lanes: lanes.clone(),
    })?;
    Ok(Admin::new(
        snapshots,
        doors.clock,
        exposition,
        Arc::clone(leader),
    ))
}

pub(super) async fn follow_files(
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

/// The shelf of this gateway, and what lay on it.
pub(super) fn shelf(config: &Config, source: &Source) -> Option<(Shelf, Stock)> {
    let (name, gateway) = match source {
        Source::Files(_, first) => (&*first.name, first.uid.to_string()),
        Source::Kubernetes { identity, .. } => {
            let named = || format!("{}/{}", identity.namespace, identity.name);
            (&*identity.name, identity.uid.clone().unwrap_or_else(named))
        }
    };
    Shelf::open(&config.cache.of_gateway(name)?, &gateway)
}

/// A full queue loses an announcement; the list is read once a minute anyway.
pub(super) fn announcer(doors: &Doors) -> Announcer {
    let events = doors.events.clone();
    Announcer::new(move |id, generation| {
        let id = id.clone();
        let _ = events.try_send(Event::ListChanged { id, generation });
    })
}

/// Who tells clients of changed lists where there are other replicas.
pub(super) struct Telling {
    pub(super) herald: Arc<Herald>,
    pub(super) cues: watch::Sender<Cue>,
}

/// `None` for a gateway that is alone: its clients are told at once.
pub(super) fn telling(us: &Us, peers: Option<&TcpListener>, doors: &Doors) -> Option<Telling> {
    peers.filter(|_| us.shares_keys())?;
    let events = doors.events.clone();
    let refresh = move |id: &BackendId, generation| {
        let id = id.clone();
        events
            .try_send(Event::ListChanged { id, generation })
            .is_ok()
    };
    let (cues, _) = watch::channel(Cue::new(doors.snapshots.load()));
    let herald = Herald::new(
        doors.snapshots.clone(),
        doors.clock,
        Box::new(refresh),
        Arc::clone(&us.meter),
    );
    Some(Telling {
        herald: Arc::new(herald),
        cues,
    })
}

pub(super) fn on_detach(upstream: &Upstream) -> crate::prober::OnDetach {
    let upstream = upstream.clone();
    Box::new(move |id, generation, cause| match cause {
        Cause::Renewed => upstream.detach(id, generation),
        Cause::Removed => upstream.remove(id, generation),
    })
}

pub(super) fn gateway(
    us: &Us,
    doors: &Doors,
    upstream: &Upstream,
    process: &Arc<ProcessMeter>,
    telling: Option<&Telling>,
    streams: CancellationToken,
) -> Result<Arc<Gateway>, ServeError> {
    let meter = Requests::new(Arc::clone(process));
    let sessions = Sessions::new(Arc::new(us.sealer()?), us.owner.clone());
    let sessions = sessions
        .with_idle(us.session_idle)
        .with_max_age(us.session_max_age);
    let snapshots = doors.snapshots.clone();
    let port = Arc::new(upstream.clone());
    let gateway = Gateway::new(snapshots, port, sessions, Arc::new(meter), streams);
    Ok(Arc::new(match telling {
        Some(telling) => gateway.with_cues(Cues::given(telling.cues.subscribe())),
        None => gateway,
    }))
}
