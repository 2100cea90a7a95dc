//! Step 1: everything that a visit reads, from the caches.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use vmcp_crds::labels;
use vmcp_crds::names::owned_by_virtual_mcp_server;

use super::facts::Seen;
use crate::client::CallError;
use crate::queue::Key;
use crate::world::World;

/// Looks at the Lease itself where the cache says that nobody holds it.
///
/// # Errors
/// The API server cannot be reached.
pub async fn confirm(world: &World, seen: &mut Seen) -> Result<(), CallError> {
    if !seen.freshness.is_fresh() {
        world.look_at_lease(&seen.gateway.metadata).await?;
        seen.freshness = world.gateway_freshness(&seen.gateway.metadata);
    }
    Ok(())
}

/// `None` where there is nothing to do: gone, going, or not to be decoded.
#[must_use]
pub fn dereference(world: &World, key: &Key) -> Option<Seen> {
    let gateway = world.virtual_server(key)?;
    if gateway.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let caches = &world.caches;
    let child = owned_by_virtual_mcp_server(&key.name);
    let of_gateway = |pod: &Arc<Pod>| {
        let own = pod.metadata.labels.as_ref();
        own.and_then(|own| own.get(labels::VIRTUAL_MCP_SERVER)) == Some(&key.name)
    };
    let pods = caches.pods.list(&key.namespace);
    Some(Seen {
        servers: world.mcp_servers(&key.namespace),
        deployment: caches.deployments.get(&key.namespace, &child),
        pods: pods.into_iter().filter(of_gateway).collect(),
        renewed: world.lease_renewed(&gateway.metadata),
        freshness: world.gateway_freshness(&gateway.metadata),
        now: Instant::now(),
        gateway,
    })
}
