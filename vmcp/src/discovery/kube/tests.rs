use serde_json::{Value, json};

use super::*;

fn discovery(uid: Option<&str>) -> KubeDiscovery {
    let identity = Identity {
        namespace: "team".to_owned(),
        name: "all".to_owned(),
        uid: uid.map(str::to_owned),
    };
    KubeDiscovery::new(identity, Vec::new(), watch::Sender::default()).0
}

fn guard<K: Resource + DeserializeOwned>(object: Value) -> DeserializeGuard<K> {
    serde_json::from_value(object).unwrap()
}

fn gateway(uid: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": "all", "namespace": "team", "uid": uid, "resourceVersion": version},
        "spec": {"backends": {"selector": {}}},
    })
}

fn server(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "team", "uid": name},
        "spec": {"service": {"name": format!("svc-{name}"), "port": 80}},
    })
}

fn slice(name: &str, service: &str, addresses: &[&str]) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": addresses, "conditions": {"ready": true}}],
    })
}

fn see_gateway(discovery: &mut KubeDiscovery, object: Value) -> Vec<Event> {
    discovery.take(Seen::Gateway(Box::new(watcher::Event::Apply(guard(
        object,
    )))))
}

/// Lists these servers whole.
fn list_servers(discovery: &mut KubeDiscovery, names: &[&str]) -> Vec<Event> {
    let mut all = discovery.take(Seen::Server(Box::new(watcher::Event::Init)));
    for name in names {
        let event = watcher::Event::InitApply(guard(server(name)));
        all.extend(discovery.take(Seen::Server(Box::new(event))));
    }
    all.extend(discovery.take(Seen::Server(Box::new(watcher::Event::InitDone))));
    all
}

fn list_gateway(discovery: &mut KubeDiscovery, object: Value) -> Vec<Event> {
    let mut all = discovery.take(Seen::Gateway(Box::new(watcher::Event::Init)));
    let event = watcher::Event::InitApply(guard(object));
    all.extend(discovery.take(Seen::Gateway(Box::new(event))));
    all.extend(discovery.take(Seen::Gateway(Box::new(watcher::Event::InitDone))));
    all
}

fn backends(events: &[Event]) -> Vec<Vec<String>> {
    let names = |desired: &Desired| {
        let ids = desired.backends.iter().map(|backend| &backend.id);
        ids.map(|id| id.name.to_string()).collect()
    };
    events
        .iter()
        .filter_map(|event| match event {
            Event::Discovered(desired) => Some(names(desired)),
            _ => None,
        })
        .collect()
}

/// R2.8: a start must never look like a mass deletion, in whichever order the lists arrive.
#[test]
fn a_configuration_is_handed_out_only_after_both_lists_are_whole() {
    let mut servers_first = discovery(Some("u"));
    assert!(list_servers(&mut servers_first, &["a", "b"]).is_empty());
    let events = list_gateway(&mut servers_first, gateway("u", "1"));
    assert_eq!(backends(&events), [["a", "b"]]);

    let mut gateway_first = discovery(Some("u"));
    assert!(list_gateway(&mut gateway_first, gateway("u", "1")).is_empty());
    let events = list_servers(&mut gateway_first, &["a", "b"]);
    assert_eq!(backends(&events), [["a", "b"]], "once, not for each server");
}

/// Decision 7: an object of our name with another UID is another gateway's.
#[test]
fn a_gateway_object_of_another_uid_is_ignored() {
    let mut discovery = discovery(Some("ours"));
    list_servers(&mut discovery, &["a"]);

    assert!(list_gateway(&mut discovery, gateway("theirs", "1")).is_empty());
    assert!(discovery.live.borrow().is_none());
    assert_eq!(
        backends(&see_gateway(&mut discovery, gateway("ours", "2"))),
        [["a"]]
    );
}

/// R2.8: what is deleted is not desired any more, also where the watch missed the deletion.
#[test]
fn a_deleted_server_is_desired_no_longer() {
    let mut discovery = discovery(None);
    list_gateway(&mut discovery, gateway("u", "1"));
    list_servers(&mut discovery, &["a", "b", "c"]);

    let event = watcher::Event::Delete(guard(server("a")));
    let deleted = discovery.take(Seen::Server(Box::new(event)));
    let missed = list_servers(&mut discovery, &["c"]);

    assert_eq!(backends(&deleted), [["b", "c"]]);
    assert_eq!(backends(&missed), [["c"]]);
}

/// Steady state: a status write, ours or the operator's, is no news.
#[test]
fn a_change_of_status_is_no_news() {
    let mut discovery = discovery(None);
    list_servers(&mut discovery, &["a"]);
    list_gateway(&mut discovery, gateway("u", "1"));

    let mut changed = gateway("u", "2");
    changed["status"] = json!({"phase": "Ready"});
    assert!(see_gateway(&mut discovery, changed).is_empty());

    let live = discovery.live.borrow().clone().unwrap();
    assert_eq!(
        live.resource_version().as_deref(),
        Some("2"),
        "the status writer sees it"
    );
}

/// R4.8: one object that cannot be decoded stops no other.
#[test]
fn an_undecodable_server_is_skipped_and_the_others_stay() {
    let mut discovery = discovery(None);
    list_gateway(&mut discovery, gateway("u", "1"));
    list_servers(&mut discovery, &["a"]);

    let broken = json!({"metadata": {"name": "b", "uid": "b"}, "spec": "no map"});
    let event = watcher::Event::Apply(guard(broken));
    let skipped = discovery.take(Seen::Server(Box::new(event)));
    let event = watcher::Event::Apply(guard(server("c")));
    let added = discovery.take(Seen::Server(Box::new(event)));

    assert!(skipped.is_empty());
    assert_eq!(backends(&added), [["a", "c"]]);
}

/// Build 8: the last good configuration stays, and the fault is said.
#[test]
fn an_undecodable_gateway_object_is_a_rejected_configuration() {
    let mut discovery = discovery(None);
    list_servers(&mut discovery, &["a"]);
    list_gateway(&mut discovery, gateway("u", "1"));

    let mut broken = gateway("u", "2");
    broken["spec"] = json!("no map");
    let events = see_gateway(&mut discovery, broken);

    assert!(matches!(&events[..], [Event::Rejected { message }] if message.contains("\"all\"")));
    let again = see_gateway(&mut discovery, gateway("u", "3"));
    assert_eq!(backends(&again), [["a"]], "going back is news");
}

/// R2.6: changed addresses wake the backends of that Service, an unchanged slice wakes nobody.
#[test]
fn changed_addresses_wake_their_service() {
    let mut discovery = discovery(None);
    let see = |discovery: &mut KubeDiscovery, event| discovery.take(Seen::Slice(Box::new(event)));
    let apply = |object| watcher::Event::Apply(guard(object));
    see(&mut discovery, watcher::Event::Init);
    see(
        &mut discovery,
        watcher::Event::InitApply(guard(slice("x", "svc-a", &["10.0.0.1"]))),
    );
    assert!(
        see(&mut discovery, watcher::Event::InitDone).is_empty(),
        "the first list is no news"
    );

    let same = see(&mut discovery, apply(slice("x", "svc-a", &["10.0.0.1"])));
    let other = see(&mut discovery, apply(slice("x", "svc-a", &["10.0.0.2"])));

    assert!(same.is_empty());
    assert!(matches!(&other[..], [Event::WakeService { service }] if **service == *"svc-a"));
}

/// Architecture 8, R4.2: the pods of a Service reach those who connect beside the configuration,
/// which stays the same while they come and go.
#[test]
fn pods_come_and_go_without_a_new_configuration() {
    let mut discovery = discovery(None);
    list_servers(&mut discovery, &["a"]);
    let events = list_gateway(&mut discovery, gateway("u", "1"));
    let Some(Event::Discovered(desired)) = events.last() else {
        panic!("no configuration: {events:?}");
    };
    let pods = desired.backends[0].target.as_ref().unwrap().pods.clone();
    assert_eq!(pods.now(), None, "no slice was seen yet");
    let see = |discovery: &mut KubeDiscovery, event| discovery.take(Seen::Slice(Box::new(event)));
    let ported = |addresses: &[&str]| {
        let mut slice = slice("x", "svc-a", addresses);
        slice["ports"] = json!([{ "port": 8080, "appProtocol": "kubernetes.io/h2c" }]);
        guard(slice)
    };

    see(&mut discovery, watcher::Event::Init);
    see(
        &mut discovery,
        watcher::Event::InitApply(ported(&["10.0.0.1"])),
    );
    let woken = see(&mut discovery, watcher::Event::InitDone);
    assert!(
        matches!(&woken[..], [Event::WakeService { service }] if **service == *"svc-a"),
        "another HTTP is spoken: {woken:?}"
    );
    let list = pods.now().unwrap();
    assert_eq!(list.ready, ["10.0.0.1:8080".parse().unwrap()]);
    assert_eq!(list.http, crate::pods::Http::Two);

    let moved = see(&mut discovery, watcher::Event::Apply(ported(&["10.0.0.2"])));
    assert!(matches!(&moved[..], [Event::WakeService { .. }]));
    assert_eq!(
        pods.now().unwrap().ready,
        ["10.0.0.2:8080".parse().unwrap()]
    );
    let again = see_gateway(&mut discovery, gateway("u", "2"));
    assert!(
        backends(&again).is_empty(),
        "pods are no configuration: {again:?}"
    );
}
