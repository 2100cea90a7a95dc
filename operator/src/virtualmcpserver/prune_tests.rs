//! R2.8: what is removed, when, and with which patch.

use std::time::Duration;

use json_patch::patch as apply_patch;
use serde_json::{Value, json};

use super::{Gateway, Knowledge, Plan, patch, plan};
use crate::limits::PRUNE_GRACE;

/// Servers with these UIDs live; everything listed is expected; deletions are this old.
struct Known {
    alive: &'static [&'static str],
    expected: &'static [(&'static str, &'static str)],
    deleted_for: Duration,
}

impl Knowledge for Known {
    fn is_alive(&self, uid: &str) -> bool {
        self.alive.contains(&uid)
    }

    fn is_expected(&self, name: &str, uid: Option<&str>) -> bool {
        self.expected.contains(&(name, uid.unwrap_or_default()))
    }

    fn deleted_for(&self, _: &str) -> Duration {
        self.deleted_for
    }
}

fn entry(name: &str, uid: &str, state: &str, tools: i32) -> Value {
    json!({"name": name, "uid": uid, "state": state, "tools": tools})
}

fn status() -> Value {
    json!({
        "backends": "2/4", "backendCount": 4, "readyBackendCount": 2, "toolCount": 9,
        "discoveredBackends": [
            entry("a", "1", "Ready", 4),
            entry("b", "2", "Unhealthy", 0),
            entry("c", "3", "Ready", 5),
            {"name": "d", "state": "Pending", "reason": "BackendNotFound"},
        ],
    })
}

fn entries() -> Vec<Value> {
    status()["discoveredBackends"].as_array().unwrap().clone()
}

/// R2.8, decision 7: a living gateway has 3 s to remove a deleted server itself; what is merely
/// no longer selected, and a ref that names nobody, are its own affair.
#[test]
fn with_a_living_gateway_only_deleted_servers_go_and_only_after_the_grace() {
    let known = |seconds| Known {
        alive: &["1", "2"],
        expected: &[],
        deleted_for: Duration::from_secs(seconds),
    };

    let early = plan(&entries(), Gateway::Alive, &known(1));
    let late = plan(&entries(), Gateway::Alive, &known(PRUNE_GRACE.as_secs()));

    assert_eq!(
        early,
        Plan {
            remove: vec![],
            wait: Some(Duration::from_secs(2))
        }
    );
    assert_eq!(
        late,
        Plan {
            remove: vec![2],
            wait: None
        }
    );
}

/// R2.8: with no gateway, everything that the spec does not mean goes at once: a deleted server,
/// one of the same name with another UID, one that is not selected any longer.
#[test]
fn without_a_gateway_what_is_not_expected_goes_at_once() {
    let known = Known {
        alive: &["1", "20", "3"],
        expected: &[("a", "1"), ("b", "20"), ("d", "")],
        deleted_for: Duration::ZERO,
    };

    let plan = plan(&entries(), Gateway::Gone, &known);

    assert_eq!(plan.remove, [1, 2]);
    assert_eq!(plan.wait, None);
}

/// Decision 7: the patch removes exactly what was looked at, and the counts agree afterwards.
#[test]
fn the_patch_removes_whole_entries_from_the_last_one_on_and_corrects_the_counts() {
    let mut object = json!({"metadata": {"uid": "u"}, "status": status()});

    let found = patch("u", &status(), &[0, 1]).unwrap();
    apply_patch(&mut object, &found).unwrap();

    let left: Vec<&str> = object["status"]["discoveredBackends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(left, ["c", "d"]);
    assert_eq!(object["status"]["backends"], "1/2");
    assert_eq!(object["status"]["backendCount"], 2);
    assert_eq!(object["status"]["readyBackendCount"], 1);
    assert_eq!(object["status"]["toolCount"], 5);
}

/// R2.8: the counts after a removal are those that the gateway would write: slow ones serve, those
/// that miss a credential do not.
#[test]
fn the_count_of_ready_backends_follows_the_rule_of_the_gateway() {
    let mut status = status();
    status["discoveredBackends"][0]["state"] = json!("Degraded");
    status["discoveredBackends"][1]["state"] = json!("AuthRequired");
    let left_after = |position| {
        let mut object = json!({"metadata": {"uid": "u"}, "status": status});
        apply_patch(&mut object, &patch("u", &status, &[position]).unwrap()).unwrap();
        object["status"]["backends"].clone()
    };

    assert_eq!(left_after(0), "1/3");
    assert_eq!(left_after(1), "2/3");
}

/// R2.8: the last backend.
#[test]
fn the_last_backend_leaves_nothing_behind() {
    let mut object = json!({"metadata": {"uid": "u"}, "status": status()});

    let found = patch("u", &status(), &[0, 1, 2, 3]).unwrap();
    apply_patch(&mut object, &found).unwrap();

    assert_eq!(object["status"]["discoveredBackends"], json!([]));
    assert_eq!(object["status"]["backends"], "0/0");
    assert_eq!(object["status"]["toolCount"], 0);
}

/// Decision 7: another object of the name, or an entry that changed meanwhile, stays.
#[test]
fn a_patch_for_another_object_or_another_entry_changes_nothing() {
    let found = patch("u", &status(), &[1]).unwrap();
    let mut namesake = json!({"metadata": {"uid": "other"}, "status": status()});
    let mut changed = json!({"metadata": {"uid": "u"}, "status": status()});
    changed["status"]["discoveredBackends"][1]["state"] = json!("Ready");

    assert!(apply_patch(&mut namesake, &found).is_err());
    assert!(apply_patch(&mut changed, &found).is_err());

    assert_eq!(namesake["status"], status());
    assert_eq!(changed["status"]["backends"], "2/4");
    assert_eq!(patch("u", &status(), &[]), None);
    assert_eq!(patch("u", &status(), &[9]), None);
}
