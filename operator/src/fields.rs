//! Whether a live object still is what we want it to be, so that a steady state writes
//! nothing. Pure; works on JSON and on the `managedFields` that the server keeps.
//!
//! Two questions: does each field that we want stand there with its value (fields that
//! the server or others added do not matter), and do we own a field that we no longer
//! want (only another apply removes it)?

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value};

/// What `managedFields` calls a server-side apply.
pub const APPLY: &str = "Apply";
/// What `managedFields` calls every other write.
pub const UPDATE: &str = "Update";

/// Members that tell the elements of a list apart, most telling first.
const KEYS: &[&str] = &[
    "uid",
    "name",
    "containerPort",
    "port",
    "mountPath",
    "type",
    "key",
    "ip",
];

/// Whether `live` has every member of `wanted`, with its value.
#[must_use]
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            live.get(key)
                .map_or_else(|| is_empty(value), |found| contains(found, value))
        }),
        (Value::Array(live), Value::Array(wanted)) => contains_list(live, wanted),
        _ => live == wanted,
    }
}

/// The entry of `manager` for server-side apply to `subresource` (empty: the object).
#[must_use]
pub fn applied_by<'a>(
    meta: &'a ObjectMeta,
    manager: &str,
    subresource: &str,
) -> Option<&'a ManagedFieldsEntry> {
    entries(meta, manager, subresource).find(|entry| entry.operation.as_deref() == Some(APPLY))
}

/// Whether the manager made the object by a plain write, whose fields no apply removes.
#[must_use]
pub fn position_of_update(meta: &ObjectMeta, manager: &str) -> Option<usize> {
    meta.managed_fields.iter().flatten().position(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some(UPDATE)
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    })
}

fn entries<'a>(
    meta: &'a ObjectMeta,
    manager: &str,
    subresource: &str,
) -> impl Iterator<Item = &'a ManagedFieldsEntry> {
    meta.managed_fields.iter().flatten().filter(move |entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.subresource.as_deref().unwrap_or_default() == subresource
    })
}

/// Whether `manager` owns a field of the object that `wanted` does not have.
#[must_use]
pub fn owns_more(meta: &ObjectMeta, manager: &str, subresource: &str, wanted: &Value) -> bool {
    entries(meta, manager, subresource)
        .filter(|entry| entry.operation.as_deref() == Some(APPLY) || subresource.is_empty())
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.as_object())
        .any(|set| !covers(wanted, set))
}

/// Whether `manager` owns the field at `path`, written as in `managedFields`.
#[must_use]
pub fn owns(entry: &ManagedFieldsEntry, path: &[&str]) -> bool {
    let mut place = entry.fields_v1.as_ref().map(|set| &set.0);
    for step in path {
        place = place.and_then(|value| value.get(*step));
    }
    place.is_some()
}

fn contains_list(live: &[Value], wanted: &[Value]) -> bool {
    let Some(key) = key_of(wanted) else {
        let same_length = live.len() == wanted.len();
        return same_length && live.iter().zip(wanted).all(|(l, w)| contains(l, w));
    };
    wanted.iter().all(|element| {
        live.iter()
            .any(|other| other.get(key) == element.get(key) && contains(other, element))
    })
}

fn key_of(list: &[Value]) -> Option<&'static str> {
    let shared = |key: &&&str| !list.is_empty() && list.iter().all(|e| e.get(**key).is_some());
    KEYS.iter().find(shared).copied()
}

/// The server drops empty members, so an absent one is as good.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

/// Whether `value` has every field of the set.
fn covers(value: &Value, set: &Map<String, Value>) -> bool {
    set.iter().all(|(step, below)| {
        let below = below.as_object();
        match child(value, step) {
            Child::Itself => true,
            Child::Found(child) => below.is_none_or(|below| covers(child, below)),
            Child::Missing => false,
        }
    })
}

enum Child<'a> {
    Itself,
    Found(&'a Value),
    Missing,
}

fn child<'a>(value: &'a Value, step: &str) -> Child<'a> {
    let found = match step.split_once(':') {
        Some(("f", name)) => value.get(name),
        Some(("k", keys)) => element(value, keys, has_keys),
        Some(("v", text)) => element(value, text, |element, wanted| element == wanted),
        // Positions and forms to come: taken as there, so that we never write for them.
        _ => return Child::Itself,
    };
    found.map_or(Child::Missing, Child::Found)
}

fn element<'a>(
    list: &'a Value,
    text: &str,
    matches: fn(&Value, &Value) -> bool,
) -> Option<&'a Value> {
    let wanted: Value = serde_json::from_str(text).ok()?;
    list.as_array()?
        .iter()
        .find(|element| matches(element, &wanted))
}

/// The server fills in defaulted keys (a port's protocol), so one that we left out agrees.
fn has_keys(element: &Value, keys: &Value) -> bool {
    keys.as_object().is_some_and(|keys| {
        keys.iter()
            .all(|(key, value)| element.get(key).is_none_or(|found| found == value))
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
        FieldsV1, ManagedFieldsEntry, ObjectMeta,
    };
    use serde_json::{Value, json};

    use super::{APPLY, UPDATE, contains, owns_more, position_of_update};

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

        assert!(!owns_more(&meta, "me", "", &same));
        assert!(owns_more(&meta, "me", "", &less));
        assert!(owns_more(&meta, "me", "", &moved));
        assert!(!owns_more(&meta, "another", "", &less));
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
}
