//! Step 1: everything that a visit reads, from the caches.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use vmcp_crds::labels;
use vmcp_crds::names::owned_by_mcp_server;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;

use super::facts::Seen;
use crate::queue::Key;
use crate::world::World;

/// `None` where there is nothing to do: gone, going, or not to be decoded.
#[must_use]
pub fn dereference(world: &World, key: &Key) -> Option<Seen> {
    let server = world.mcp_server(key)?;
    if server.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let uid = server.metadata.uid.clone()?;
    let caches = &world.caches;
    let of_server = |pod: &Arc<Pod>| {
        let own = pod.metadata.labels.as_ref();
        own.and_then(|own| own.get(labels::MCP_SERVER)) == Some(&key.name)
    };
    let pods = caches.pods.list(&key.namespace);
    Some(Seen {
        deployment: caches
            .deployments
            .get(&key.namespace, &owned_by_mcp_server(&key.name)),
        pods: pods.into_iter().filter(of_server).collect(),
        reports: reports(world, key, &uid),
        server,
    })
}

fn reports(world: &World, key: &Key, uid: &str) -> Vec<DiscoveredBackend> {
    let mut found = Vec::new();
    for gateway in world.virtual_servers(&key.namespace) {
        let mut entries = gateway.status.iter().flat_map(|s| &s.discovered_backends);
        let Some(entry) = entries.find(|entry| entry.uid.as_deref() == Some(uid)) else {
            continue;
        };
        if world.gateway_freshness(&gateway.metadata).is_fresh() {
            found.push(entry.clone());
        }
    }
    found.sort_by(|a, b| a.last_transition_time.cmp(&b.last_transition_time));
    found
}
