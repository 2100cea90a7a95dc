//! Desired state from Kubernetes.
//!
//! Owns the watches of our own `VirtualMCPServer`, of the namespace's `MCPServer`s and of its
//! EndpointSlices (which only wake checks). Hands out a configuration only after both kinds were
//! listed whole, so that a start never looks like a mass deletion. Writes nothing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use vmcp_crds::{MCPServer, VirtualMCPServer, names};

use super::cache::{Cache, Change};
use super::desired::{Desired, Site, desired};
use super::peers;
use super::services::Services;
use crate::peer::Roster;
use crate::registry::{Event, Events};

/// Short, so that a stream that is frozen on the way is noticed.
const WATCH_SECONDS: u32 = 45;

/// Longer than a watch lasts; a response that is silent for longer is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// After an interruption: soon, so that a deletion is noticed within the 5 s of R2.8 once the API
/// server is back, and growing, so that it is not overrun.
const FIRST_RETRY: Duration = Duration::from_millis(400);
const SLOWEST_RETRY: Duration = Duration::from_secs(3);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Label that names the Service of an EndpointSlice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Which gateway this process is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
    /// Of the VirtualMCPServer that this process was started for; any where it is absent.
    pub uid: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no Kubernetes configuration: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("kubernetes client: {0}")]
    Client(#[from] kube::Error),
}

/// A client by KUBECONFIG or by the pod's own token, without retries of its own (ADR 10).
///
/// # Errors
/// When neither is usable.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// The watches of one gateway.
#[derive(Debug)]
pub struct KubeDiscovery {
    identity: Identity,
    allow_hosts: Vec<String>,
    gateways: Cache<VirtualMCPServer>,
    servers: Cache<MCPServer>,
    slices: Cache<EndpointSlice>,
    services: Services,
    /// Handed out last: the same again is no news.
    last: Option<Desired>,
    /// The live object, for the status publisher.
    live: watch::Sender<Option<Arc<VirtualMCPServer>>>,
    /// The pods of our own Service.
    roster: watch::Sender<Arc<Roster>>,
}

/// One event of one watch; boxed, because the objects differ much in size.
enum Seen {
    Gateway(Box<watcher::Event<DeserializeGuard<VirtualMCPServer>>>),
    Server(Box<watcher::Event<DeserializeGuard<MCPServer>>>),
    Slice(Box<watcher::Event<DeserializeGuard<EndpointSlice>>>),
}

type Watch = Pin<Box<dyn Stream<Item = watcher::Result<Seen>> + Send>>;

impl KubeDiscovery {
    #[must_use]
    pub fn new(
        identity: Identity,
        allow_hosts: Vec<String>,
        roster: watch::Sender<Arc<Roster>>,
    ) -> (Self, watch::Receiver<Option<Arc<VirtualMCPServer>>>) {
        let (live, reader) = watch::channel(None);
        let discovery = Self {
            identity,
            allow_hosts,
            gateways: Cache::default(),
            servers: Cache::default(),
            slices: Cache::default(),
            services: Services::default(),
            last: None,
            live,
            roster,
        };
        (discovery, reader)
    }

    /// Watches until cancelled.
    pub async fn run(mut self, client: Client, events: Events, cancel: CancellationToken) {
        let mut stream = futures::stream::select_all(self.watches(&client));
        loop {
            let seen = tokio::select! {
                () = cancel.cancelled() => return,
                seen = stream.next() => seen,
            };
            let event = match seen {
                None => return,
                Some(Ok(seen)) => self.take(seen),
                Some(Err(error)) => {
                    tracing::warn!(%error, "watch interrupted");
                    continue;
                }
            };
            for event in event {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    fn watches(&self, client: &Client) -> Vec<Watch> {
        let namespace = &self.identity.namespace;
        let own = format!("metadata.name={}", self.identity.name);
        let all = watcher::Config::default().timeout(WATCH_SECONDS);
        vec![
            follow(client, namespace, all.clone().fields(&own), Seen::Gateway),
            follow(client, namespace, all.clone(), Seen::Server),
            follow(client, namespace, all.labels(SERVICE_NAME), Seen::Slice),
        ]
    }

    fn take(&mut self, seen: Seen) -> Vec<Event> {
        match seen {
            Seen::Slice(event) => return self.slice(*event),
            Seen::Gateway(event) => {
                let change = self.gateways.take(*event);
                let live = self.gateway().cloned();
                self.live.send_if_modified(|old| replace(old, live));
                if let Change::Undecodable { error, .. } = change {
                    // Going back to the good one is news then.
                    self.last = None;
                    let name = &self.identity.name;
                    return vec![Event::Rejected {
                        message: format!("VirtualMCPServer {name:?} cannot be decoded: {error}"),
                    }];
                }
            }
            Seen::Server(event) => {
                if let Change::Undecodable { name, error } = self.servers.take(*event) {
                    tracing::warn!(server = name, error, "object cannot be decoded, skipped");
                }
            }
        }
        self.desired()
            .map(|desired| Event::Discovered(Box::new(desired)))
            .into_iter()
            .collect()
    }

    /// The object that this process was started for.
    fn gateway(&self) -> Option<&Arc<VirtualMCPServer>> {
        let wanted = self.identity.uid.as_ref();
        self.gateways
            .get(&self.identity.name)
            .filter(|object| wanted.is_none() || object.metadata.uid.as_ref() == wanted)
    }

    /// The desired state, where it is complete and differs from the one before.
    fn desired(&mut self) -> Option<Desired> {
        if !(self.gateways.synced() && self.servers.synced()) {
            return None;
        }
        let gateway = self.gateway()?;
        let site = Site {
            namespace: &self.identity.namespace,
            allow_hosts: &self.allow_hosts,
        };
        let mut now = desired(gateway, self.servers.iter(), site);
        self.services.equip(&mut now, self.slices.iter());
        if self.last.as_ref() == Some(&now) {
            return None;
        }
        self.last = Some(now.clone());
        Some(now)
    }

    /// Wakes the backends of a Service whose ready addresses changed, or that is spoken to in
    /// another HTTP from here on.
    fn slice(&mut self, event: watcher::Event<DeserializeGuard<EndpointSlice>>) -> Vec<Event> {
        let before = addresses(&self.slices);
        let was_synced = self.slices.synced();
        let mut woken = BTreeSet::<Box<str>>::new();
        self.slices.take(event);
        if self.slices.synced() {
            let own = names::owned_by_virtual_mcp_server(&self.identity.name);
            let pods = peers::of_slices(&own, self.slices.iter());
            peers::publish(&self.roster, pods);
            woken.extend(self.services.publish(self.slices.iter()));
        }
        if was_synced {
            let after = addresses(&self.slices);
            let moved = before.symmetric_difference(&after);
            woken.extend(moved.map(|(service, _)| service.as_str().into()));
        }
        woken
            .into_iter()
            .map(|service| Event::WakeService { service })
            .collect()
    }
}

fn replace(old: &mut Option<Arc<VirtualMCPServer>>, new: Option<Arc<VirtualMCPServer>>) -> bool {
    let version = |object: &Option<Arc<VirtualMCPServer>>| {
        object.as_ref().and_then(|object| object.resource_version())
    };
    let changed = old.is_some() != new.is_some() || version(old) != version(&new);
    *old = new;
    changed
}

/// (Service, ready address) of all slices.
fn addresses(slices: &Cache<EndpointSlice>) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for slice in slices.iter() {
        let Some(service) = slice.labels().get(SERVICE_NAME) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint
                .conditions
                .as_ref()
                .and_then(|c| c.ready)
                .unwrap_or(true);
            if ready {
                let addresses = endpoint.addresses.iter();
                found.extend(addresses.map(|address| (service.clone(), address.clone())));
            }
        }
    }
    found
}

/// Waits after interruptions; back at the start with the first good event.
struct Retry(Duration);

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = (wait * 2).min(SLOWEST_RETRY);
        Some(wait)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.0 = FIRST_RETRY;
    }
}

fn follow<K>(
    client: &Client,
    namespace: &str,
    config: watcher::Config,
    seen: fn(Box<watcher::Event<DeserializeGuard<K>>>) -> Seen,
) -> Watch
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
    watcher(api, config)
        .backoff(Retry(FIRST_RETRY))
        .map(move |event| event.map(|event| seen(Box::new(event))))
        .boxed()
}

#[cfg(test)]
mod tests;
