//! Who hears of what: for each watched kind, which objects are to be looked at again
//! after a change, and which changes are events.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::watcher::Config;
use vmcp_crds::labels;
use vmcp_crds::mcpserver::MCPServerStatus;
use vmcp_crds::names::owned_by_virtual_mcp_server;
use vmcp_crds::reason::EventReason;
use vmcp_crds::virtualmcpserver::{DiscoveredBackend, VirtualMCPServerStatus};
use vmcp_crds::{MCPServer, VirtualMCPServer};

use crate::cache::{Cache, Change, Feeder, Hook, Prepared, Watched};
use crate::events::{Emission, Events};
use crate::lease::LeaseBook;
use crate::owner::{Owner, OwnerKind, controlled_by};
use crate::queue::{Key, Queue};
use crate::transitions::{self, Happened, Weight};
use crate::world::{Caches, Guarded, Queues};

/// What hooks reach for.
#[derive(Clone, Debug)]
pub struct Listeners {
    pub queues: Queues,
    pub events: Events,
    pub leases: Arc<Mutex<LeaseBook>>,
}

/// Starts every watch.
#[must_use]
pub fn start(feeder: &Feeder, listeners: &Listeners) -> Caches {
    let ours = Config::default().labels(&format!(
        "{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_OPERATOR
    ));
    // Gateways label their Leases; those of nodes move all the time and are not ours.
    let gateways =
        Config::default().labels(&format!("{}={}", labels::PART_OF, labels::PART_OF_VMCP));
    let servers: Prepared<Guarded<MCPServer>> = feeder.prepare();
    let virtuals: Prepared<Guarded<VirtualMCPServer>> = feeder.prepare();
    let (mcp_servers, virtual_servers) = (servers.cache.clone(), virtuals.cache.clone());
    let neighbours = virtual_servers.clone();
    feeder.run(
        servers,
        &Config::default(),
        &server_hook(listeners, neighbours),
    );
    feeder.run(virtuals, &Config::default(), &virtual_hook(listeners));
    Caches {
        mcp_servers,
        virtual_servers,
        deployments: owned::<Deployment>(feeder, &ours, listeners),
        services: owned::<Service>(feeder, &ours, listeners),
        service_accounts: owned::<ServiceAccount>(feeder, &ours, listeners),
        role_bindings: owned::<RoleBinding>(feeder, &ours, listeners),
        budgets: owned::<PodDisruptionBudget>(feeder, &ours, listeners),
        pods: run(feeder, &ours, &pod_hook(listeners)),
        leases: run(feeder, &gateways, &lease_hook(listeners)),
    }
}

fn run<K>(feeder: &Feeder, config: &Config, hook: &Hook<K>) -> Cache<K>
where
    K: Watched + Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let prepared = feeder.prepare();
    let cache = prepared.cache.clone();
    feeder.run(prepared, config, hook);
    cache
}

/// A kind that we build: its owner looks again.
fn owned<K>(feeder: &Feeder, config: &Config, listeners: &Listeners) -> Cache<K>
where
    K: Watched + Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let queues = listeners.queues.clone();
    let hook: Hook<K> = Arc::new(move |change: &Change<K>| {
        for object in [&change.before, &change.after].into_iter().flatten() {
            wake_owner(&queues, object.meta());
        }
    });
    run(feeder, config, &hook)
}

fn wake_owner(queues: &Queues, meta: &ObjectMeta) {
    if let Some((namespace, name)) = controlled_by(OwnerKind::McpServer, meta) {
        queues.servers.add(Key::new(namespace, name));
    }
    if let Some((namespace, name)) = controlled_by(OwnerKind::VirtualMcpServer, meta) {
        queues.virtuals.add(Key::new(namespace, name));
    }
}

fn pod_hook(listeners: &Listeners) -> Hook<Pod> {
    let queues = listeners.queues.clone();
    Arc::new(move |change| {
        for pod in [&change.before, &change.after].into_iter().flatten() {
            let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
            let Some(namespace) = &pod.metadata.namespace else {
                continue;
            };
            if let Some(name) = label(labels::MCP_SERVER) {
                queues.servers.add(Key::new(namespace, name));
            }
            if let Some(name) = label(labels::VIRTUAL_MCP_SERVER) {
                queues.virtuals.add(Key::new(namespace, name));
            }
        }
    })
}

/// A renewal is noted and wakes nobody; a Lease that came, went or was let go does.
fn lease_hook(listeners: &Listeners) -> Hook<Lease> {
    let leases = Arc::clone(&listeners.leases);
    let virtuals = Arc::clone(&listeners.queues.virtuals);
    Arc::new(move |change| {
        let mut book = leases.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = match (&change.before, &change.after) {
            (_, Some(lease)) => book.observe(lease, Instant::now()),
            (Some(lease), None) => {
                book.forget(lease);
                true
            }
            (None, None) => false,
        };
        drop(book);
        let prefix = owned_by_virtual_mcp_server("");
        if let Some((namespace, name)) = change.key()
            && let Some(gateway) = name.strip_prefix(&prefix)
            && moved
        {
            virtuals.add(Key::new(namespace, gateway));
        }
    })
}

fn server_hook(
    listeners: &Listeners,
    neighbours: Cache<Guarded<VirtualMCPServer>>,
) -> Hook<Guarded<MCPServer>> {
    let Listeners { queues, events, .. } = listeners.clone();
    Arc::new(move |change| {
        let Some((namespace, name)) = change.key() else {
            return;
        };
        if change.after.is_some() {
            queues.servers.add(Key::new(&namespace, name));
        }
        if matters_to_gateways(change) {
            wake_gateways(&queues.virtuals, &neighbours, &namespace);
        }
        tell(&events, OwnerKind::McpServer, change, |before, after| {
            let empty = MCPServerStatus::default();
            let (before, after) = (before.status.as_ref(), after.status.as_ref());
            transitions::of_server(before.unwrap_or(&empty), after.unwrap_or(&empty))
        });
    })
}

fn wake_gateways(virtuals: &Queue, cache: &Cache<Guarded<VirtualMCPServer>>, namespace: &str) {
    for gateway in cache.list(namespace) {
        if let Some(name) = &gateway.meta().name {
            virtuals.add(Key::new(namespace, name));
        }
    }
}

/// Our own status writes must not wake every gateway of the namespace.
fn matters_to_gateways(change: &Change<Guarded<MCPServer>>) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return true;
    };
    let (before, after) = (before.meta(), after.meta());
    before.uid != after.uid
        || before.generation != after.generation
        || before.labels != after.labels
        || before.deletion_timestamp != after.deletion_timestamp
}

fn virtual_hook(listeners: &Listeners) -> Hook<Guarded<VirtualMCPServer>> {
    let Listeners { queues, events, .. } = listeners.clone();
    Arc::new(move |change| {
        let Some((namespace, name)) = change.key() else {
            return;
        };
        if change.after.is_some() {
            queues.virtuals.add(Key::new(&namespace, name));
        }
        let (before, after) = (
            entries(change.before.as_deref()),
            entries(change.after.as_deref()),
        );
        let same = |one: &&DiscoveredBackend, others: &[DiscoveredBackend]| others.contains(one);
        let gone = before.iter().filter(|entry| !same(entry, after));
        let new = after.iter().filter(|entry| !same(entry, before));
        for entry in gone.chain(new) {
            queues.servers.add(Key::new(&namespace, &entry.name));
        }
        tell(
            &events,
            OwnerKind::VirtualMcpServer,
            change,
            |before, after| {
                let empty = VirtualMCPServerStatus::default();
                let (before, after) = (before.status.as_ref(), after.status.as_ref());
                transitions::of_virtual(before.unwrap_or(&empty), after.unwrap_or(&empty))
            },
        );
    })
}

/// What a VirtualMCPServer says of its backends; nothing where it cannot be decoded.
fn entries(gateway: Option<&Guarded<VirtualMCPServer>>) -> &[DiscoveredBackend] {
    let status = gateway.and_then(|gateway| gateway.0.as_ref().ok()?.status.as_ref());
    status.map_or(&[], |status| &status.discovered_backends)
}

/// Events of a change of one and the same object.
fn tell<K: Resource<DynamicType = ()>>(
    events: &Events,
    kind: OwnerKind,
    change: &Change<Guarded<K>>,
    happened: impl Fn(&K, &K) -> Vec<Happened>,
) {
    let Some(after) = &change.after else { return };
    let Some(owner) = Owner::of(kind, after.meta()) else {
        return;
    };
    let new = match &after.0 {
        Ok(new) => new,
        Err(error) => {
            tracing::warn!(kind = kind.as_str(), %error, "object skipped");
            let note = format!("skipped, because it cannot be decoded: {error}");
            events.emit(Emission::new(owner, undecodable(note)));
            return;
        }
    };
    let before = change
        .before
        .as_ref()
        .filter(|b| b.meta().uid == after.meta().uid);
    let Some(Ok(old)) = before.map(|before| &before.0) else {
        return;
    };
    for one in happened(old, new) {
        events.emit(Emission::new(owner.clone(), one));
    }
}

fn undecodable(note: String) -> Happened {
    let reason = EventReason::UndecodableObject;
    Happened {
        reason,
        weight: Weight::Warning,
        note,
        action: reason.as_str().to_owned(),
        backend: None,
    }
}
