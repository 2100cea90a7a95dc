//! CEL rules: what a schema's own words cannot say.
//!
//! Each message names the field and the fix. Rules sit on `spec` or below it, never on
//! the root, whose errors carry no path. Every string and list that a rule reads has a
//! bound, else the API server refuses the CRD for the estimated cost.

use serde_json::{Value, json};

fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

fn rule_at(field_path: &str, rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message, "fieldPath": field_path})
}

pub(crate) fn mcpserver_spec() -> Value {
    json!([
        rule(
            "[has(self.workload), has(self.service), has(self.remote)].filter(x, x).size() == 1",
            "set exactly one of workload, service, remote",
        ),
        rule_at(
            ".path",
            "!has(self.path) || !has(self.remote) || !isURL(self.remote.url) || \
             url(self.remote.url).getEscapedPath() in ['', '/']",
            "path and remote.url both name a path: remove path, or the path in remote.url",
        ),
        rule_at(
            ".protocol",
            "self.transport != 'sse' || self.protocol != 'modern'",
            "protocol modern has no transport sse: set protocol to auto or legacy, or transport to \
             streamable-http",
        ),
    ])
}

pub(crate) fn remote() -> Value {
    json!([
        rule_at(
            ".url",
            "isURL(self.url)",
            "url cannot be parsed: write it as https://host[:port]/path",
        ),
        rule_at(
            ".url",
            "!self.url.startsWith('http://') || self.allowInsecure",
            "url is plain http: use https, or set allowInsecure: true",
        ),
        rule_at(
            ".url",
            "self.url.startsWith('https://') || self.url.startsWith('http://')",
            "url must begin with https:// or http://",
        ),
        rule_at(
            ".url",
            "!self.url.matches('^[a-z]+://[^/?#]*@')",
            "url holds a user name or a password, which all readers of the object could see: \
             remove them",
        ),
        rule_at(
            ".url",
            "!self.url.contains('#')",
            "url has a fragment: remove it from the # on"
        ),
    ])
}

pub(crate) fn timeouts() -> Value {
    json!([rule_at(
        ".connectSeconds",
        "self.connectSeconds <= self.callSeconds",
        "connectSeconds must not be larger than callSeconds, which includes it",
    )])
}

pub(crate) fn catalog() -> Value {
    json!([
        rule_at(
            ".keepForSeconds",
            "self.policy != 'KeepFor' || has(self.keepForSeconds)",
            "policy KeepFor needs keepForSeconds: set it, or use Keep or Hide",
        ),
        rule_at(
            ".keepForSeconds",
            "self.policy == 'KeepFor' || !has(self.keepForSeconds)",
            "keepForSeconds has a meaning with policy KeepFor only: remove it, or set the policy",
        ),
    ])
}

pub(crate) fn health_check() -> Value {
    json!([rule_at(
        ".degradedAboveMilliseconds",
        "!has(self.degradedAboveMilliseconds) || !has(self.timeoutSeconds) || \
         self.degradedAboveMilliseconds < self.timeoutSeconds * 1000",
        "degradedAboveMilliseconds must be smaller than timeoutSeconds, else nothing is ever \
         Degraded",
    )])
}

pub(crate) fn volumes() -> Value {
    json!([rule(
        "self.all(v, self.exists_one(w, w.mountPath == v.mountPath))",
        "mountPath must be unique: give each volume a path of its own",
    )])
}

pub(crate) fn volume() -> Value {
    json!([
        rule(
            "[has(self.emptyDir), has(self.configMap), has(self.secret), \
             has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
            "set exactly one of emptyDir, configMap, secret, persistentVolumeClaim",
        ),
        rule_at(
            ".mountPath",
            "!(self.mountPath in ['/tmp', '/home/mcp'])",
            "mountPath /tmp and /home/mcp are taken by volumes that every server has: use another",
        ),
    ])
}

pub(crate) fn pod_template() -> Value {
    json!([rule_at(
        ".labels",
        "!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/') && \
         !k.startsWith('vmcp.dev/'))",
        "labels under app.kubernetes.io/ and vmcp.dev/ are ours: use another prefix",
    )])
}

pub(crate) fn env_var() -> Value {
    json!([rule(
        "!has(self.value) || !has(self.valueFrom)",
        "set value or valueFrom, not both; with neither the variable is empty",
    )])
}

pub(crate) fn env_var_source() -> Value {
    json!([rule(
        "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)]\
         .filter(x, x).size() == 1",
        "set exactly one of secretKeyRef, configMapKeyRef, fieldRef",
    )])
}

pub(crate) fn env_from() -> Value {
    json!([rule(
        "has(self.configMapRef) != has(self.secretRef)",
        "set exactly one of configMapRef, secretRef",
    )])
}

pub(crate) fn selector_requirement() -> Value {
    json!([rule_at(
        ".values",
        "self.operator in ['In', 'NotIn'] ? (has(self.values) && self.values.size() > 0) : \
         (!has(self.values) || self.values.size() == 0)",
        "operators In and NotIn need values, Exists and DoesNotExist must have none",
    )])
}

pub(crate) fn virtual_spec() -> Value {
    json!([
        rule_at(
            ".publicURL",
            "!has(self.publicURL) || isURL(self.publicURL)",
            "publicURL cannot be parsed: write it as https://host[:port]/path",
        ),
        rule_at(
            ".publicURL",
            "!has(self.publicURL) || self.publicURL.matches('^https?://[^/?#@]+(/[^?#]*)?$')",
            "publicURL must be an http or https URL without user name, query or fragment",
        ),
        rule_at(
            ".minReadyBackends",
            "has(self.backends.selector) || !has(self.backends.refs) || \
             self.minReadyBackends <= self.backends.refs.size()",
            "minReadyBackends is larger than the number of backends.refs and could never be \
             reached: lower it, or add refs or a selector",
        ),
    ])
}

pub(crate) fn backends() -> Value {
    json!([rule(
        "has(self.selector) || has(self.refs)",
        "set selector, refs or both",
    )])
}

pub(crate) fn tool_override() -> Value {
    json!([rule(
        "has(self.rename) || has(self.description) || has(self.annotations)",
        "set rename, description or annotations: an override of nothing has no meaning",
    )])
}

pub(crate) fn conflict_resolution() -> Value {
    json!([rule_at(
        ".prefixFormat",
        "self.prefixFormat.contains('{backend}')",
        "prefixFormat must contain {backend}, else every server has the same prefix",
    )])
}
