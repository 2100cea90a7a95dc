//! Whether a live object still is what we want it to be, so that a steady state writes
//! nothing. Pure; works on JSON and on the `managedFields` that the server keeps.
//!
//! Three questions: does each field that we want stand there with its value (fields that
//! the server or others added do not matter), do we own a field that we no longer want
//! (only another apply removes it), and do we still own each one that we want?
//!
//! The last two see what the first cannot: a map or a list that the server replaces as a
//! whole (a selector, tolerations, subjects) has one owner, and its members have none.
//! What left ours is there still; and whoever adds to it takes it from us.

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

/// Lists whose order means something although their elements have names: a variable may
/// refer to an earlier one.
const ORDERED: &[&str] = &["env"];

/// Fields that are the object's name and have no owner.
const UNOWNED: &[&str] = &["apiVersion", "kind", "name", "namespace"];

/// Whether `live` has every member of `wanted`, with its value.
#[must_use]
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            live.get(key).map_or_else(
                || is_empty(value),
                |found| {
                    let ordered = ORDERED.contains(&key.as_str());
                    contains(found, value) && (!ordered || is_in_order(found, value))
                },
            )
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

/// Whether `manager` owns a field of `live` that `wanted` does not have, or has less of.
#[must_use]
pub fn owns_more(
    meta: &ObjectMeta,
    (manager, subresource): (&str, &str),
    live: &Value,
    wanted: &Value,
) -> bool {
    sets(meta, manager, subresource).any(|set| !covers(wanted, Some(live), set))
}

/// Whether `manager` owns every field of the object that `wanted` has.
#[must_use]
pub fn owns_all(meta: &ObjectMeta, manager: &str, wanted: &Value) -> bool {
    sets(meta, manager, "").any(|set| {
        let members = wanted.as_object().into_iter().flatten();
        let mut owned = members.filter(|(key, _)| !UNOWNED.contains(&key.as_str()));
        owned.all(|(key, value)| match (key.as_str(), value.as_object()) {
            ("metadata", Some(meta)) => {
                let mut meta = meta
                    .iter()
                    .filter(|(key, _)| !UNOWNED.contains(&key.as_str()));
                let set = set.get("f:metadata").and_then(Value::as_object);
                meta.all(|(key, value)| set.is_some_and(|set| has_field(set, key, value)))
            }
            _ => has_field(set, key, value),
        })
    })
}

fn sets<'a>(
    meta: &'a ObjectMeta,
    manager: &str,
    subresource: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    entries(meta, manager, subresource)
        .filter(move |entry| entry.operation.as_deref() == Some(APPLY) || subresource.is_empty())
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.as_object())
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

/// Whether `wanted` has every field of the set, and all that is owned as one piece.
fn covers(wanted: &Value, live: Option<&Value>, set: &Map<String, Value>) -> bool {
    set.iter().all(|(step, below)| {
        let wanted = match child(wanted, step) {
            Child::Itself => return true,
            Child::Missing => return false,
            Child::Found(wanted) => wanted,
        };
        let live = match live.map(|live| child(live, step)) {
            Some(Child::Found(live)) => Some(live),
            _ => None,
        };
        match below.as_object() {
            Some(below) if !below.is_empty() => covers(wanted, live, below),
            _ => live.is_none_or(|live| is_equal(live, wanted)),
        }
    })
}

/// Whether the set has the field `key` with all of its value.
fn has_field(set: &Map<String, Value>, key: &str, value: &Value) -> bool {
    let own = set.get(&format!("f:{key}"));
    own.map_or_else(|| is_empty(value), |own| has_all(own, value))
}

fn has_all(set: &Value, value: &Value) -> bool {
    // Owned as one piece.
    let Some(set) = set.as_object().filter(|set| !set.is_empty()) else {
        return true;
    };
    match value {
        Value::Object(members) => members
            .iter()
            .all(|(key, value)| has_field(set, key, value)),
        Value::Array(elements) => elements.iter().all(|element| has_element(set, element)),
        _ => true,
    }
}

fn has_element(set: &Map<String, Value>, element: &Value) -> bool {
    set.iter().any(|(step, below)| match step.split_once(':') {
        Some(("k", keys)) => {
            parsed(keys).is_some_and(|keys| has_keys(element, &keys) && has_all(below, element))
        }
        Some(("v", text)) => parsed(text).as_ref() == Some(element),
        Some(("i", _)) => true,
        _ => false,
    })
}

/// Equal, but for empty members.
fn is_equal(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let nothing_more = live
                .iter()
                .all(|(key, value)| is_empty(value) || wanted.contains_key(key));
            let mut members = wanted.iter();
            nothing_more
                && members.all(|(key, value)| {
                    live.get(key)
                        .map_or_else(|| is_empty(value), |found| is_equal(found, value))
                })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            let mut pairs = live.iter().zip(wanted);
            live.len() == wanted.len() && pairs.all(|(live, wanted)| is_equal(live, wanted))
        }
        _ => live == wanted,
    }
}

/// Whether the wanted names come in the wanted order; others' may stand between them.
fn is_in_order(live: &Value, wanted: &Value) -> bool {
    let (Value::Array(live), Value::Array(wanted)) = (live, wanted) else {
        return true;
    };
    let mut rest = live.iter();
    wanted
        .iter()
        .all(|wanted| rest.any(|found| found.get("name") == wanted.get("name")))
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
    let wanted = parsed(text)?;
    list.as_array()?
        .iter()
        .find(|element| matches(element, &wanted))
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// The server fills in defaulted keys (a port's protocol), so one that we left out agrees.
fn has_keys(element: &Value, keys: &Value) -> bool {
    keys.as_object().is_some_and(|keys| {
        keys.iter()
            .all(|(key, value)| element.get(key).is_none_or(|found| found == value))
    })
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
