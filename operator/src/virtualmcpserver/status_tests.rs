//! The truth table of a VirtualMCPServer (API document), as far as the operator writes it,
//! and the hand-over of the served facts in both directions.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use vmcp_crds::condition::find;
use vmcp_crds::virtualmcpserver::VirtualMCPServerStatus;
use vmcp_crds::{MCPServer, VirtualMCPServer};

use super::group;
use crate::ensured::{Ensured, Hindrance};
use crate::virtualmcpserver::facts::{Facts, Serving};
use crate::virtualmcpserver::validate::{GatewayRole, Settings, ValidatedGateway, validate};

fn object(spec: Value, status: Value) -> VirtualMCPServer {
    serde_json::from_value(json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "VirtualMCPServer",
        "metadata": {"name": "all", "namespace": "team", "uid": "1", "generation": 3},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn everything() -> Value {
    json!({"backends": {"selector": {}}})
}

fn valid(gateway: &VirtualMCPServer) -> ValidatedGateway {
    let server: MCPServer = serde_json::from_value(json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": {"name": "git", "namespace": "team", "uid": "2"},
        "spec": {"remote": {"url": "https://git.example.com"}},
    }))
    .unwrap();
    let settings = Settings {
        gateway_image: "vmcp:1".to_owned(),
        gateway_role: GatewayRole::ClusterRole,
    };
    validate(gateway, &[Arc::new(server)], &settings).unwrap()
}

fn written(gateway: &VirtualMCPServer, serving: Serving) -> VirtualMCPServerStatus {
    with(gateway, serving, None)
}

fn with(
    gateway: &VirtualMCPServer,
    serving: Serving,
    hindrance: Option<&Hindrance>,
) -> VirtualMCPServerStatus {
    let valid = valid(gateway);
    let facts = Facts {
        gateway: &valid,
        serving,
        replicas: 1,
        start_problem: None,
        hindrance,
        stale_at: None,
    };
    let now = Time(Timestamp::from_second(100).unwrap());
    serde_json::from_value(group(&facts, gateway, now).unwrap()).unwrap()
}

fn row(status: &VirtualMCPServerStatus) -> Vec<String> {
    let types = [
        "Reconciling",
        "Stalled",
        "GatewayAvailable",
        "BackendsReady",
        "Ready",
    ];
    let phase = status
        .phase
        .map_or("-".to_owned(), |phase| phase.to_string());
    let said = types.iter().map(|type_| {
        find(&status.conditions, type_).map_or("-".to_owned(), |condition| {
            format!("{}/{}", condition.status, condition.reason)
        })
    });
    std::iter::once(phase).chain(said).collect()
}

/// API, truth table: "rolling out", "gateway away", "the spec cannot work, no gateway serves".
#[test]
fn while_no_gateway_serves_the_operator_says_why() {
    let gateway = object(everything(), json!({}));
    let stranger = Hindrance::of("Deployment", "vmcp-all", &Ensured::Stranger).unwrap();

    assert_eq!(
        row(&written(&gateway, Serving::RollingOut)),
        [
            "Pending",
            "True/RollingOut",
            "False/Reconciled",
            "False/RollingOut",
            "Unknown/RollingOut",
            "Unknown/RollingOut"
        ]
    );
    assert_eq!(
        row(&written(&gateway, Serving::Away)),
        [
            "Failed",
            "False/Reconciled",
            "False/Reconciled",
            "False/GatewayUnavailable",
            "Unknown/GatewayUnavailable",
            "False/GatewayUnavailable"
        ]
    );
    let stalled = with(&gateway, Serving::RollingOut, Some(&stranger));
    assert_eq!(
        row(&stalled),
        [
            "Failed",
            "False/Reconciled",
            "True/NameConflict",
            "False/RollingOut",
            "Unknown/NameConflict",
            "False/NameConflict"
        ]
    );
    assert!(stalled.message.unwrap().contains("Deployment \"vmcp-all\""));
}

/// API, truth table: "edited into nonsense": Stalled whoever serves, the rest as served.
#[test]
fn nonsense_stalls_and_leaves_what_a_gateway_serves_alone() {
    let broken = json!({"backends": {"selector": {"matchExpressions": [
        {"key": "a", "operator": "In"}]}}});
    let gateway = object(broken, json!({"phase": "Ready"}));

    let served = written(&gateway, Serving::Gateway);
    let alone = written(&gateway, Serving::RollingOut);

    assert_eq!(
        row(&served),
        [
            "-",
            "False/Reconciled",
            "True/InvalidSelector",
            "True/GatewayAvailable",
            "-",
            "-"
        ]
    );
    assert_eq!(
        row(&alone)[..3],
        ["Failed", "False/Reconciled", "True/InvalidSelector"]
    );
}

/// API, truth table: "no probe result yet" is at work; a new generation too, until the gateway
/// speaks of it.
#[test]
fn reconciling_lasts_until_the_gateway_has_spoken_of_this_generation() {
    let ready = |phase: &str, generation: i64| {
        json!({"phase": phase, "conditions": [{"type": "Ready", "status": "True",
            "reason": "AllBackendsReady", "message": "", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    let cases = [
        (ready("Pending", 3), "True/Pending"),
        (ready("Ready", 2), "True/Pending"),
        (ready("Ready", 3), "False/Reconciled"),
        (ready("Failed", 3), "False/Reconciled"),
    ];
    for (status, reconciling) in cases {
        let gateway = object(everything(), status);
        assert_eq!(row(&written(&gateway, Serving::Gateway))[1], reconciling);
    }
}

/// Decision 7: each backend of the spec is listed, with nothing claimed that nobody checks.
#[test]
fn without_a_gateway_every_backend_is_listed_as_unchecked() {
    let refs = json!({"backends": {"refs": [{"name": "nobody"}, {"name": "git"}]}});
    let live = json!({"toolCount": 7, "discoveredBackends": [
        {"name": "git", "uid": "2", "state": "Pending",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]});

    let status = written(&object(refs, live), Serving::Away);

    let listed: Vec<(&str, &str, &str)> = status
        .discovered_backends
        .iter()
        .map(|b| {
            (
                b.name.as_str(),
                b.state.as_str(),
                b.reason.as_deref().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            ("git", "Pending", "GatewayUnavailable"),
            ("nobody", "Pending", "BackendNotFound")
        ]
    );
    assert_eq!(status.backends.as_deref(), Some("0/2"));
    assert_eq!(status.tool_count, Some(7));
    let since = status.discovered_backends[0].last_transition_time.clone();
    assert_eq!(since.unwrap().0.as_second(), 1_767_225_600);
    let discovered = find(&status.conditions, "BackendsDiscovered").unwrap();
    assert_eq!(
        (discovered.status.as_str(), discovered.reason.as_str()),
        ("False", "BackendNotFound")
    );
    assert!(discovered.message.contains("nobody"));
}

/// What the API server notes when the manager applied these fields.
fn applied(manager: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": "Apply", "subresource": "status",
        "apiVersion": "vmcp.dev/v1alpha1", "fieldsType": "FieldsV1", "fieldsV1": fields})
}

fn condition_fields(types: &[&str]) -> Value {
    let members = types.iter().map(|type_| {
        let key = format!("k:{{\"type\":\"{type_}\"}}");
        (key, json!({".": {}, "f:reason": {}, "f:status": {}}))
    });
    Value::Object(members.collect())
}

const SERVED: [&str; 4] = [
    "Ready",
    "BackendsReady",
    "BackendsDiscovered",
    "ConflictsResolved",
];

fn taken_over(gateways: Option<Value>) -> VirtualMCPServer {
    let live = json!({"phase": "Failed", "message": "no gateway is running", "backends": "0/1",
        "conditions": [{"type": "Ready", "status": "False", "reason": "GatewayUnavailable",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let mut gateway = object(everything(), live);
    let ours = applied(
        "vmcp-operator",
        json!({"f:status": {"f:phase": {}, "f:conditions": condition_fields(&SERVED)}}),
    );
    let entries = std::iter::once(ours).chain(gateways);
    gateway.metadata.managed_fields = Some(
        entries
            .map(|e| serde_json::from_value(e).unwrap())
            .collect(),
    );
    gateway
}

/// Decision 7: after a hand-back the served fields stay in the group, as they stand there, until
/// managedFields shows the gateway as their owner; then they leave it.
#[test]
fn served_fields_are_let_go_only_when_the_gateway_owns_them() {
    let all = json!({"f:status": {"f:phase": {}, "f:conditions": condition_fields(&SERVED)}});
    let some = json!({"f:status": {"f:phase": {}, "f:conditions": condition_fields(&["Ready"])}});

    let not_yet = written(&taken_over(None), Serving::Gateway);
    let halfway = written(
        &taken_over(Some(applied("vmcp-status", some))),
        Serving::Gateway,
    );
    let done = written(
        &taken_over(Some(applied("vmcp-status", all))),
        Serving::Gateway,
    );

    for kept in [not_yet, halfway] {
        assert_eq!(kept.phase.unwrap().as_str(), "Failed");
        assert_eq!(kept.backends.as_deref(), Some("0/1"));
        assert_eq!(
            find(&kept.conditions, "Ready").unwrap().reason,
            "GatewayUnavailable"
        );
    }
    assert_eq!(done.phase, None);
    assert_eq!(done.backends, None);
    assert!(find(&done.conditions, "Ready").is_none());
    assert_eq!(done.observed_generation, Some(3));
    assert_eq!(
        done.url.as_deref(),
        Some("http://vmcp-all.team.svc:8080/mcp")
    );
}

/// Decision 7: an operator that never took over has nothing to hand back.
#[test]
fn with_a_gateway_from_the_start_the_operator_writes_control_facts_only() {
    let gateway = object(everything(), json!({"phase": "Ready", "backends": "1/1"}));

    let status = written(&gateway, Serving::Gateway);

    assert_eq!(status.phase, None);
    let types: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types, ["GatewayAvailable", "Reconciling", "Stalled"]);
}
