//! The pods of the Services that backends stand behind.
//!
//! Owns the handles that connections read and what an EndpointSlice means for them: who takes new
//! sessions, who is still there, which port, which HTTP. A handle lives as long as a backend names
//! its Service, so that a change of pods changes no backend. Pure but for the handles.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::ResourceExt as _;

use super::desired::Desired;
use super::kube::SERVICE_NAME;
use crate::pods::{Http, PodList, Pods};

/// What a port says whose server speaks HTTP/2 without encryption (KEP-3726).
const H2C: &str = "kubernetes.io/h2c";

/// Pods of one Service that are looked at; sessions beyond them are opened by the URL.
const MAX_PODS: usize = 1000;

/// A Service and the port of it that a backend names.
type Key = (Box<str>, u16);

/// The handles that were given out.
#[derive(Debug, Default)]
pub(super) struct Services {
    handles: HashMap<Key, Pods>,
}

impl Services {
    /// Gives each backend behind a Service the handle on its pods; forgets Services that nobody
    /// names.
    pub(super) fn equip<'a>(
        &mut self,
        desired: &mut Desired,
        slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    ) {
        let mut named = HashMap::new();
        for backend in &mut desired.backends {
            let (Some(service), Ok(endpoint)) = (&backend.service, &mut backend.target) else {
                continue;
            };
            let Some(port) = endpoint.url.port_or_known_default() else {
                continue;
            };
            let key = (service.clone(), port);
            let pods = self
                .handles
                .remove(&key)
                .or_else(|| named.get(&key).cloned());
            let pods = pods.unwrap_or_else(|| {
                let pods = Pods::unseen();
                pods.publish(list_of(&key, slices.clone()));
                pods
            });
            Arc::make_mut(endpoint).pods = pods.clone();
            named.insert(key, pods);
        }
        self.handles = named;
    }

    /// Tells those who connect what the slices say now. Returns the Services whose port speaks
    /// another HTTP than before.
    pub(super) fn publish<'a>(
        &self,
        slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    ) -> Vec<Box<str>> {
        let changed = self
            .handles
            .iter()
            .filter(|(key, pods)| pods.publish(list_of(key, slices.clone())));
        changed.map(|((service, _), _)| service.clone()).collect()
    }
}

/// The pods of a Service. `None`: no slice has a port that is surely the one.
fn list_of<'a>(
    (service, wanted): &Key,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> Option<PodList> {
    let mut list: Option<PodList> = None;
    for slice in slices {
        if slice.labels().get(SERVICE_NAME).map(String::as_str) != Some(service) {
            continue;
        }
        let Some((number, http)) = port_of(slice, *wanted) else {
            continue;
        };
        let list = list.get_or_insert_default();
        list.http = http;
        for (endpoint, ip) in slice.endpoints.iter().flatten().filter_map(addressed) {
            let address = SocketAddr::new(ip, number);
            if list.known.len() < MAX_PODS && stays(endpoint) && list.known.insert(address) {
                list.ready
                    .extend(takes_sessions(endpoint).then_some(address));
            }
        }
    }
    list
}

/// The pods' side of a port of the Service. A slice names it as the Service does, by a name that we
/// do not know: the only port is the one, else the one of the same number.
fn port_of(slice: &EndpointSlice, wanted: u16) -> Option<(u16, Http)> {
    let number = |port: &EndpointPort| port.port.and_then(|number| u16::try_from(number).ok());
    let port = match slice.ports.as_deref()? {
        [only] => only,
        ports => ports.iter().find(|port| number(port) == Some(wanted))?,
    };
    let http = match port.app_protocol.as_deref() {
        Some(H2C) => Http::Two,
        _ => Http::One,
    };
    Some((number(port)?, http))
}

/// All addresses of an endpoint are those of one pod.
fn addressed(endpoint: &Endpoint) -> Option<(&Endpoint, IpAddr)> {
    let ip = endpoint.addresses.first()?.parse().ok()?;
    Some((endpoint, ip))
}

fn takes_sessions(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|is| is.ready).unwrap_or(true)
}

/// A pod that is being ended goes on with its sessions as long as it serves.
fn stays(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let is = |what: Option<bool>| what.unwrap_or(false);
    conditions.is_none_or(|it| !is(it.terminating) || is(it.serving))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(ports: Value, endpoints: Value) -> EndpointSlice {
        let labels = json!({ "kubernetes.io/service-name": "tools" });
        serde_json::from_value(json!({
            "metadata": { "name": "tools-1", "labels": labels },
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn pod(ip: &str, conditions: Value) -> Value {
        json!({ "addresses": [ip], "conditions": conditions })
    }

    fn listed(slices: &[EndpointSlice], port: u16) -> Option<PodList> {
        list_of(&("tools".into(), port), slices.iter())
    }

    fn texts(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<String> {
        addresses.into_iter().map(|it| it.to_string()).collect()
    }

    /// Architecture 8: new sessions go to ready pods; those of a pod that is not ready or is being
    /// ended go on there as long as it serves.
    #[test]
    fn ready_pods_take_sessions_and_serving_ones_keep_them() {
        let endpoints = json!([
            pod("10.0.0.1", json!({ "ready": true })),
            pod("10.0.0.2", json!({ "ready": false, "serving": false })),
            pod(
                "10.0.0.3",
                json!({ "ready": false, "serving": true, "terminating": true })
            ),
            pod(
                "10.0.0.4",
                json!({ "ready": false, "serving": false, "terminating": true })
            ),
            pod("10.0.0.5", json!({})),
            pod("no address", json!({ "ready": true })),
        ]);
        let slices = [slice(json!([{ "name": "mcp", "port": 8080 }]), endpoints)];

        let list = listed(&slices, 80).unwrap();

        assert_eq!(texts(list.ready), ["10.0.0.1:8080", "10.0.0.5:8080"]);
        let known = [
            "10.0.0.1:8080",
            "10.0.0.2:8080",
            "10.0.0.3:8080",
            "10.0.0.5:8080",
        ];
        assert_eq!(texts(list.known), known);
        assert_eq!(list.http, Http::One);
    }

    /// The port of the pods is known where there is only one, or one of the same number; a guess
    /// would open sessions at a stranger's port.
    #[test]
    fn a_port_that_is_not_surely_the_one_is_not_used() {
        let pods = json!([pod("10.0.0.1", json!({}))]);
        let two = json!([
            { "name": "metrics", "port": 9090 },
            { "name": "mcp", "port": 8080, "appProtocol": "kubernetes.io/h2c" },
        ]);
        let slices = [slice(two, pods)];

        assert_eq!(listed(&slices, 80), None);
        assert_eq!(listed(&slices, 9090).unwrap().http, Http::One);
        let list = listed(&slices, 8080).unwrap();
        assert_eq!(texts(list.ready), ["10.0.0.1:8080"]);
        assert_eq!(list.http, Http::Two);
        assert_eq!(list_of(&("other".into(), 8080), slices.iter()), None);
    }
}
