//! The other replicas of this gateway.
//!
//! Owns the two sources of the roster: the EndpointSlices of our own Service, and a file for
//! gateways without a cluster. Never talks to a replica: readiness is what the source says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::kube::SERVICE_NAME;
use crate::peer::{Peer, Roster, Standing};

/// The peer port of a pod. Fixed, because EndpointSlices carry only the ports of the Service.
pub const PEER_PORT: u16 = 9091;

/// Between two looks at the file: it is small, and watching it would tell no sooner.
const LOOK: Duration = Duration::from_millis(200);

/// Replicas that a roster may name.
const MAX_PEERS: usize = 100;

/// The pods behind a Service, by its EndpointSlices.
#[must_use]
pub fn of_slices<'a>(service: &str, slices: impl Iterator<Item = &'a EndpointSlice>) -> Vec<Peer> {
    let own = slices.filter(|slice| {
        slice
            .labels()
            .get(SERVICE_NAME)
            .is_some_and(|name| name == service)
    });
    let mut peers: Vec<Peer> = own
        .flat_map(|slice| &slice.endpoints)
        .flatten()
        .filter_map(peer)
        .collect();
    // A pod stands in a slice for each address family: the first one is as good as the other.
    peers.sort_by(|a, b| (&a.pod, &a.address).cmp(&(&b.pod, &b.address)));
    peers.dedup_by(|a, b| a.pod == b.pod);
    peers.truncate(MAX_PEERS);
    peers
}

fn peer(endpoint: &Endpoint) -> Option<Peer> {
    let pod = endpoint.target_ref.as_ref()?.name.as_deref()?;
    let address = endpoint.addresses.first()?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready);
    let address = match address.contains(':') {
        true => format!("[{address}]:{PEER_PORT}"),
        false => format!("{address}:{PEER_PORT}"),
    };
    Some(Peer {
        pod: pod.into(),
        address: address.into(),
        standing: match ready {
            Some(false) => Standing::Unready,
            Some(true) | None => Standing::Ready,
        },
    })
}

/// Follows a file with one replica a line: `POD HOST:PORT [unready]`. Lines that say nothing of the
/// kind are left out; a file that cannot be read changes nothing.
pub async fn follow_file(
    path: PathBuf,
    roster: watch::Sender<Arc<Roster>>,
    cancel: CancellationToken,
) {
    loop {
        if let Ok(text) = tokio::fs::read_to_string(&path).await {
            let peers: Vec<Peer> = text.lines().filter_map(line).take(MAX_PEERS).collect();
            publish(&roster, peers);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Makes a new roster known if it is new.
pub fn publish(roster: &watch::Sender<Arc<Roster>>, peers: Vec<Peer>) {
    roster.send_if_modified(|old| {
        let changed = *old.peers != *peers;
        let first = !old.heard;
        if changed {
            tracing::info!(replicas = peers.len(), "replicas changed");
            let known = |peer: &&Peer| {
                let mut old = old.peers.iter();
                old.any(|one| one.pod == peer.pod && one.address == peer.address)
            };
            for Peer { pod, address, .. } in peers.iter().filter(|peer| !known(peer)) {
                tracing::info!(%pod, %address, "replica found");
            }
        }
        if changed || first {
            *old = Arc::new(Roster {
                peers: peers.into(),
                heard: true,
            });
        }
        changed || first
    });
}

fn line(line: &str) -> Option<Peer> {
    let mut words = line.split_whitespace();
    let (pod, address) = (words.next()?, words.next()?);
    if pod.starts_with('#') {
        return None;
    }
    Some(Peer {
        pod: pod.into(),
        address: address.into(),
        standing: match words.next() {
            Some("unready") => Standing::Unready,
            _ => Standing::Ready,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(service: &str, endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "x", "labels": {SERVICE_NAME: service}},
            "addressType": "IPv4", "ports": [], "endpoints": endpoints,
        }))
        .unwrap()
    }

    #[test]
    fn the_pods_of_our_own_service_are_the_replicas() {
        let own = slice(
            "vmcp-all",
            json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                 "targetRef": {"kind": "Pod", "name": "vmcp-all-1"}},
                {"addresses": ["10.0.0.2"],
                 "conditions": {"ready": false, "serving": true, "terminating": true},
                 "targetRef": {"kind": "Pod", "name": "vmcp-all-2"}},
                {"addresses": ["10.0.0.9"], "conditions": {"ready": true}},
            ]),
        );
        let twin = slice(
            "vmcp-all",
            json!([{"addresses": ["fd00::1"],
                    "targetRef": {"kind": "Pod", "name": "vmcp-all-1"}}]),
        );
        let other = slice(
            "mcp-git",
            json!([{"addresses": ["10.0.0.3"],
                    "targetRef": {"kind": "Pod", "name": "mcp-git-1"}}]),
        );

        let found = of_slices("vmcp-all", [&own, &twin, &other].into_iter());

        let peer = |pod: &str, address: &str, standing| Peer {
            pod: pod.into(),
            address: address.into(),
            standing,
        };
        assert_eq!(
            found,
            vec![
                peer("vmcp-all-1", "10.0.0.1:9091", Standing::Ready),
                peer("vmcp-all-2", "10.0.0.2:9091", Standing::Unready),
            ]
        );
    }

    #[test]
    fn a_line_names_a_replica_or_nothing() {
        assert_eq!(
            line("b 127.0.0.1:9 unready").unwrap().standing,
            Standing::Unready
        );
        assert_eq!(line("b 127.0.0.1:9").unwrap().standing, Standing::Ready);
        assert!(line("# a comment").is_none() && line("").is_none() && line("b").is_none());
    }
}
