//! The CEL rules of the schemas, in Rust.
//!
//! Owns one native twin for each rule, found by the rule's own text. A rule without a twin would be
//! silently weaker here than in a cluster: a test fails when one is added and forgotten.

use std::collections::HashSet;

use serde_json::Value;
use url::Url;

use super::check::{Fault, fault};
use super::node::Node;

type Holds = fn(&Value) -> bool;

/// Rule text to its twin. Defaults of the schema are filled in by the twins themselves, because
/// there is no API server that has done it before.
const TWINS: &[(&str, Holds)] = &[
    (
        "[has(self.workload), has(self.service), has(self.remote)].filter(x, x).size() == 1",
        |v| exactly_one(v, &["workload", "service", "remote"]),
    ),
    (
        "!has(self.path) || !has(self.remote) || !isURL(self.remote.url) || \
         url(self.remote.url).getEscapedPath() in ['', '/']",
        |v| {
            let url = v.pointer("/remote/url").and_then(Value::as_str);
            let path = url
                .and_then(|url| Url::parse(url).ok())
                .map(|url| url.path().to_owned());
            v["path"].is_null() || path.is_none_or(|path| path.is_empty() || path == "/")
        },
    ),
    (
        "self.transport != 'sse' || self.protocol != 'modern'",
        |v| v["transport"] != "sse" || v["protocol"] != "modern",
    ),
    ("isURL(self.url)", |v| is_url(&v["url"])),
    (
        "self.url.startsWith('https://') || self.url.startsWith('http://')",
        |v| {
            ["https://", "http://"]
                .iter()
                .any(|scheme| text(&v["url"]).starts_with(scheme))
        },
    ),
    ("!self.url.matches('^[a-z]+://[^/?#]*@')", |v| {
        let rest = text(&v["url"])
            .split_once("://")
            .map_or("", |(_, rest)| rest);
        !rest
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|authority| authority.contains('@'))
    }),
    ("!self.url.contains('#')", |v| {
        !text(&v["url"]).contains('#')
    }),
    (
        "!self.url.startsWith('http://') || self.allowInsecure",
        |v| !text(&v["url"]).starts_with("http://") || v["allowInsecure"] == true,
    ),
    (
        "self.url.startsWith('https://') || self.url.startsWith('http://')",
        |v| after_scheme(text(&v["url"])).is_some(),
    ),
    ("!self.url.matches('^[a-z]+://[^/?#]*@')", |v| {
        let rest = text(&v["url"])
            .split_once("://")
            .map_or("", |(_, rest)| rest);
        !authority(rest).contains('@')
    }),
    ("!self.url.contains('#')", |v| {
        !text(&v["url"]).contains('#')
    }),
    ("self.connectSeconds <= self.callSeconds", |v| {
        integer(&v["connectSeconds"], 5) <= integer(&v["callSeconds"], 300)
    }),
    (
        "self.policy != 'KeepFor' || has(self.keepForSeconds)",
        |v| v["policy"] != "KeepFor" || !v["keepForSeconds"].is_null(),
    ),
    (
        "self.policy == 'KeepFor' || !has(self.keepForSeconds)",
        |v| v["policy"] == "KeepFor" || v["keepForSeconds"].is_null(),
    ),
    (
        "!has(self.degradedAboveMilliseconds) || !has(self.timeoutSeconds) || \
         self.degradedAboveMilliseconds < self.timeoutSeconds * 1000",
        |v| {
            let (above, timeout) = (&v["degradedAboveMilliseconds"], &v["timeoutSeconds"]);
            above.is_null()
                || timeout.is_null()
                || integer(above, 0) < integer(timeout, 0).saturating_mul(1000)
        },
    ),
    (
        "self.all(v, self.exists_one(w, w.mountPath == v.mountPath))",
        |v| {
            let mut seen = HashSet::new();
            v.as_array()
                .into_iter()
                .flatten()
                .all(|volume| seen.insert(text(&volume["mountPath"])))
        },
    ),
    (
        "[has(self.emptyDir), has(self.configMap), has(self.secret), \
         has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
        |v| {
            exactly_one(
                v,
                &["emptyDir", "configMap", "secret", "persistentVolumeClaim"],
            )
        },
    ),
    ("!(self.mountPath in ['/tmp', '/home/mcp'])", |v| {
        !["/tmp", "/home/mcp"].contains(&text(&v["mountPath"]))
    }),
    (
        "!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/') && \
         !k.startsWith('vmcp.dev/'))",
        |v| {
            let mut keys = v["labels"]
                .as_object()
                .into_iter()
                .flat_map(|labels| labels.keys());
            keys.all(|key| !key.starts_with("app.kubernetes.io/") && !key.starts_with("vmcp.dev/"))
        },
    ),
    ("!has(self.value) || !has(self.valueFrom)", |v| {
        v["value"].is_null() || v["valueFrom"].is_null()
    }),
    (
        "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)]\
         .filter(x, x).size() == 1",
        |v| exactly_one(v, &["secretKeyRef", "configMapKeyRef", "fieldRef"]),
    ),
    ("has(self.configMapRef) != has(self.secretRef)", |v| {
        exactly_one(v, &["configMapRef", "secretRef"])
    }),
    (
        "self.operator in ['In', 'NotIn'] ? (has(self.values) && self.values.size() > 0) : \
         (!has(self.values) || self.values.size() == 0)",
        |v| {
            let filled = v["values"]
                .as_array()
                .is_some_and(|values| !values.is_empty());
            filled == ["In", "NotIn"].contains(&text(&v["operator"]))
        },
    ),
    ("!has(self.publicURL) || isURL(self.publicURL)", |v| {
        v["publicURL"].is_null() || is_url(&v["publicURL"])
    }),
    (
        "!has(self.publicURL) || self.publicURL.matches('^https?://[^/?#@]+(/[^?#]*)?$')",
        |v| {
            let rest = v["publicURL"].as_str().map(after_scheme);
            rest.is_none_or(|rest| {
                rest.is_some_and(|rest| {
                    let host = authority(rest);
                    !host.is_empty() && !host.contains('@') && !rest.contains(['?', '#'])
                })
            })
        },
    ),
    (
        "!has(self.publicURL) || self.publicURL.matches('^https?://[^/?#@]+(/[^?#]*)?$')",
        |v| {
            let url = v["publicURL"].as_str();
            url.is_none_or(|url| {
                let rest = url
                    .strip_prefix("https://")
                    .or_else(|| url.strip_prefix("http://"));
                rest.is_some_and(|rest| {
                    let authority = rest.split('/').next().unwrap_or_default();
                    !authority.is_empty() && !authority.contains('@') && !rest.contains(['?', '#'])
                })
            })
        },
    ),
    (
        "has(self.backends.selector) || !has(self.backends.refs) || \
         self.minReadyBackends <= self.backends.refs.size()",
        |v| {
            let refs = v.pointer("/backends/refs").and_then(Value::as_array);
            v.pointer("/backends/selector").is_some()
                || refs.is_none_or(|refs| {
                    integer(&v["minReadyBackends"], 1) <= i64::try_from(refs.len()).unwrap_or(0)
                })
        },
    ),
    ("has(self.selector) || has(self.refs)", |v| {
        !v["selector"].is_null() || !v["refs"].is_null()
    }),
    (
        "has(self.rename) || has(self.description) || has(self.annotations)",
        |v| {
            let keys = ["rename", "description", "annotations"];
            keys.iter().any(|key| !v[*key].is_null())
        },
    ),
    ("self.prefixFormat.contains('{backend}')", |v| {
        v["prefixFormat"]
            .as_str()
            .is_none_or(|format| format.contains("{backend}"))
    }),
];

/// The rules of one schema node.
pub(super) fn check(schema: &Value, node: &Node, path: &str, faults: &mut Vec<Fault>) {
    let Some(rules) = schema["x-kubernetes-validations"].as_array() else {
        return;
    };
    let value = node.to_json();
    for rule in rules {
        if twin(text(&rule["rule"])).is_some_and(|holds| !holds(&value)) {
            let field_path = text(&rule["fieldPath"]);
            let line = node
                .get(field_path.trim_start_matches('.'))
                .map_or(node.line, |at| at.line);
            faults.push(fault(
                line,
                &format!("{path}{field_path}"),
                text(&rule["message"]),
            ));
        }
    }
}

fn twin(rule: &str) -> Option<Holds> {
    TWINS
        .iter()
        .find(|(text, _)| *text == rule)
        .map(|(_, holds)| *holds)
}

fn exactly_one(value: &Value, keys: &[&str]) -> bool {
    keys.iter().filter(|key| !value[**key].is_null()).count() == 1
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn integer(value: &Value, default: i64) -> i64 {
    value.as_i64().unwrap_or(default)
}

fn after_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
}

/// What stands before the path, the query or the fragment.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_url(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Url::parse(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                for rule in map
                    .get("x-kubernetes-validations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    found.push(text(&rule["rule"]).to_owned());
                }
                map.values().for_each(|nested| rules_of(nested, found));
            }
            Value::Array(items) => items.iter().for_each(|nested| rules_of(nested, found)),
            _ => {}
        }
    }

    /// Build 8: what admission refuses in a cluster is refused from a file too.
    #[test]
    fn every_rule_of_the_installed_schemas_has_a_twin() {
        let mut found = Vec::new();
        for file in vmcp_crds::schema::crds().unwrap() {
            rules_of(&file.crd, &mut found);
        }

        let missing: Vec<&String> = found.iter().filter(|rule| twin(rule).is_none()).collect();

        assert!(found.len() > 10, "{found:?}");
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
