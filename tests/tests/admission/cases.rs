//! Invalid objects: each differs from an accepted one in a single value.

use serde_json::{Value, json};

use crate::server::object;

/// One mistake and its correction.
pub struct Case {
    base: fn() -> Value,
    /// JSON pointer of the value that is wrong.
    place: &'static str,
    /// `None` where the mistake is that the field is absent.
    wrong: Option<Value>,
    /// `None` where the correction is to leave the field out.
    right: Option<Value>,
    /// Path of the field in the message.
    pub field: &'static str,
    /// What the message must say besides.
    pub says: &'static str,
}

impl Case {
    pub fn invalid(&self) -> Value {
        with((self.base)(), self.place, self.wrong.as_ref())
    }

    pub fn fixed(&self) -> Value {
        with((self.base)(), self.place, self.right.as_ref())
    }

    /// The mistake in a few words.
    pub fn name(&self) -> String {
        let wrong = self
            .wrong
            .as_ref()
            .map_or("absent".to_owned(), Value::to_string);
        format!(
            "{} {}",
            self.place,
            wrong.chars().take(80).collect::<String>()
        )
    }
}

/// `object` with `value` at `place`, every object on the way made; `None` removes.
fn with(mut object: Value, place: &str, value: Option<&Value>) -> Value {
    let Some(value) = value else {
        let (parent, key) = place.rsplit_once('/').unwrap();
        if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(key);
        }
        return object;
    };
    let mut at = &mut object;
    for key in place.split('/').skip(1) {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value.clone();
    object
}

fn remote() -> Value {
    object(
        "MCPServer",
        "server",
        json!({"remote": {"url": "https://a.example.com/mcp"}}),
    )
}

fn bare_remote() -> Value {
    object(
        "MCPServer",
        "server",
        json!({"remote": {"url": "https://a.example.com"}}),
    )
}

fn service() -> Value {
    object(
        "MCPServer",
        "server",
        json!({"service": {"name": "svc", "port": 80}}),
    )
}

fn workload() -> Value {
    object(
        "MCPServer",
        "server",
        json!({"workload": {"image": "example/server:1"}}),
    )
}

fn with_env() -> Value {
    object(
        "MCPServer",
        "server",
        json!({"workload": {
            "image": "example/server:1",
            "env": [{"name": "A", "value": "1"}],
            "envFrom": [{"secretRef": {"name": "s"}}],
            "volumes": [
                {"name": "one", "mountPath": "/one", "emptyDir": {}},
                {"name": "two", "mountPath": "/two", "configMap": {"name": "c"}},
            ],
            "podTemplate": {"tolerations": [{"key": "k", "operator": "Exists"}]},
        }}),
    )
}

fn gateway() -> Value {
    object(
        "VirtualMCPServer",
        "gateway",
        json!({"backends": {"refs": [{"name": "server"}]}}),
    )
}

fn selecting() -> Value {
    object(
        "VirtualMCPServer",
        "gateway",
        json!({"backends": {"selector": {"matchExpressions": [
            {"key": "env", "operator": "In", "values": ["prod"]},
        ]}}}),
    )
}

macro_rules! case {
    ($base:ident, $place:literal, $wrong:tt => $right:tt, $field:literal, $says:literal) => {
        Case {
            base: $base,
            place: $place,
            wrong: value!($wrong),
            right: value!($right),
            field: $field,
            says: $says,
        }
    };
}

macro_rules! value {
    (ABSENT) => {
        None
    };
    ((repeat $text:literal $times:literal)) => {
        Some(json!($text.repeat($times)))
    };
    ($($json:tt)+) => {
        Some(json!($($json)+))
    };
}

/// Names, and which server an MCPServer is.
pub fn of_servers() -> Vec<Case> {
    vec![
        case!(remote, "/metadata/name", "1st" => "first", "metadata.name", "should match"),
        case!(remote, "/metadata/name", "my.server" => "my-server", "metadata.name", "should match"),
        case!(remote, "/metadata/name", (repeat "a" 41) => (repeat "a" 40), "metadata.name",
            "may not be more than 40"),
        case!(remote, "/spec", ABSENT => {"service": {"name": "s", "port": 1}}, "spec", "Required"),
        case!(remote, "/spec", {} => {"service": {"name": "s", "port": 1}}, "spec",
            "set exactly one of workload, service, remote"),
        case!(remote, "/spec/service", {"name": "svc", "port": 80} => ABSENT, "spec",
            "set exactly one of workload, service, remote"),
        case!(remote, "/spec/remote/url", ABSENT => "https://b.example.com", "spec.remote.url",
            "Required value"),
        case!(remote, "/spec/remote/url", "http://a.example.com/mcp" => "https://a.example.com/mcp",
            "spec.remote.url", "set allowInsecure: true"),
        case!(remote, "/spec/remote", {"url": "http://a.example.com/mcp"} =>
            {"url": "http://a.example.com/mcp", "allowInsecure": true},
            "spec.remote.url", "set allowInsecure: true"),
        case!(remote, "/spec/remote/url", "a.example.com" => "https://a.example.com",
            "spec.remote.url", "write it as https://host[:port]/path"),
        case!(remote, "/spec/remote", {"url": "ftp://a.example.com", "allowInsecure": true} =>
            {"url": "http://a.example.com", "allowInsecure": true},
            "spec.remote.url", "must begin with https:// or http://"),
        case!(remote, "/spec/remote/url", "https://me:pw@a.example.com" => "https://a.example.com/@me",
            "spec.remote.url", "user name or a password"),
        case!(remote, "/spec/remote/url", "https://a.example.com/mcp#x" =>
            "https://a.example.com/mcp?x=1", "spec.remote.url", "has a fragment"),
        case!(remote, "/spec/remote/url", "https://wörter.example.com" =>
            "https://xn--wrter-jua.example.com", "spec.remote.url", "should match"),
        case!(remote, "/spec/remote/allowInsecure", "yes" => true, "spec.remote.allowInsecure",
            "must be of type boolean"),
        case!(service, "/spec/service/name", "UPPER" => "lower", "spec.service.name", "should match"),
        case!(service, "/spec/service/name", ABSENT => "svc", "spec.service.name", "Required value"),
        case!(service, "/spec/service/port", 0 => 1, "spec.service.port", "greater than or equal to 1"),
        case!(service, "/spec/service/port", 65536 => 65535, "spec.service.port", "less than or equal"),
        case!(service, "/spec/service/port", "80" => 80, "spec.service.port", "must be of type integer"),
    ]
}

/// How an MCPServer is spoken to.
pub fn of_protocol() -> Vec<Case> {
    vec![
        case!(service, "/spec/transport", "stdio" => "sse", "spec.transport", "Unsupported value"),
        case!(service, "/spec/protocol", "2025-06-18" => "legacy", "spec.protocol", "Unsupported value"),
        case!(service, "/spec", {"service": {"name": "s", "port": 1}, "transport": "sse",
            "protocol": "modern"} => {"service": {"name": "s", "port": 1}, "transport": "sse"},
            "spec.protocol", "set protocol to auto or legacy"),
        case!(service, "/spec/path", "mcp" => "/mcp", "spec.path", "should match"),
        case!(service, "/spec/path", "/mcp?x=1" => "/mcp", "spec.path", "should match"),
        case!(service, "/spec/path", "/wörter" => "/w%C3%B6rter", "spec.path", "should match"),
        case!(remote, "/spec/path", "/other" => ABSENT, "spec.path", "remove path"),
        case!(bare_remote, "/spec/path", "" => "/other", "spec.path", "at least 1"),
        case!(service, "/spec/hostHeader", "http://mcp.local" => "mcp.local:8080", "spec.hostHeader",
            "should match"),
        case!(service, "/spec/hostHeader", 7 => "[::1]:80", "spec.hostHeader",
            "must be of type string"),
        case!(service, "/spec/healthCheck/periodSeconds", 0 => 1, "spec.healthCheck.periodSeconds",
            "greater than or equal to 1"),
        case!(service, "/spec/healthCheck/timeoutSeconds", 301 => 300,
            "spec.healthCheck.timeoutSeconds", "less than or equal to 300"),
        case!(service, "/spec/healthCheck/failureThreshold", 1.5 => 2,
            "spec.healthCheck.failureThreshold", "must be of type integer"),
        case!(service, "/spec/healthCheck/successThreshold", 0 => 1,
            "spec.healthCheck.successThreshold", "greater than or equal to 1"),
        case!(service, "/spec/healthCheck", {"timeoutSeconds": 1, "degradedAboveMilliseconds": 1000} =>
            {"timeoutSeconds": 1, "degradedAboveMilliseconds": 999},
            "spec.healthCheck.degradedAboveMilliseconds", "must be smaller than timeoutSeconds"),
        case!(service, "/spec/healthCheck/periodSecond", 5 => ABSENT, "spec.healthCheck.periodSecond",
            "unknown field"),
        case!(service, "/spec/timeouts/callSeconds", 3601 => 3600, "spec.timeouts.callSeconds",
            "less than or equal to 3600"),
        case!(service, "/spec/timeouts", {"connectSeconds": 10, "callSeconds": 9} =>
            {"connectSeconds": 9, "callSeconds": 9},
            "spec.timeouts.connectSeconds", "must not be larger than callSeconds"),
        case!(service, "/spec/catalog/policy", "Forget" => "Hide", "spec.catalog.policy",
            "Unsupported value"),
        case!(service, "/spec/catalog", {"policy": "KeepFor"} =>
            {"policy": "KeepFor", "keepForSeconds": 60},
            "spec.catalog.keepForSeconds", "needs keepForSeconds"),
        case!(service, "/spec/catalog/keepForSeconds", 60 => ABSENT, "spec.catalog.keepForSeconds",
            "remove it, or set the policy"),
        case!(service, "/spec/resourceUriPrefixes", ["/no/scheme"] => ["file:///srv/"],
            "spec.resourceUriPrefixes[0]", "should match"),
        case!(service, "/spec/tools", {"overrides": [{"name": "a"}]} =>
            {"overrides": [{"name": "a", "rename": "b"}]},
            "spec.tools.overrides[0]", "set rename, description or annotations"),
        case!(service, "/spec/tools", {"overrides": [{"name": "a", "rename": "two words"}]} =>
            {"overrides": [{"name": "a", "rename": "two_words"}]},
            "spec.tools.overrides[0].rename", "should match"),
        case!(service, "/spec/tools", {"include": [""]} => {"include": ["*"]},
            "spec.tools.include[0]", "at least 1 chars long"),
    ]
}

/// What a workload may be.
pub fn of_workloads() -> Vec<Case> {
    vec![
        case!(workload, "/spec/workload/image", "" => "i", "spec.workload.image", "at least 1"),
        case!(workload, "/spec/workload/image", "two words" => "i", "spec.workload.image",
            "should match"),
        case!(workload, "/spec/workload/replicas", (-1) => 0, "spec.workload.replicas",
            "greater than or equal to 0"),
        case!(workload, "/spec/workload/port", 70000 => 7000, "spec.workload.port",
            "less than or equal to 65535"),
        case!(workload, "/spec/workload/securityContext/runAsUser", 0 => 1000,
            "spec.workload.securityContext.runAsUser", "greater than or equal to 1"),
        case!(workload, "/spec/workload/securityContext/privileged", true => ABSENT,
            "spec.workload.securityContext.privileged", "unknown field"),
        case!(workload, "/spec/workload/imagePullPolicy", "Sometimes" => "Never",
            "spec.workload.imagePullPolicy", "Unsupported value"),
        case!(workload, "/spec/workload/imagePullSecrets", [{}] => [{"name": "registry"}],
            "spec.workload.imagePullSecrets[0].name", "Required value"),
        case!(workload, "/spec/workload/resources/limits/memory", "1 GB" => "1Gi",
            "spec.workload.resources.limits", "should match"),
        case!(workload, "/spec/workload/resources/requests/cpu", "fast" => 1,
            "spec.workload.resources.requests", "should match"),
        case!(workload, "/spec/workload/hostNetwork", true => ABSENT, "spec.workload.hostNetwork",
            "unknown field"),
        case!(with_env, "/spec/workload/env/0/name", "" => "B", "spec.workload.env[0].name", "at least 1"),
        case!(with_env, "/spec/workload/env/0/name", "A=B" => "A", "spec.workload.env[0].name",
            "should match"),
        case!(with_env, "/spec/workload/env", [{"name": "A"}, {"name": "A"}] =>
            [{"name": "A"}, {"name": "B"}], "spec.workload.env[1]", "Duplicate value"),
        case!(with_env, "/spec/workload/env/0/valueFrom", {"fieldRef": {"fieldPath": "spec.nodeName"}}
            => ABSENT, "spec.workload.env[0]", "set value or valueFrom, not both"),
        case!(with_env, "/spec/workload/env/0", {"name": "A", "valueFrom": {}} =>
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
            "spec.workload.env[0].valueFrom", "set exactly one of secretKeyRef"),
        case!(with_env, "/spec/workload/env/0", {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}
            => {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            "spec.workload.env[0].valueFrom.secretKeyRef.key", "Required value"),
        case!(with_env, "/spec/workload/envFrom/0/configMapRef", {"name": "c"} => ABSENT,
            "spec.workload.envFrom[0]", "set exactly one of configMapRef, secretRef"),
        case!(with_env, "/spec/workload/volumes/0/emptyDir", ABSENT => {"sizeLimit": "1Gi"},
            "spec.workload.volumes[0]", "set exactly one of emptyDir"),
        case!(with_env, "/spec/workload/volumes/0/hostPath", {"path": "/"} => ABSENT,
            "spec.workload.volumes[0].hostPath", "unknown field"),
        case!(with_env, "/spec/workload/volumes/0/mountPath", "one" => "/data",
            "spec.workload.volumes[0].mountPath", "should match"),
        case!(with_env, "/spec/workload/volumes/0/mountPath", "/tmp" => "/tmp/x",
            "spec.workload.volumes[0].mountPath", "use another"),
        case!(with_env, "/spec/workload/volumes/0/mountPath", "/two" => "/three",
            "spec.workload.volumes", "mountPath must be unique"),
        case!(with_env, "/spec/workload/volumes/0/name", "two" => "three", "spec.workload.volumes[1]",
            "Duplicate value"),
        case!(with_env, "/spec/workload/podTemplate/labels", {"app.kubernetes.io/name": "x"} =>
            {"example.com/name": "x"}, "spec.workload.podTemplate.labels", "use another prefix"),
        case!(with_env, "/spec/workload/podTemplate/labels", {"example.com/name": "a b"} =>
            {"example.com/name": "a-b"}, "spec.workload.podTemplate.labels", "should match"),
        case!(with_env, "/spec/workload/podTemplate/tolerations/0/effect", "Sometimes" => "NoExecute",
            "spec.workload.podTemplate.tolerations[0].effect", "Unsupported value"),
        case!(with_env, "/spec/workload/podTemplate/hostPID", true => ABSENT,
            "spec.workload.podTemplate.hostPID", "unknown field"),
    ]
}

/// What a VirtualMCPServer may be.
pub fn of_gateways() -> Vec<Case> {
    vec![
        case!(gateway, "/metadata/name", "Gateway" => "gateway", "metadata.name", "lower case"),
        case!(gateway, "/spec/backends", ABSENT => {"selector": {}}, "spec.backends", "Required value"),
        case!(gateway, "/spec/backends", {} => {"selector": {}}, "spec.backends", "set selector, refs"),
        case!(gateway, "/spec/backends/refs/0/name", "Server" => "server", "spec.backends.refs[0].name",
            "should match"),
        case!(gateway, "/spec/backends/refs", [{"name": "a"}, {"name": "a", "prefix": "x"}] =>
            [{"name": "a"}, {"name": "b"}], "spec.backends.refs[1]", "Duplicate value"),
        case!(gateway, "/spec/backends/refs/0/prefix", "a b" => "", "spec.backends.refs[0].prefix",
            "should match"),
        case!(selecting, "/spec/backends/selector/matchExpressions/0/operator", "Like" => "NotIn",
            "spec.backends.selector.matchExpressions[0].operator", "Unsupported value"),
        case!(selecting, "/spec/backends/selector/matchExpressions/0/values", [] => ["dev"],
            "spec.backends.selector.matchExpressions[0].values", "In and NotIn need values"),
        case!(selecting, "/spec/backends/selector/matchExpressions/0/operator", "Exists" => "In",
            "spec.backends.selector.matchExpressions[0].values", "must have none"),
        case!(gateway, "/spec/aggregation/conflictResolution/strategy", "prefix" => "Prefix",
            "spec.aggregation.conflictResolution.strategy", "Unsupported value"),
        case!(gateway, "/spec/aggregation/conflictResolution/prefixFormat", "x_" => "{backend}__",
            "spec.aggregation.conflictResolution.prefixFormat", "must contain {backend}"),
        case!(gateway, "/spec/aggregation/conflictResolution/priorityOrder", ["a", "a"] => ["a", "b"],
            "spec.aggregation.conflictResolution.priorityOrder[1]", "Duplicate value"),
        case!(gateway, "/spec/replicas", (-1) => 0, "spec.replicas", "greater than or equal to 0"),
        case!(gateway, "/spec/replicas", 101 => 100, "spec.replicas", "less than or equal to 100"),
        case!(gateway, "/spec/service/type", "ExternalName" => "NodePort", "spec.service.type",
            "Unsupported value"),
        case!(gateway, "/spec/service/port", 0 => 443, "spec.service.port",
            "greater than or equal to 1"),
        case!(gateway, "/spec/drainSeconds", 4 => 5, "spec.drainSeconds", "greater than or equal to 5"),
        case!(gateway, "/spec/drainSeconds", 3661 => 3660, "spec.drainSeconds", "less than or equal"),
        case!(gateway, "/spec/publicURL", "mcp.example.com" => "https://mcp.example.com",
            "spec.publicURL", "write it as https://host[:port]/path"),
        case!(gateway, "/spec/publicURL", "https://mcp.example.com/?q=1" => "https://mcp.example.com/mcp",
            "spec.publicURL", "without user name, query or fragment"),
        case!(gateway, "/spec/allowedHosts", ["https://mcp.example.com"] => ["mcp.example.com:8443"],
            "spec.allowedHosts[0]", "should match"),
        case!(gateway, "/spec/allowedHosts", ["a", "a"] => ["a", "b"], "spec.allowedHosts[1]",
            "Duplicate value"),
        case!(gateway, "/spec/allowedOrigins", ["*"] => ["https://inspector.example.com"],
            "spec.allowedOrigins[0]", "should match"),
        case!(gateway, "/spec/healthCheck/timeoutSeconds", "5s" => 5, "spec.healthCheck.timeoutSeconds",
            "must be of type integer"),
        case!(gateway, "/spec/minReadyBackends", 2 => 1, "spec.minReadyBackends",
            "could never be reached"),
        case!(gateway, "/spec/minReadyBackends", (-1) => 0, "spec.minReadyBackends",
            "greater than or equal to 0"),
        case!(gateway, "/spec/aggregation/tools",
            {"overrides": [{"name": "a", "rename": "b"}, {"name": "a", "description": "c"}]} =>
            {"overrides": [{"name": "a", "rename": "b", "description": "c"}]},
            "spec.aggregation.tools.overrides[1]", "Duplicate value"),
        case!(gateway, "/spec/incomingAuth", {"type": "none"} => ABSENT, "spec.incomingAuth",
            "unknown field"),
        case!(gateway, "/spec/podTemplate/annotations", {"a": 1} => {"a": "1"},
            "spec.podTemplate.annotations.a", "must be of type string"),
    ]
}
