//! The rights that the chart grants: counted, and none of the kinds that api.md rules out.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{VALUE_SETS, documents, rendered};

/// What the operator may hold at most: (API group, resource, verb).
const OPERATOR_TUPLES: usize = 60;
/// What a gateway may hold at most.
const GATEWAY_TUPLES: usize = 12;

/// One right: API group, resource, verb.
type Tuple = (String, String, String);

fn of_kind<'a>(objects: &'a [Value], kinds: &[&str]) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| kinds.contains(&object["kind"].as_str().unwrap()))
        .collect()
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

/// The rules of every role for which `is_meant` holds of its name.
fn rules(objects: &[Value], is_meant: impl Fn(&str) -> bool) -> Vec<Value> {
    of_kind(objects, &["Role", "ClusterRole"])
        .into_iter()
        .filter(|role| is_meant(role["metadata"]["name"].as_str().unwrap()))
        .flat_map(|role| role["rules"].as_array().unwrap().clone())
        .collect()
}

fn tuples(rules: &[Value]) -> BTreeSet<Tuple> {
    let mut found = BTreeSet::new();
    for rule in rules {
        assert!(
            rule["nonResourceURLs"].is_null(),
            "a right outside of the API's objects: {rule}"
        );
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    found.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    found
}

/// Build 4 and api.md "RBAC": the rights are counted, and none is of the kinds that are ruled out.
#[test]
fn rights_are_few_and_none_reads_a_secret() {
    for values in VALUE_SETS {
        let objects = documents(&rendered("vmcp-system", values));
        let gateway = rules(&objects, |name| name == "vmcp-gateway");
        let operator = rules(&objects, |name| name != "vmcp-gateway");

        let (operator_count, gateway_count) = (tuples(&operator).len(), tuples(&gateway).len());
        println!("operator {operator_count} tuples, gateway {gateway_count} tuples");
        assert!(
            (1..=OPERATOR_TUPLES).contains(&operator_count),
            "{operator_count}"
        );
        assert!(
            (1..=GATEWAY_TUPLES).contains(&gateway_count),
            "{gateway_count}"
        );
        for rule in operator.iter().chain(&gateway) {
            assert_harmless(rule);
        }
    }
}

fn assert_harmless(rule: &Value) {
    let (resources, verbs) = (strings(&rule["resources"]), strings(&rule["verbs"]));
    let words = [
        strings(&rule["apiGroups"]),
        resources.clone(),
        verbs.clone(),
    ]
    .concat();
    for word in &words {
        assert!(!word.contains('*'), "a wildcard: {rule}");
    }
    for ruled_out in [
        "pods/exec",
        "pods/attach",
        "pods/log",
        "pods/ephemeralcontainers",
    ] {
        assert!(
            !resources.iter().any(|r| r == ruled_out),
            "{ruled_out}: {rule}"
        );
    }
    for ruled_out in ["impersonate", "escalate", "deletecollection"] {
        assert!(!verbs.iter().any(|v| v == ruled_out), "{ruled_out}: {rule}");
    }
    if resources.iter().any(|resource| resource == "secrets") {
        assert_eq!(
            verbs,
            ["create"],
            "a Secret may be made, never read: {rule}"
        );
    }
    if verbs.iter().any(|verb| verb == "bind") {
        assert_eq!(strings(&rule["resourceNames"]), ["vmcp-gateway"], "{rule}");
    }
}

/// Build 4 and api.md "RBAC": with a list of namespaces nothing is granted outside of them.
#[test]
fn a_list_of_namespaces_grants_nothing_for_the_cluster() {
    let objects = documents(&rendered(
        "vmcp-system",
        &["watchNamespaces={team-a,team-b}"],
    ));

    assert!(of_kind(&objects, &["ClusterRole", "ClusterRoleBinding"]).is_empty());
    let places: BTreeSet<&str> = of_kind(&objects, &["Role", "RoleBinding"])
        .iter()
        .map(|role| role["metadata"]["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(places, BTreeSet::from(["team-a", "team-b", "vmcp-system"]));
    let own = of_kind(&objects, &["Role"])
        .into_iter()
        .filter(|role| role["metadata"]["namespace"] == "vmcp-system")
        .map(|role| role["metadata"]["name"].as_str().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(own, ["vmcp-operator-leader-election"]);
}
