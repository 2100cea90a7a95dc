//! What every visit shares: the caches, the writer, the guard, the clocks. Owns the few
//! things that the operator remembers between visits; all of them may be lost at a
//! restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::DeserializeGuard;
use vmcp_crds::labels::FIELD_MANAGER_STATUS;
use vmcp_crds::names::owned_by_virtual_mcp_server;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;
use vmcp_crds::{MCPServer, VirtualMCPServer};

use crate::apply::Writer;
use crate::cache::Cache;
use crate::client::CallError;
use crate::events::Events;
use crate::guard::Guard;
use crate::lease::{Freshness, LeaseBook};
use crate::look::Reader;
use crate::queue::{Key, Queue};
use crate::virtualmcpserver::validate::Settings;

/// An object of ours, or the reason why it cannot be decoded.
pub type Guarded<K> = DeserializeGuard<K>;

/// One cache per watched kind.
#[derive(Clone, Debug)]
pub struct Caches {
    pub mcp_servers: Cache<Guarded<MCPServer>>,
    pub virtual_servers: Cache<Guarded<VirtualMCPServer>>,
    pub deployments: Cache<Deployment>,
    pub services: Cache<Service>,
    pub service_accounts: Cache<ServiceAccount>,
    pub role_bindings: Cache<RoleBinding>,
    pub budgets: Cache<PodDisruptionBudget>,
    pub pods: Cache<Pod>,
    pub leases: Cache<Lease>,
}

impl Caches {
    /// Whether everything was listed once: before, absence means nothing.
    #[must_use]
    pub fn are_synced(&self) -> bool {
        self.mcp_servers.is_synced()
            && self.virtual_servers.is_synced()
            && self.deployments.is_synced()
            && self.services.is_synced()
            && self.service_accounts.is_synced()
            && self.role_bindings.is_synced()
            && self.budgets.is_synced()
            && self.pods.is_synced()
            && self.leases.is_synced()
    }

    /// Returns when everything was listed once; `false` where a watch ended before.
    pub async fn synced(&self) -> bool {
        self.mcp_servers.synced().await
            && self.virtual_servers.synced().await
            && self.deployments.synced().await
            && self.services.synced().await
            && self.service_accounts.synced().await
            && self.role_bindings.synced().await
            && self.budgets.synced().await
            && self.pods.synced().await
            && self.leases.synced().await
    }
}

/// The two queues.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    pub servers: Arc<Queue>,
    pub virtuals: Arc<Queue>,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    pub settings: Settings,
    pub caches: Caches,
    pub queues: Queues,
    pub writer: Writer,
    pub reader: Reader,
    pub guard: Arc<Guard>,
    pub events: Events,
    pub leases: Arc<Mutex<LeaseBook>>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// When we first knew that a server is deleted, by gateway and UID of the server.
    deleted: HashMap<Key, HashMap<String, Instant>>,
    /// UID of a gateway, and whether the servers behind it were told that it serves.
    announced: HashMap<Key, (String, bool)>,
    /// Session key that was made and may not be recorded yet, by UID of the gateway.
    keys: HashMap<String, String>,
}

impl World {
    #[must_use]
    pub fn new(
        settings: Settings,
        caches: Caches,
        queues: Queues,
        (writer, reader): (Writer, Reader),
        (guard, leases): (Arc<Guard>, Arc<Mutex<LeaseBook>>),
        events: Events,
    ) -> Self {
        Self {
            settings,
            caches,
            queues,
            writer,
            reader,
            guard,
            events,
            leases,
            memory: Mutex::default(),
        }
    }

    /// Now, as conditions say it: whole seconds.
    #[must_use]
    pub fn now(&self) -> Time {
        let now = Timestamp::now();
        Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }

    #[must_use]
    pub fn mcp_server(&self, key: &Key) -> Option<Arc<MCPServer>> {
        decoded(
            self.caches
                .mcp_servers
                .get(&key.namespace, &key.name)?
                .as_ref(),
        )
    }

    #[must_use]
    pub fn virtual_server(&self, key: &Key) -> Option<Arc<VirtualMCPServer>> {
        let found = self.caches.virtual_servers.get(&key.namespace, &key.name)?;
        decoded(found.as_ref())
    }

    /// Those that can be decoded.
    #[must_use]
    pub fn mcp_servers(&self, namespace: &str) -> Vec<Arc<MCPServer>> {
        let all = self.caches.mcp_servers.list(namespace);
        all.iter().filter_map(|found| decoded(found)).collect()
    }

    /// Those that can be decoded.
    #[must_use]
    pub fn virtual_servers(&self, namespace: &str) -> Vec<Arc<VirtualMCPServer>> {
        let all = self.caches.virtual_servers.list(namespace);
        all.iter().filter_map(|found| decoded(found)).collect()
    }

    /// A session key was made for this gateway.
    pub fn note_key(&self, uid: &str, secret: &str) {
        let mut memory = self.memory();
        memory.keys.insert(uid.to_owned(), secret.to_owned());
    }

    /// A session key that was made and that the Deployment does not name: where writing it
    /// failed, the next visit makes no other.
    #[must_use]
    pub fn unrecorded_key(&self, uid: &str, recorded: &[String]) -> Option<String> {
        let name = self.memory().keys.get(uid).cloned();
        name.filter(|name| !recorded.contains(name))
    }

    /// Whether the caches show everything that we wrote for this owner.
    #[must_use]
    pub fn is_settled(&self, owner_uid: &str) -> bool {
        self.guard.settled(owner_uid, Instant::now())
    }

    /// Whether a gateway of this VirtualMCPServer is alive.
    #[must_use]
    pub fn gateway_freshness(&self, gateway: &ObjectMeta) -> Freshness {
        let (Some(namespace), Some(name), Some(uid)) =
            (&gateway.namespace, &gateway.name, &gateway.uid)
        else {
            return Freshness::Absent;
        };
        let lease = owned_by_virtual_mcp_server(name);
        let book = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        book.freshness(namespace, &lease, uid, Instant::now())
    }

    /// When a gateway of this VirtualMCPServer last renewed its Lease, by the server's clock.
    #[must_use]
    pub fn lease_renewed(&self, gateway: &ObjectMeta) -> Option<Timestamp> {
        let (namespace, name) = (gateway.namespace.as_ref()?, gateway.name.as_ref()?);
        let lease = owned_by_virtual_mcp_server(name);
        let lease = self.caches.leases.get(namespace, &lease)?;
        let mut owners = lease.metadata.owner_references.iter().flatten();
        owners.find(|owner| Some(&owner.uid) == gateway.uid.as_ref())?;
        renewed_at(&lease)
    }

    /// Looks at the Lease itself and takes note: before anybody's place is taken, the cache
    /// alone does not do. Its watch may lag behind that of the VirtualMCPServer.
    ///
    /// # Errors
    /// The API server cannot be reached.
    pub async fn look_at_lease(&self, gateway: &ObjectMeta) -> Result<(), CallError> {
        let (Some(namespace), Some(name)) = (&gateway.namespace, &gateway.name) else {
            return Ok(());
        };
        let lease = owned_by_virtual_mcp_server(name);
        if let Some(live) = self.reader.lease(namespace, &lease).await? {
            let mut book = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
            book.observe(&live, Instant::now());
        }
        Ok(())
    }

    /// Whether a cached MCPServer of this UID exists and nobody deletes it, decodable or not.
    #[must_use]
    pub fn is_alive(&self, namespace: &str, uid: &str) -> bool {
        let all = self.caches.mcp_servers.list(namespace);
        all.iter().any(|server| {
            let meta = server.meta();
            meta.uid.as_deref() == Some(uid) && meta.deletion_timestamp.is_none()
        })
    }

    /// How long this server is known to be deleted; the first question starts the clock.
    #[must_use]
    pub fn deleted_for(&self, gateway: &Key, server_uid: &str, now: Instant) -> Duration {
        let mut memory = self.memory();
        let clocks = memory.deleted.entry(gateway.clone()).or_default();
        let since = *clocks.entry(server_uid.to_owned()).or_insert(now);
        now.saturating_duration_since(since)
    }

    /// Has the servers behind a gateway look again when it came or went: their phase
    /// follows from what living gateways say. Keeps the clock of those deleted servers
    /// only that still have an entry.
    pub fn announce(&self, key: &Key, gateway: &VirtualMCPServer, freshness: Freshness) {
        let entries: Vec<&DiscoveredBackend> = gateway
            .status
            .iter()
            .flat_map(|status| &status.discovered_backends)
            .collect();
        let mut memory = self.memory();
        if let Some(clocks) = memory.deleted.get_mut(key) {
            clocks.retain(|uid, _| entries.iter().any(|e| e.uid.as_ref() == Some(uid)));
        }
        let now = (
            gateway.metadata.uid.clone().unwrap_or_default(),
            freshness.is_fresh(),
        );
        let before = memory.announced.insert(key.clone(), now.clone());
        drop(memory);
        if before.as_ref() == Some(&now) {
            return;
        }
        for entry in entries {
            let server = Key::new(&key.namespace, &entry.name);
            self.queues.servers.add(server);
        }
    }

    /// Forgets what is remembered for a VirtualMCPServer that is gone.
    pub fn forget(&self, gateway: &Key) {
        let mut memory = self.memory();
        memory.announced.remove(gateway);
        memory.deleted.remove(gateway);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a gateway last wrote the Lease. The server notes that beside what the gateway owns;
/// the times in the Lease are another clock's.
fn renewed_at(lease: &Lease) -> Option<Timestamp> {
    let entries = lease.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER_STATUS))
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .max()
}

/// A copy of an object that can be decoded.
fn decoded<K: Clone>(found: &Guarded<K>) -> Option<Arc<K>> {
    found.0.as_ref().ok().cloned().map(Arc::new)
}
