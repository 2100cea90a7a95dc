//! The CRDs at a real API server: what it refuses, with which words, and what it fills in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod server;

use cases::Case;
use serde_json::{Value, json};
use server::{Server, object};
use vmcp_crds::{MCPServer, VirtualMCPServer};

/// Asks the server about each case twice and returns what went wrong.
async fn wrong_answers(server: &Server, cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        match server.judge(&case.invalid()).await {
            Ok(_) => wrong.push(format!("{}: accepted", case.name())),
            Err(message) => {
                if !message.contains(case.field) || !message.contains(case.says) {
                    wrong.push(format!("{}: refused with {message:?}", case.name()));
                }
            }
        }
        if let Err(message) = server.judge(&case.fixed()).await {
            wrong.push(format!("{}: refused once fixed: {message:?}", case.name()));
        }
    }
    wrong
}

async fn assert_all_refused(test: &str, cases: &[Case], at_least: usize) {
    let server = Server::new(test).await;

    let wrong = wrong_answers(&server, cases).await;

    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
}

/// Build 3, Build 8
#[tokio::test]
async fn an_mcp_server_that_is_nowhere_or_has_no_usable_url_is_refused_with_field_and_fix() {
    assert_all_refused("admit-servers", &cases::of_servers(), 15).await;
}

/// Build 3, Build 8
#[tokio::test]
async fn settings_of_an_mcp_server_that_make_no_sense_are_refused_with_field_and_fix() {
    assert_all_refused("admit-protocol", &cases::of_protocol(), 15).await;
}

/// Build 3, Build 8
#[tokio::test]
async fn a_workload_that_could_not_start_or_asks_for_too_much_is_refused_with_field_and_fix() {
    assert_all_refused("admit-workloads", &cases::of_workloads(), 20).await;
}

/// Build 3, Build 8
#[tokio::test]
async fn a_virtual_mcp_server_that_could_not_work_is_refused_with_field_and_fix() {
    assert_all_refused("admit-gateways", &cases::of_gateways(), 20).await;
}

/// Build 3: `kubectl apply -f crds/` plain, twice.
#[tokio::test]
async fn kubectl_applies_the_folder_as_it_is() {
    let server = Server::new("admit-apply").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");

    server.kubectl(&["apply", "-f", folder]).await;
    let again = server.kubectl(&["apply", "-f", folder]).await;

    for name in ["mcpservers.vmcp.dev", "virtualmcpservers.vmcp.dev"] {
        let unchanged = format!("customresourcedefinition.apiextensions.k8s.io/{name} unchanged");
        assert!(again.contains(&unchanged), "{again}");
    }
}

/// Build 3: defaults, among them the -1 that tells kstatus "never reconciled".
#[tokio::test]
async fn a_new_object_shows_its_defaults_and_that_nobody_has_seen_it() {
    let server = Server::new("admit-defaults").await;

    let made = server
        .create(&object(
            "MCPServer",
            "w",
            json!({"workload": {"image": "i"}}),
        ))
        .await
        .unwrap();
    assert_eq!(made["status"], json!({"observedGeneration": -1}));
    assert_eq!(
        made["spec"],
        json!({
            "workload": {
                "image": "i",
                "port": 8080,
                "replicas": 1,
                "securityContext": {
                    "runAsUser": 65532,
                    "runAsGroup": 65532,
                    "fsGroup": 65532,
                    "readOnlyRootFilesystem": true,
                },
            },
            "transport": "streamable-http",
            "protocol": "auto",
            "timeouts": {"connectSeconds": 5, "callSeconds": 300},
            "catalog": {"policy": "Keep"},
            "sessionLoss": "Reinitialize",
        })
    );

    let made = server
        .create(&object(
            "VirtualMCPServer",
            "g",
            json!({"backends": {"selector": {}}}),
        ))
        .await
        .unwrap();
    assert_eq!(made["status"], json!({"observedGeneration": -1}));
    assert_eq!(
        made["spec"],
        json!({
            "backends": {"selector": {}},
            "aggregation": {
                "conflictResolution": {"strategy": "Prefix", "prefixFormat": "{backend}_"},
            },
            "replicas": 1,
            "service": {"type": "ClusterIP", "port": 8080},
            "drainSeconds": 75,
            "minReadyBackends": 1,
        })
    );
}

/// API: `securityContext: {}` leaves the user to the image.
#[tokio::test]
async fn an_empty_security_context_stays_empty() {
    let server = Server::new("admit-security").await;
    let spec = json!({"workload": {"image": "i", "securityContext": {}}});

    let made = server
        .create(&object("MCPServer", "w", spec))
        .await
        .unwrap();

    assert_eq!(made["spec"]["workload"]["securityContext"], json!({}));
}

/// Everything that the types can hold, as the types write it.
fn full_objects() -> [Value; 2] {
    let text = include_str!("full.json");
    serde_json::from_str(text).unwrap()
}

/// Build 3: types and schema agree: what a program writes, the API server keeps as it is.
#[tokio::test]
async fn an_object_with_every_field_set_comes_back_unchanged_in_spec_and_status() {
    let server = Server::new("admit-full").await;
    for full in full_objects() {
        let written = match full["kind"].as_str() {
            Some("MCPServer") => {
                serde_json::to_value(serde_json::from_value::<MCPServer>(full.clone()).unwrap())
            }
            _ => serde_json::to_value(
                serde_json::from_value::<VirtualMCPServer>(full.clone()).unwrap(),
            ),
        }
        .unwrap();
        assert_eq!(written["spec"], full["spec"], "the types lose something");
        assert_eq!(
            written["status"], full["status"],
            "the types lose something"
        );

        let mut made = server.create(&written).await.unwrap();
        made["status"] = full["status"].clone();
        let stored = server.replace_status(&made).await.unwrap();

        assert_eq!(stored["spec"], full["spec"]);
        assert_eq!(stored["status"], full["status"]);
    }
}

/// API: autoscalers and `kubectl scale` work on both kinds.
#[tokio::test]
async fn both_kinds_can_be_scaled() {
    let server = Server::new("admit-scale").await;
    let objects = [
        (
            object("MCPServer", "w", json!({"workload": {"image": "i"}})),
            "/spec/workload/replicas",
        ),
        (
            object(
                "VirtualMCPServer",
                "g",
                json!({"backends": {"selector": {}}}),
            ),
            "/spec/replicas",
        ),
    ];
    for (wanted, place) in objects {
        let mut made = server.create(&wanted).await.unwrap();
        made["status"] = json!({"replicas": 1, "selector": "app=x"});
        server.replace_status(&made).await.unwrap();

        let scale = server.get(&wanted, "/scale").await.unwrap();
        assert_eq!(scale["spec"]["replicas"], 1);
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=x"}));
        let change = json!({"spec": {"replicas": 3}});
        server.patch(&wanted, "/scale", &change).await.unwrap();
        let scaled = server.get(&wanted, "").await.unwrap();
        assert_eq!(scaled.pointer(place), Some(&json!(3)));

        let kind = wanted["kind"].as_str().unwrap().to_lowercase();
        let name = wanted["metadata"]["name"].as_str().unwrap();
        server
            .kubectl(&["scale", &format!("{kind}/{name}"), "--replicas=2"])
            .await;
        let scaled = server.get(&wanted, "").await.unwrap();
        assert_eq!(scaled.pointer(place), Some(&json!(2)));
    }
}

/// R0.8, API: what a person sees without any option, by each name of the kinds.
#[tokio::test]
async fn kubectl_shows_the_documented_columns() {
    let server = Server::new("admit-columns").await;
    for full in full_objects() {
        let mut made = server.create(&full).await.unwrap();
        made["status"] = full["status"].clone();
        server.replace_status(&made).await.unwrap();
    }
    let words = |text: &str, line: usize| -> Vec<String> {
        text.lines()
            .nth(line)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };

    for name in ["mcpservers", "mcpsrv", "mcpservers.vmcp.dev"] {
        let shown = server.kubectl(&["get", name]).await;
        assert_eq!(
            words(&shown, 0),
            [
                "NAME",
                "PHASE",
                "TRANSPORT",
                "TOOLS",
                "FAILURES",
                "MESSAGE",
                "AGE"
            ]
        );
        assert_eq!(
            words(&shown, 1)[..6],
            ["full-server", "Unhealthy", "sse", "12", "4", "initialize"]
        );
    }
    for name in ["virtualmcpservers", "vmcpsrv", "virtualmcpservers.vmcp.dev"] {
        let shown = server.kubectl(&["get", name]).await;
        assert_eq!(
            words(&shown, 0),
            ["NAME", "PHASE", "READY", "TOOLS", "MESSAGE", "AGE"]
        );
        assert_eq!(
            words(&shown, 1)[..5],
            ["full-gateway", "Degraded", "1/2", "12", "Some"]
        );
    }
    let wide = server.kubectl(&["get", "vmcpsrv", "-o", "wide"]).await;
    assert!(
        wide.contains("URL") && wide.contains("https://mcp.example.com/mcp"),
        "{wide}"
    );
    let all = server.kubectl(&["get", "mcp"]).await;
    assert!(
        all.contains("full-server") && all.contains("full-gateway"),
        "{all}"
    );
}

/// Build 3: the rules stay within the API server's budget for the largest object that the
/// bounds allow.
#[tokio::test]
async fn the_largest_object_is_still_judged() {
    let server = Server::new("admit-largest").await;
    let labels: serde_json::Map<String, Value> = (0..64)
        .map(|n| {
            (
                format!("{}.example.com/{n:063}", "a".repeat(200)),
                json!("v".repeat(63)),
            )
        })
        .collect();
    let env: Vec<Value> = (0..200)
        .map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(1000)}))
        .collect();
    let volumes: Vec<Value> = (0..32)
        .map(|n| {
            let path = format!("/{}{n:02}", "d".repeat(250));
            json!({"name": format!("v{n}"), "mountPath": path, "emptyDir": {}})
        })
        .collect();
    let refs: Vec<Value> = (0..256)
        .map(|n| json!({"name": format!("backend-{n:032}")}))
        .collect();

    let workload = json!({
        "image": "i", "env": env, "volumes": volumes, "podTemplate": {"labels": labels},
    });
    server
        .judge(&object("MCPServer", "w", json!({"workload": workload})))
        .await
        .unwrap();
    let url = format!("https://a.example.com/{}", "x".repeat(2000));
    server
        .judge(&object("MCPServer", "r", json!({"remote": {"url": url}})))
        .await
        .unwrap();
    let spec = json!({"backends": {"refs": refs}, "publicURL": url});
    server
        .judge(&object("VirtualMCPServer", "g", spec))
        .await
        .unwrap();
}

/// Architecture: the writers of a status own different fields of one list of conditions.
#[tokio::test]
async fn two_managers_each_keep_their_own_conditions() {
    let server = Server::new("admit-managers").await;
    let wanted = object(
        "VirtualMCPServer",
        "g",
        json!({"backends": {"selector": {}}}),
    );
    server.create(&wanted).await.unwrap();
    let api: kube::Api<VirtualMCPServer> =
        kube::Api::namespaced(server.client.clone(), &server.namespace.name);

    for (manager, type_) in [("vmcp-operator", "Reconciling"), ("vmcp-status", "Ready")] {
        let condition = json!({
            "type": type_, "status": "True", "reason": "Ready", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-11-21T10:00:00Z",
        });
        let apply = json!({
            "apiVersion": "vmcp.dev/v1alpha1",
            "kind": "VirtualMCPServer",
            "status": {"conditions": [condition]},
        });
        let parameters = kube::api::PatchParams::apply(manager).force();
        api.patch_status("g", &parameters, &kube::api::Patch::Apply(apply))
            .await
            .unwrap();
    }

    let stored = server.get(&wanted, "").await.unwrap();
    let types: Vec<&str> = stored["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    assert_eq!(types, ["Reconciling", "Ready"]);
}
