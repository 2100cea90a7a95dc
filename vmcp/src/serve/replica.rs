//! This process as one replica among others.
//!
//! Owns the start of the peer port and of what follows the roster, and their end. A gateway without
//! shared keys is alone: its ids open nowhere else, so there is nobody to speak to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use vmcp_core::session::Owner;

use super::budget::CLOSE_PEERS;
use super::wiring::Telling;
use super::{ServeError, keys};
use crate::admin::Admin;
use crate::config::Config;
use crate::discovery::peers;
use crate::gateway::Gateway;
use crate::gateway::seal::{KEY_LEN, Sealer};
use crate::lanes::Lanes;
use crate::peer::handshake::Identity;
use crate::peer::listener::Porter;
use crate::peer::{Door, PeerMeter, Peers, Roster};
use crate::server::{self, Relay};

/// After this a gateway serves without knowing whether there are others.
const PEERS_KNOWN: Duration = Duration::from_secs(30);

/// Who this process is, before anything is started.
#[derive(Debug)]
pub(super) struct Us {
    pub(super) owner: Owner,
    keys: Option<Vec<[u8; KEY_LEN]>>,
    pub(super) session_idle: Duration,
    pub(super) meter: Arc<PeerMeter>,
    pub(super) session_max_age: Duration,
}

impl Us {
    pub(super) fn new(config: &Config) -> Result<Self, ServeError> {
        let keys = config.session_keys.as_deref().map(keys::read).transpose()?;
        let owner = Owner {
            pod: config.pod.as_str().into(),
            boot: Sealer::boot_nonce()?,
        };
        Ok(Self {
            owner,
            keys,
            session_idle: config.session_idle,
            meter: Arc::default(),
            session_max_age: config.session_max_age,
        })
    }

    /// Others of the same gateway may know them.
    pub(super) const fn shares_keys(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn sealer(&self) -> Result<Sealer, ServeError> {
        Ok(match &self.keys {
            Some(keys) => Sealer::new(keys)?,
            None => Sealer::random()?,
        })
    }
}

/// The peer side of this process.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) relay: Arc<Relay>,
    pub(super) roster: watch::Sender<Arc<Roster>>,
    leaving: Arc<AtomicBool>,
    stop: CancellationToken,
    port: Option<JoinHandle<()>>,
}

impl Replica {
    pub(super) fn start(
        config: &Config,
        us: &Us,
        gateway: &Arc<Gateway>,
        listener: Option<TcpListener>,
        telling: Option<Telling>,
        lanes: &Lanes,
    ) -> Self {
        let (roster, reader) = watch::channel(Arc::default());
        let (leaving, stop) = (Arc::<AtomicBool>::default(), CancellationToken::new());
        let identity = us
            .keys
            .as_deref()
            .map(|keys| Arc::new(Identity::new(us.owner.clone(), keys)));
        let peers = match (&listener, &identity) {
            (Some(_), Some(identity)) => {
                let peers = Peers::new(Arc::clone(identity), reader);
                Some(Arc::new(peers.with_meter(Arc::clone(&us.meter))))
            }
            _ => None,
        };
        let herald = peers.clone().zip(telling).map(|(peers, telling)| {
            let herald = Arc::clone(&telling.herald);
            tokio::spawn(telling.herald.run(peers, telling.cues, stop.clone()));
            herald
        });
        let relay = Arc::new(Relay::new(Arc::clone(gateway), peers, Arc::clone(&leaving)));
        tokio::spawn(Arc::clone(&relay).tell_wills(stop.clone()));
        let parts = listener.zip(identity).zip(herald);
        let port = parts.map(|((listener, identity), herald)| {
            let (gateway, relay) = (Arc::clone(gateway), Arc::clone(&relay));
            let porter = Porter {
                identity,
                door: Door::new(roster.subscribe()),
                meter: Arc::clone(&us.meter),
                lanes: lanes.clone(),
            };
            tokio::spawn(server::run_peers(
                listener,
                porter,
                gateway,
                relay,
                herald,
                stop.clone(),
            ))
        });
        if let Some(path) = config.peers_file.clone() {
            tokio::spawn(peers::follow_file(path, roster.clone(), stop.clone()));
        }
        Self {
            relay,
            roster,
            leaving,
            stop,
            port,
        }
    }

    /// Keeps a gateway with a peer port from being ready until discovery has said who else there
    /// is; not for ever, or a fault of discovery would be one of the whole gateway.
    pub(super) fn await_peers(&self, admin: &Arc<Admin>) {
        if self.port.is_none() {
            return;
        }
        admin.search_peers();
        let (admin, mut roster) = (Arc::clone(admin), self.roster.subscribe());
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let heard = timeout(PEERS_KNOWN, roster.wait_for(|roster| roster.heard));
            tokio::select! {
                () = stop.cancelled() => {}
                heard = heard => {
                    if heard.is_err() {
                        tracing::warn!("other replicas are not known, serving without them");
                    }
                    admin.peers_known();
                }
            }
        });
    }

    /// Takes no more sessions over.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Takes leave of the other replicas, answers what they have begun to ask, and closes the peer
    /// port.
    pub(super) async fn stop(self) {
        self.relay.farewell().await;
        self.stop.cancel();
        if let Some(port) = self.port
            && timeout(CLOSE_PEERS, port).await.is_err()
        {
            tracing::warn!("other replicas keep their connections");
        }
    }
}
