//! What differs and what does not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Value, json};

use super::{APPLY, UPDATE, contains, owns_all, owns_more, position_of_update};

fn managed(operation: &str, fields: Value) -> ObjectMeta {
    ObjectMeta {
        managed_fields: Some(vec![ManagedFieldsEntry {
            manager: Some("me".to_owned()),
            operation: Some(operation.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }]),
        ..ObjectMeta::default()
    }
}

/// Show: a steady state writes nothing.
#[test]
fn what_the_server_and_others_added_makes_no_difference() {
    let wanted = json!({"spec": {"replicas": 1, "containers": [
        {"name": "server", "ports": [{"containerPort": 80}], "env": []}]}});
    let live = json!({"metadata": {"uid": "1"}, "spec": {"replicas": 1, "paused": false,
        "containers": [{"name": "sidecar"}, {"name": "server", "tty": false,
            "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}});

    assert!(contains(&live, &wanted));
}

/// Build 4: drift in what we want is seen, whoever caused it.
#[test]
fn a_changed_value_a_lost_element_and_another_order_of_a_plain_list_differ() {
    let wanted = json!({"args": ["a", "b"], "env": [{"name": "X", "value": "1"}]});

    let changed = json!({"args": ["a", "b"], "env": [{"name": "X", "value": "2"}]});
    let lost = json!({"args": ["a", "b"], "env": []});
    let turned = json!({"args": ["b", "a"], "env": [{"name": "X", "value": "1"}]});

    for live in [changed, lost, turned] {
        assert!(!contains(&live, &wanted), "{live}");
    }
}

/// Build 4: a field that is no longer wanted is removed, which takes an apply.
#[test]
fn an_owned_field_that_is_no_longer_wanted_is_noticed() {
    let meta = managed(
        APPLY,
        json!({"f:spec": {"f:a": {}, "f:ports": {
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}),
    );
    let same = json!({"spec": {"a": 1, "ports": [{"port": 80}]}});
    let less = json!({"spec": {"ports": [{"port": 80}]}});
    let moved = json!({"spec": {"a": 1, "ports": [{"port": 81}]}});

    let more = |manager, wanted| owns_more(&meta, (manager, ""), &same, wanted);
    assert!(!more("me", &same));
    assert!(more("me", &less));
    assert!(more("me", &moved));
    assert!(!more("another", &less));
}

/// Build 4: what a POST made is taken over before the first apply.
#[test]
fn the_entry_that_a_post_left_is_found() {
    assert_eq!(
        position_of_update(&managed(UPDATE, json!({})), "me"),
        Some(0)
    );
    assert_eq!(position_of_update(&managed(APPLY, json!({})), "me"), None);
}

/// Whether a visit would leave the object as it is.
fn stays(set: &Value, live: &Value, wanted: &Value) -> bool {
    let meta = managed(APPLY, set.clone());
    contains(live, wanted)
        && !owns_more(&meta, ("me", ""), live, wanted)
        && owns_all(&meta, "me", wanted)
}

/// Build 4: a map or a list that the server replaces as a whole has no owner per member; what
/// leaves ours must leave the cluster.
#[test]
fn less_of_what_is_owned_as_one_piece_differs() {
    let two = json!({"nodeSelector": {"disk": "ssd", "zone": "a"},
        "tolerations": [{"key": "gpu", "effect": "NoSchedule"}, {"key": "spot"}],
        "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "b"}],
        "affinity": {"terms": [{"matchExpressions": [
            {"key": "x", "operator": "Exists"}, {"key": "y", "operator": "Exists"}]}]}});
    let set = json!({"f:nodeSelector": {}, "f:tolerations": {}, "f:items": {},
        "f:affinity": {"f:terms": {}}});
    assert!(stays(&set, &two, &two));

    for path in [
        "/nodeSelector/zone",
        "/tolerations/1",
        "/items/1",
        "/affinity/terms/0/matchExpressions/1",
    ] {
        let mut less = two.clone();
        let (parent, last) = path.rsplit_once('/').unwrap();
        match less.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.remove(last)),
            Value::Array(elements) => drop(elements.pop()),
            other => panic!("{other}"),
        }
        assert!(!stays(&set, &two, &less), "{path}");
    }
}

/// Build 4: who adds to such a map or list owns it from then on; what we want is no longer ours.
#[test]
fn an_addition_of_somebody_else_to_what_is_owned_as_one_piece_differs() {
    let account = json!({"kind": "ServiceAccount", "name": "vmcp-all"});
    let wanted = json!({"apiVersion": "v1", "kind": "X",
        "metadata": {"name": "vmcp-all", "labels": {"a": "b"}},
        "selector": {"app": "x"}, "subjects": [account]});
    let mut live = wanted.clone();
    live["metadata"]["labels"]["theirs"] = json!("kept");
    let ours = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:selector": {}, "f:subjects": {}});
    assert!(stays(&ours, &live, &wanted), "a label of others is theirs");

    for (field, path, more) in [
        ("f:selector", "/selector", json!({"app": "x", "no": "pod"})),
        (
            "f:subjects",
            "/subjects",
            json!([account, {"kind": "User", "name": "eve"}]),
        ),
    ] {
        let mut drifted = live.clone();
        *drifted.pointer_mut(path).unwrap() = more;
        let mut left = ours.clone();
        left.as_object_mut().unwrap().remove(field);

        assert!(!stays(&left, &drifted, &wanted), "{field} taken over");
        assert!(!stays(&ours, &drifted, &wanted), "{field} still ours");
    }
}

/// Build 4: what we want is ours field by field, in every kind of list; empty members have no owner.
#[test]
fn every_wanted_field_has_its_place_among_the_owned_ones() {
    let wanted = json!({"spec": {"ports": [{"port": 80, "name": "mcp"}], "finalizers": ["a"],
        "args": ["x"], "volumes": [{"name": "v", "emptyDir": {}}], "env": []}});
    let set = |key: &str| {
        json!({"f:spec": {"f:finalizers": {"v:\"a\"": {}}, "f:args": {},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {
                ".": {}, "f:port": {}, key: {}}},
            "f:volumes": {"k:{\"name\":\"v\"}": {".": {}, "f:name": {}, "f:emptyDir": {}}}}})
    };

    assert!(owns_all(&managed(APPLY, set("f:name")), "me", &wanted));
    assert!(owns_all(&managed(UPDATE, set("f:name")), "me", &wanted));
    assert!(!owns_all(&managed(APPLY, set("f:other")), "me", &wanted));
    assert!(!owns_all(
        &managed(APPLY, set("f:name")),
        "another",
        &wanted
    ));
}

/// Build 4: a variable may refer to an earlier one, so another order is another environment.
#[test]
fn another_order_of_the_environment_differs_and_strangers_between_do_not() {
    let named = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"env": list})
    };

    assert!(contains(&named(&["A", "theirs", "B"]), &named(&["A", "B"])));
    assert!(!contains(&named(&["B", "A"]), &named(&["A", "B"])));
}
