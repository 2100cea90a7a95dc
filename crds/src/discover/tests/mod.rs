//! What `discover` promises, by example; by property in `properties`, for URLs in `urls`.

mod properties;
mod urls;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, Time,
};
use serde_json::json;

use super::{Backend, CatalogPolicy, MAX_BACKENDS, Presence, discover, generation_key};
use crate::reason::Reason;
use crate::{MCPServer, VirtualMCPServerSpec};

const NAMESPACE: &str = "team";

fn server(name: &str, spec: serde_json::Value) -> MCPServer {
    serde_json::from_value(json!({
        "apiVersion": "vmcp.dev/v1alpha1",
        "kind": "MCPServer",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}")},
        "spec": spec,
    }))
    .unwrap()
}

fn remote(name: &str) -> MCPServer {
    server(
        name,
        json!({"remote": {"url": format!("https://{name}.example.com/mcp")}}),
    )
}

fn labelled(name: &str, key: &str, value: &str) -> MCPServer {
    let mut object = remote(name);
    object.metadata.labels = Some([(key.to_owned(), value.to_owned())].into());
    object
}

fn spec(value: serde_json::Value) -> VirtualMCPServerSpec {
    serde_json::from_value(value).unwrap()
}

fn refs(names: &[&str]) -> VirtualMCPServerSpec {
    let refs: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    spec(json!({"backends": {"refs": refs}}))
}

fn names(backends: &[Backend]) -> Vec<&str> {
    backends
        .iter()
        .map(|backend| backend.name.as_str())
        .collect()
}

/// Build 5, Build 8: refs keep their order, the rest follows by name.
#[test]
fn refs_come_first_in_their_order_and_selected_ones_follow_by_name() {
    let servers = [
        labelled("zulu", "team", "a"),
        labelled("alpha", "team", "a"),
        labelled("mike", "team", "a"),
        remote("bravo"),
    ];
    let gateway = spec(json!({"backends": {
        "selector": {"matchLabels": {"team": "a"}},
        "refs": [{"name": "zulu"}, {"name": "bravo", "prefix": "b."}, {"name": "zulu"}],
    }}));

    let found = discover(&gateway, NAMESPACE, &servers);

    assert_eq!(names(&found.backends), ["zulu", "bravo", "alpha", "mike"]);
    assert_eq!(found.backends[1].prefix.as_deref(), Some("b."));
    assert_eq!(found.backends[0].prefix, None);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
}

/// Build 8: an unknown ref is reported with field and fix, and is never fatal.
#[test]
fn a_ref_without_a_server_is_a_problem_of_its_own_and_of_no_other_backend() {
    let found = discover(&refs(&["here", "gone"]), NAMESPACE, [&remote("here")]);

    assert_eq!(found.backends[0].state, Presence::Found);
    assert!(found.backends[0].url.is_ok());
    assert_eq!(found.backends[1].state, Presence::NotFound);
    assert_eq!(found.backends[1].blocked(), Some(Reason::BackendNotFound));
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].field, "spec.backends.refs[1].name");
    assert!(
        found.problems[0]
            .message
            .contains("create it or remove the ref")
    );
}

/// R2.8: an object that is being deleted is no backend any more.
#[test]
fn a_server_that_is_being_deleted_is_no_backend() {
    let mut dying = remote("dying");
    dying.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    let gateway = spec(json!({"backends": {"selector": {}}}));

    assert!(discover(&gateway, NAMESPACE, [&dying]).backends.is_empty());
    let by_ref = discover(&refs(&["dying"]), NAMESPACE, [&dying]);
    assert_eq!(by_ref.backends[0].state, Presence::NotFound);
}

/// Architecture: both kinds are namespaced, nothing crosses namespaces.
#[test]
fn a_server_of_another_namespace_is_no_backend() {
    let mut stranger = remote("stranger");
    stranger.metadata.namespace = Some("other".to_owned());
    let gateway = spec(json!({"backends": {"selector": {}}}));

    assert!(
        discover(&gateway, NAMESPACE, [&stranger])
            .backends
            .is_empty()
    );
}

/// R2.8: a new object of the same name is another backend.
#[test]
fn the_generation_key_changes_with_uid_url_transport_protocol_and_host_and_with_nothing_else() {
    let gateway = spec(json!({"backends": {"selector": {}}}));
    let key =
        |object: &MCPServer| generation_key(&discover(&gateway, NAMESPACE, [object]).backends[0]);
    let url = json!({"url": "https://a.example.com/mcp"});
    let base = server("a", json!({"remote": url}));

    let mut recreated = base.clone();
    recreated.metadata.uid = Some("another".to_owned());
    let others = [
        recreated,
        server(
            "a",
            json!({"remote": {"url": "https://a.example.com/other"}}),
        ),
        server("a", json!({"remote": url, "transport": "sse"})),
        server("a", json!({"remote": url, "protocol": "legacy"})),
        server("a", json!({"remote": url, "hostHeader": "a"})),
    ];
    for other in &others {
        assert_ne!(key(&base), key(other), "{:?}", other.spec);
    }

    let mut relabelled = server(
        "a",
        json!({"remote": url, "healthCheck": {"periodSeconds": 2}, "timeouts": {"callSeconds": 9}}),
    );
    relabelled.metadata.generation = Some(7);
    assert_eq!(key(&base), key(&relabelled));
}

/// API: replicas 0 means Stopped.
#[test]
fn a_workload_without_replicas_is_stopped_but_keeps_its_url() {
    let stopped = server("w", json!({"workload": {"image": "i", "replicas": 0}}));
    let found = discover(&refs(&["w"]), NAMESPACE, [&stopped]);

    assert_eq!(found.backends[0].state, Presence::Stopped);
    assert!(found.backends[0].url.is_ok());
    assert_eq!(found.problems[0].reason, Reason::Stopped);
    assert!(found.problems[0].message.contains("spec.workload.replicas"));
}

/// Build 8: two equal prefixes are reported for both, with the fix; both stay backends.
#[test]
fn two_equal_prefixes_are_a_problem_of_both_backends() {
    let servers = [remote("a"), remote("b"), remote("c")];
    let gateway = |strategy: &str| {
        spec(json!({
            "backends": {"refs": [
                {"name": "a", "prefix": "x_"}, {"name": "b", "prefix": "x_"}, {"name": "c"},
            ]},
            "aggregation": {"conflictResolution": {"strategy": strategy}},
        }))
    };

    let found = discover(&gateway("Prefix"), NAMESPACE, &servers);

    let concerned: Vec<_> = found
        .problems
        .iter()
        .filter_map(|p| p.backend.as_deref())
        .collect();
    assert_eq!(concerned, ["a", "b"]);
    assert!(
        found
            .problems
            .iter()
            .all(|p| p.reason == Reason::DuplicatePrefix)
    );
    assert!(found.problems[0].message.contains("shared by a, b"));
    assert_eq!(found.backends.len(), 3);
    assert!(
        discover(&gateway("Priority"), NAMESPACE, &servers)
            .problems
            .is_empty()
    );
}

/// API: a written prefix that equals another's default one is the same clash.
#[test]
fn a_prefix_may_clash_with_the_default_one_of_another_backend() {
    let gateway = spec(json!({"backends": {
        "selector": {}, "refs": [{"name": "a", "prefix": "b_"}],
    }}));

    let found = discover(&gateway, NAMESPACE, &[remote("a"), remote("b")]);

    assert_eq!(found.problems.len(), 2);
}

/// R2.6: the settings arrive resolved.
#[test]
fn settings_are_the_servers_own_over_the_gateways_over_the_built_in_ones() {
    let own = server(
        "own",
        json!({
            "remote": {"url": "https://o.example.com"},
            "healthCheck": {"periodSeconds": 3},
            "timeouts": {"callSeconds": 20},
            "catalog": {"policy": "KeepFor", "keepForSeconds": 60},
        }),
    );
    let gateway = spec(json!({
        "backends": {"selector": {}},
        "healthCheck": {"periodSeconds": 30, "timeoutSeconds": 2},
    }));

    let found = discover(&gateway, NAMESPACE, &[own, remote("plain")]);

    let (own, plain) = (&found.backends[0], &found.backends[1]);
    assert_eq!(own.health.period, Duration::from_secs(3));
    assert_eq!(own.health.timeout, Duration::from_secs(2));
    assert_eq!(own.timeouts.connect, Duration::from_secs(5));
    assert_eq!(own.timeouts.call, Duration::from_secs(20));
    assert_eq!(
        own.catalog_policy,
        CatalogPolicy::KeepFor(Duration::from_secs(60))
    );
    assert_eq!(plain.health.period, Duration::from_secs(30));
    assert_eq!(plain.timeouts.call, Duration::from_secs(300));
    assert_eq!(plain.catalog_policy, CatalogPolicy::Keep);
}

/// API: selectors have the semantics of Kubernetes.
#[test]
fn expressions_select_as_kubernetes_does() {
    let servers = [
        labelled("a", "env", "prod"),
        labelled("b", "env", "dev"),
        remote("c"),
    ];
    let select = |operator: &str, values: &[&str]| {
        let mut gateway = VirtualMCPServerSpec::default();
        gateway.backends.selector = Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "env".to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            }]),
            match_labels: None,
        });
        discover(&gateway, NAMESPACE, &servers)
    };

    assert_eq!(names(&select("In", &["prod", "x"]).backends), ["a"]);
    assert_eq!(names(&select("NotIn", &["prod"]).backends), ["b", "c"]);
    assert_eq!(names(&select("Exists", &[]).backends), ["a", "b"]);
    assert_eq!(names(&select("DoesNotExist", &[]).backends), ["c"]);
    for broken in [
        select("In", &[]),
        select("Exists", &["x"]),
        select("Near", &["x"]),
    ] {
        assert!(broken.backends.is_empty());
        assert_eq!(broken.problems[0].reason, Reason::InvalidSelector);
        assert_eq!(broken.problems[0].backend, None);
    }
}

/// API: neither selector nor refs is no backend, not every backend.
#[test]
fn without_selector_and_refs_there_is_no_backend() {
    let gateway = VirtualMCPServerSpec::default();

    assert!(
        discover(&gateway, NAMESPACE, [&remote("a")])
            .backends
            .is_empty()
    );
}

/// Limits: the list in the status is bounded, and says so.
#[test]
fn more_servers_than_the_status_can_hold_are_cut_off_and_reported() {
    let servers: Vec<MCPServer> = (0..=MAX_BACKENDS)
        .map(|n| remote(&format!("s{n:05}")))
        .collect();
    let gateway = spec(json!({"backends": {"selector": {}}}));

    let found = discover(&gateway, NAMESPACE, &servers);

    assert_eq!(found.backends.len(), MAX_BACKENDS);
    assert_eq!(found.problems[0].reason, Reason::TooManyBackends);
}
