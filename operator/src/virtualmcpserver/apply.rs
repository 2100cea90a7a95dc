//! Step 4: the writes of a visit, in order. A name that a stranger holds stops the rest
//! of the chain: a binding to a stranger's ServiceAccount would give it our rights.

use std::time::{Duration, Instant};

use serde_json::Value;
use vmcp_crds::VirtualMCPServer;

use super::build::{self, Objects};
use super::facts::{Facts, Seen, Serving};
use super::mint;
use super::prune::{self, Gateway, Knowledge};
use super::validate::ValidatedGateway;
use crate::client::CallError;
use crate::ensured::{Ensured, Hindrance};
use crate::events::Emission;
use crate::owner::Standing;
use crate::queue::Key;
use crate::world::World;

/// What the writes came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The first thing in the way.
    pub hindrance: Option<Hindrance>,
    /// When the session keys change next.
    pub keys_due: Option<Duration>,
}

/// Makes the cluster hold exactly `objects`.
///
/// # Errors
/// The API server cannot be reached, or somebody was faster.
pub async fn apply(
    world: &World,
    gateway: &mut ValidatedGateway,
    seen: &Seen,
    objects: Objects,
) -> Result<Applied, CallError> {
    let owner = gateway.owner.clone();
    let (owner, writer, caches) = (&owner, &world.writer, &world.caches);
    let name = owner.child_name();
    writer
        .collect(owner, objects.budget.as_ref(), &caches.budgets)
        .await?;
    replace_binding(world, gateway, &objects).await?;
    let done = writer
        .ensure(owner, &objects.service_account, &caches.service_accounts)
        .await?;
    let mut hindrance = Hindrance::of("ServiceAccount", &name, &done);
    if hindrance.is_none() {
        let done = writer
            .ensure(owner, &objects.role_binding, &caches.role_bindings)
            .await?;
        hindrance = Hindrance::of("RoleBinding", &name, &done);
    }
    if hindrance.is_none() {
        let done = writer
            .ensure(owner, &objects.service, &caches.services)
            .await?;
        hindrance = Hindrance::of("Service", &name, &done);
    }
    let mut keys_due = None;
    if hindrance.is_none() {
        // Boxed: with the requests in it the future of a visit becomes too large.
        match Box::pin(deployment(world, gateway, seen)).await? {
            Ok(due) => keys_due = due,
            Err(in_the_way) => hindrance = Some(in_the_way),
        }
    }
    if let (None, Some(budget)) = (&hindrance, &objects.budget) {
        let done = writer.ensure(owner, budget, &caches.budgets).await?;
        hindrance = Hindrance::of("PodDisruptionBudget", &name, &done);
    }
    Ok(Applied {
        hindrance,
        keys_due,
    })
}

/// The Deployment with its session keys, which exist before it names them.
async fn deployment(
    world: &World,
    gateway: &mut ValidatedGateway,
    seen: &Seen,
) -> Result<Result<Option<Duration>, Hindrance>, CallError> {
    let (owner, name) = (gateway.owner.clone(), gateway.owner.child_name());
    let live = seen.deployment.as_deref();
    let ours = live.is_none_or(|live| owner.standing(&live.metadata) == Standing::Ours);
    let mut due = None;
    // No key for a Deployment that will not be written.
    if ours {
        match mint::settle(world, gateway, live).await? {
            Ok(settled) => {
                gateway.keys = settled.keys;
                due = settled.look_again;
            }
            Err(hindrance) => return Ok(Err(hindrance)),
        }
    }
    let wanted = build::deployment(gateway);
    let deployments = &world.caches.deployments;
    let done = world.writer.ensure(&owner, &wanted, deployments).await?;
    if matches!(done, Ensured::Created | Ensured::Updated) {
        world.events.emit(Emission::rollout_started(&owner, &name));
    }
    Ok(Hindrance::of("Deployment", &name, &done).map_or(Ok(due), Err))
}

/// The role of a binding cannot be changed: one that names another role goes first.
async fn replace_binding(
    world: &World,
    gateway: &ValidatedGateway,
    objects: &Objects,
) -> Result<(), CallError> {
    let owner = &gateway.owner;
    let cache = &world.caches.role_bindings;
    let Some(live) = cache.get(&owner.namespace, &owner.child_name()) else {
        return Ok(());
    };
    let ours = owner.standing(&live.metadata) == Standing::Ours;
    if ours && live.role_ref != objects.role_binding.role_ref {
        world.writer.delete(owner, live.as_ref(), cache).await?;
        // It is still in the cache: what comes next would change it in place.
        return Err(CallError::Conflict);
    }
    Ok(())
}

/// What became of entries that nobody else removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub wrote: bool,
    pub wait: Option<Duration>,
}

/// Removes the entries of servers that are gone, when it is our turn.
///
/// # Errors
/// The API server cannot be reached, or somebody was faster.
pub async fn prune(
    world: &World,
    key: &Key,
    facts: &Facts<'_>,
    seen: &Seen,
) -> Result<Pruned, CallError> {
    let gateway = match facts.serving {
        Serving::Gateway => Gateway::Alive,
        Serving::RollingOut | Serving::Away => Gateway::Gone,
    };
    let knowledge = CachedKnowledge {
        world,
        key,
        facts,
        now: seen.now,
    };
    let cached = entries_of(&seen.gateway)?;
    let plan = prune::plan(&cached, gateway, &knowledge);
    let nothing = Pruned {
        wrote: false,
        wait: plan.wait,
    };
    if plan.remove.is_empty() {
        return Ok(nothing);
    }
    // The patch tests entries to the letter, so they come as the server writes them.
    let status = world.writer.raw_status(seen.gateway.as_ref()).await?;
    let entries = status["discoveredBackends"].as_array();
    let entries = entries.map_or(&[][..], Vec::as_slice);
    let mut now = prune::plan(entries, gateway, &knowledge);
    if gateway == Gateway::Alive {
        now.remove = really_gone(world, key, entries, &now.remove).await?;
    }
    let uid = &facts.gateway.owner.uid;
    let Some(patch) = prune::patch(uid, &status, &now.remove) else {
        return Ok(nothing);
    };
    let cache = &world.caches.virtual_servers;
    let removed = now.remove.len();
    let writer = &world.writer;
    writer
        .patch_status(seen.gateway.as_ref(), patch, cache)
        .await?;
    tracing::info!(
        namespace = facts.gateway.owner.namespace,
        virtualmcpserver = facts.gateway.owner.name,
        removed,
        "removed deleted backends from the status"
    );
    Ok(Pruned {
        wrote: true,
        wait: now.wait,
    })
}

/// Those of the entries whose server is deleted in truth and not only for our cache: a
/// gateway that sees it would add the entry again.
async fn really_gone(
    world: &World,
    key: &Key,
    entries: &[Value],
    candidates: &[usize],
) -> Result<Vec<usize>, CallError> {
    let mut gone = Vec::new();
    for position in candidates {
        let text = |field: &str| entries[*position][field].as_str().unwrap_or_default();
        let (name, uid) = (text("name"), text("uid"));
        if !world.reader.is_alive(&key.namespace, name, uid).await? {
            gone.push(*position);
        }
    }
    Ok(gone)
}

fn entries_of(gateway: &VirtualMCPServer) -> Result<Vec<Value>, CallError> {
    let entries = gateway.status.iter().flat_map(|s| &s.discovered_backends);
    Ok(entries
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()?)
}

/// What the caches know of each entry.
#[derive(Debug)]
struct CachedKnowledge<'a> {
    world: &'a World,
    key: &'a Key,
    facts: &'a Facts<'a>,
    now: Instant,
}

impl Knowledge for CachedKnowledge<'_> {
    fn is_alive(&self, uid: &str) -> bool {
        self.world.is_alive(&self.key.namespace, uid)
    }

    fn is_expected(&self, name: &str, uid: Option<&str>) -> bool {
        let backends = &self.facts.gateway.discovery.backends;
        backends
            .iter()
            .any(|backend| backend.name == name && backend.uid == uid.unwrap_or_default())
    }

    fn deleted_for(&self, uid: &str) -> Duration {
        self.world.deleted_for(self.key, uid, self.now)
    }
}
