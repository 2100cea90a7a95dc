//! What the server made of our last apply of each object. Some values it rewrites (a
//! quantity `0.5` becomes `500m`), and comparing what we want with what stands there would
//! apply them for ever: what stands there right after an apply is what we want, in the
//! server's words.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::limits::SETTLED_MAX;

/// Annotations in which the Deployment controller notes its revision.
const CONTROLLERS_NOTES: &str = "deployment.kubernetes.io/";

/// By UID. Lost at a restart: one apply without effect per object then.
#[derive(Debug, Default)]
pub struct Settled {
    seen: Mutex<HashMap<String, Pair>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    wanted: u64,
    got: u64,
}

impl Settled {
    /// Takes note of an apply and of the server's answer.
    pub fn note(&self, uid: String, wanted: &Value, got: &Value) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SETTLED_MAX {
            seen.clear();
        }
        seen.insert(uid, pair(wanted, got));
    }

    /// Whether the live object is what the server made of exactly this apply.
    #[must_use]
    pub fn is_what_we_got(&self, uid: &str, wanted: &Value, live: &Value) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(uid) == Some(&pair(wanted, live))
    }
}

fn pair(wanted: &Value, got: &Value) -> Pair {
    Pair {
        wanted: digest(wanted),
        got: digest(&lasting(got)),
    }
}

/// The parts of an object that only its authors change.
fn lasting(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for member in ["resourceVersion", "managedFields", "generation"] {
            meta.remove(member);
        }
        if let Some(notes) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            notes.retain(|key, _| !key.starts_with(CONTROLLERS_NOTES));
            if notes.is_empty() {
                meta.remove("annotations");
            }
        }
    }
    object
}

fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Settled;

    fn live(version: &str, replicas: i32) -> Value {
        json!({"metadata": {"name": "a", "resourceVersion": version},
            "spec": {"replicas": replicas, "cpu": "500m"}, "status": {"seen": version}})
    }

    /// Show: values that the server rewrites cause no hot loop; a real change, and another
    /// wish, are seen.
    #[test]
    fn what_the_server_made_of_an_apply_is_known_again_and_nothing_else_is() {
        let settled = Settled::default();
        let wanted = json!({"spec": {"replicas": 1, "cpu": "0.5"}});
        settled.note("1".to_owned(), &wanted, &live("1", 1));

        assert!(settled.is_what_we_got("1", &wanted, &live("2", 1)));
        assert!(!settled.is_what_we_got("1", &wanted, &live("2", 2)));
        assert!(!settled.is_what_we_got("2", &wanted, &live("1", 1)));
        let other = json!({"spec": {"replicas": 1, "cpu": "0.6"}});
        assert!(!settled.is_what_we_got("1", &other, &live("1", 1)));
    }
    /// Build 4: drift in an annotation is seen; what the Deployment controller notes is none.
    #[test]
    fn only_the_annotations_of_the_deployment_controller_change_by_themselves() {
        let settled = Settled::default();
        let wanted = json!({"cpu": "0.5"});
        let with = |annotations: Value| {
            let mut object = live("1", 1);
            object["metadata"]["annotations"] = annotations;
            object
        };
        settled.note("1".to_owned(), &wanted, &live("1", 1));

        let noted = with(json!({"deployment.kubernetes.io/revision": "1"}));
        assert!(settled.is_what_we_got("1", &wanted, &noted));
        let drifted = with(json!({"example.com/ours": "changed"}));
        assert!(!settled.is_what_we_got("1", &wanted, &drifted));
    }
}
