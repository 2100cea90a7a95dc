//! What holds of `discover` for any spec and any servers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::json;

use super::{NAMESPACE, names, refs, server, spec};
use crate::discover::{Presence, discover};
use crate::reason::Reason;
use crate::{MCPServer, VirtualMCPServerSpec};

fn any_server() -> impl Strategy<Value = MCPServer> {
    let kinds = prop_oneof![
        Just(json!({"remote": {"url": "https://h.example.com/mcp"}})),
        Just(json!({"remote": {"url": "not a url"}})),
        Just(json!({"service": {"name": "svc", "port": 80}})),
        Just(json!({"workload": {"image": "i", "replicas": 0}})),
        Just(json!({})),
    ];
    ("[a-e]", kinds, any::<bool>(), any::<bool>()).prop_map(|(name, kind, tagged, dying)| {
        let mut object = server(&name, kind);
        if tagged {
            object.metadata.labels = Some([("tag".to_owned(), "x".to_owned())].into());
        }
        if dying {
            object.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        }
        object
    })
}

/// Servers of distinct names, as a cache holds them.
fn any_servers() -> impl Strategy<Value = Vec<MCPServer>> {
    proptest::collection::vec(any_server(), 0..6).prop_map(|mut servers| {
        servers.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        servers.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        servers
    })
}

fn any_gateway() -> impl Strategy<Value = VirtualMCPServerSpec> {
    let selector = proptest::option::of(prop_oneof![
        Just(json!({})),
        Just(json!({"matchLabels": {"tag": "x"}})),
        Just(json!({"matchExpressions": [{"key": "tag", "operator": "In"}]})),
    ]);
    let reference = ("[a-f]", proptest::option::of("[xy]?_?")).prop_map(|(name, prefix)| {
        let mut reference = json!({"name": name});
        if let Some(prefix) = prefix {
            reference["prefix"] = json!(prefix);
        }
        reference
    });
    (selector, proptest::collection::vec(reference, 0..5)).prop_map(|(selector, refs)| {
        let mut backends = json!({"refs": refs});
        if let Some(selector) = selector {
            backends["selector"] = selector;
        }
        spec(json!({"backends": backends}))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// R4.8, Build 8: membership is a function of the set of servers, one entry a name,
    /// nothing that is being deleted, every broken one with a problem, no other touched.
    #[test]
    fn discovery_is_deterministic_complete_and_isolates_what_is_broken(
        gateway in any_gateway(),
        servers in any_servers(),
    ) {
        let found = discover(&gateway, NAMESPACE, &servers);
        let reversed: Vec<&MCPServer> = servers.iter().rev().collect();

        prop_assert_eq!(&found, &discover(&gateway, NAMESPACE, reversed));
        let mut unique = names(&found.backends);
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), found.backends.len());
        for reference in &gateway.backends.refs {
            prop_assert!(names(&found.backends).contains(&reference.name.as_str()));
        }
        for backend in &found.backends {
            let living = servers.iter().find(|server| {
                server.metadata.name.as_deref() == Some(&backend.name)
                    && server.metadata.deletion_timestamp.is_none()
            });
            prop_assert_eq!(living.is_none(), backend.state == Presence::NotFound);
            let reported = found.problems.iter().any(|problem| {
                problem.backend.as_deref() == Some(&backend.name)
                    && Some(problem.reason) == backend.blocked()
            });
            prop_assert_eq!(reported, backend.blocked().is_some());
            if let Some(server) = living {
                let alone = discover(&refs(&[&backend.name]), NAMESPACE, [server]);
                prop_assert_eq!(&alone.backends[0].url, &backend.url);
            }
        }
        for problem in &found.problems {
            prop_assert!(problem.message.contains(&problem.field));
        }
    }

    /// Build 8: no URL that a person can write makes discovery fail or panic, and what it
    /// accepts has a host, a port and a path.
    #[test]
    fn any_text_as_url_is_either_usable_or_a_problem(url in "(https?://)?\\PC{0,40}") {
        let object = server("r", json!({"remote": {"url": url, "allowInsecure": true}}));
        let found = discover(&refs(&["r"]), NAMESPACE, [&object]);

        match &found.backends[0].url {
            Ok(url) => {
                prop_assert!(!url.dial_host().is_empty());
                prop_assert!(url.port > 0);
                prop_assert!(url.path.starts_with('/'));
                prop_assert!(url::Url::parse(&url.to_string()).is_ok());
            }
            Err(problem) => prop_assert_eq!(problem.reason, Reason::InvalidUrl),
        }
    }
}
