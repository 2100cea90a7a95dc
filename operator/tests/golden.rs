//! The objects that the operator builds, compared with committed files. After a change on
//! purpose: `UPDATE_GOLDEN=1 cargo test -p vmcp-operator --test golden`, then read the diff.

#![expect(
    clippy::unwrap_used,
    reason = "a test that stops is what a test is for"
)]

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use vmcp_operator::mcpserver;
use vmcp_operator::virtualmcpserver;
use vmcp_operator::virtualmcpserver::keys::SessionKeys;
use vmcp_operator::virtualmcpserver::validate::{GatewayRole, Settings};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "vmcp.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "team", "uid": "00000000-0000-0000-0000-000000000001",
            "generation": 1, "annotations": {"vmcp.dev/restartedAt": "2026-01-01T00:00:00Z"}},
        "spec": spec,
    })
}

fn server_objects(name: &str, spec: Value) -> Value {
    let server = serde_json::from_value(object("MCPServer", name, spec)).unwrap();
    let valid = mcpserver::validate::validate(&server).unwrap();
    let built = mcpserver::build::objects(&valid);
    assert_eq!(built, mcpserver::build::objects(&valid));
    json!([built.service_account, built.service, built.deployment])
}

fn gateway_objects(name: &str, role: GatewayRole, spec: Value) -> Value {
    let gateway = serde_json::from_value(object("VirtualMCPServer", name, spec)).unwrap();
    let settings = Settings {
        gateway_image: "registry.example/vmcp:1".to_owned(),
        gateway_role: role,
    };
    let servers: [Arc<vmcp_crds::MCPServer>; 0] = [];
    let mut valid = virtualmcpserver::validate::validate(&gateway, &servers, &settings).unwrap();
    valid.keys = SessionKeys::default().with(format!("vmcp-{name}-key-bcdfghjklm"), None);
    let built = virtualmcpserver::build::objects(&valid);
    assert_eq!(built, virtualmcpserver::build::objects(&valid));
    json!([
        built.service_account,
        built.role_binding,
        built.service,
        built.deployment,
        built.budget
    ])
}

fn golden(name: &str, found: &Value) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name]
        .iter()
        .collect();
    let mut text = serde_json::to_string_pretty(found).unwrap();
    text.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "{name} differs from what is built");
}

fn full_workload() -> Value {
    json!({
        "transport": "sse",
        "workload": {
            "image": "registry.example/git:2",
            "command": ["/server"], "args": ["--verbose"],
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "git", "key": "token"}}}],
            "envFrom": [{"configMapRef": {"name": "git"}}],
            "port": 3000, "replicas": 2,
            "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "pull"}],
            "resources": {"limits": {"memory": "128Mi"}},
            "volumes": [{"name": "repo", "mountPath": "/repo",
                "persistentVolumeClaim": {"claimName": "repo"}}],
            "podTemplate": {
                "labels": {"tier": "tools"}, "annotations": {"note": "x"},
                "nodeSelector": {"disk": "ssd"}, "priorityClassName": "high",
                "tolerations": [{"key": "a", "operator": "Exists"}]},
        },
    })
}

/// Build 4: the objects of a workload, with every default and with every setting.
#[test]
fn a_workload_becomes_a_deployment_a_service_and_an_account() {
    let least = server_objects(
        "least",
        json!({"workload": {"image": "registry.example/time:1"}}),
    );
    let full = server_objects("full", full_workload());
    let as_image = json!({"workload": {"image": "registry.example/x:1", "securityContext": {}}});

    golden("mcpserver_least.json", &least);
    golden("mcpserver_full.json", &full);
    let pod = server_objects("image", as_image)[2]["spec"]["template"]["spec"].clone();
    assert_eq!(
        pod["securityContext"],
        json!({"seccompProfile": {"type": "RuntimeDefault"}})
    );
}

/// Build 4: what runs elsewhere has no objects of ours.
#[test]
fn a_service_and_a_remote_become_nothing() {
    let nothing = json!([null, null, null]);

    let service = server_objects("other", json!({"service": {"name": "a", "port": 80}}));
    let remote = server_objects("remote", json!({"remote": {"url": "https://a.example"}}));

    assert_eq!(service, nothing);
    assert_eq!(remote, nothing);
}

/// Build 4: the objects of a gateway; a budget only where there is more than one replica.
#[test]
fn a_virtual_server_becomes_a_gateway_with_its_rights() {
    let least = json!({"backends": {"selector": {}}});
    let full = json!({
        "backends": {"selector": {}}, "replicas": 3, "drainSeconds": 120,
        "resources": {"requests": {"cpu": "100m"}},
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a.example/b": "c"}},
        "podTemplate": {"labels": {"tier": "edge"}},
    });

    golden(
        "virtualmcpserver_least.json",
        &gateway_objects("least", GatewayRole::ClusterRole, least),
    );
    golden(
        "virtualmcpserver_full.json",
        &gateway_objects("full", GatewayRole::Role, full),
    );
}

/// Build 4: names are DNS labels for the longest allowed name; every object has its owner as
/// controller, the labels that our watches select by, and the selector finds the pods.
#[test]
fn every_object_fits_has_an_owner_and_is_found_again() {
    let longest = "a".repeat(vmcp_crds::names::MAX_NAME);
    let spec = json!({"backends": {"selector": {}}, "replicas": 2});
    let built = [
        server_objects(&longest, full_workload()),
        gateway_objects(&longest, GatewayRole::ClusterRole, spec),
    ];

    let mut seen = 0;
    for object in built.iter().flat_map(|list| list.as_array().unwrap()) {
        let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let name = meta.name.unwrap();
        assert!(name.len() + "-0123456789-01234".len() <= 63, "{name}");
        let owners = meta.owner_references.unwrap();
        assert_eq!(owners.len(), 1);
        assert_eq!(owners[0].controller, Some(true));
        assert_eq!(owners[0].uid, "00000000-0000-0000-0000-000000000001");
        let labels = meta.labels.unwrap();
        assert_eq!(labels["app.kubernetes.io/managed-by"], "vmcp-operator");
        if let Some(selector) = object["spec"]["selector"]["matchLabels"].as_object()
            && let Some(pod) = object["spec"]["template"]["metadata"]["labels"].as_object()
        {
            assert!(
                selector
                    .iter()
                    .all(|(key, value)| pod.get(key) == Some(value))
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}
