//! Kubernetes' own types inside our schemas.
//!
//! They come without bounds, with descriptions that fill pages, and with fields that
//! nothing of ours reads. Here each is cut down to an allow-list, loses its
//! descriptions, and every string, list, map and number in it gets a bound: CEL over
//! unbounded lists is refused by cost, and an unbounded CRD is too large for a plain
//! `kubectl apply`.

use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvFromSource, EnvVar,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, ResourceRequirements,
    SecretVolumeSource, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::rules;
use crate::condition::MAX_MESSAGE;

/// A DNS subdomain, the longest name that Kubernetes gives to anything here.
const MAX_NAME: u32 = 253;
/// Prefix, slash and name of a label or annotation key.
const MAX_KEY: u32 = 317;
/// Value of a label.
const MAX_LABEL: u32 = 63;
/// Value of an annotation or of an environment variable.
const MAX_VALUE: u32 = 32_768;
/// Items of a list inside an embedded type.
const MAX_ITEMS: u32 = 32;
/// Entries of a map.
const MAX_ENTRIES: u32 = 64;
/// Entries of a list of environment variables.
const MAX_ENV: u32 = 200;
/// Kubernetes' grammar of quantities.
const QUANTITY: &str =
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
/// A label or annotation key.
const KEY: &str = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
/// Value of a label.
const LABEL: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// A DNS subdomain.
const NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

pub(crate) fn env(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "name",
        "value",
        "valueFrom",
        "secretKeyRef",
        "configMapKeyRef",
        "fieldRef",
        "key",
        "optional",
        "fieldPath",
        "apiVersion",
    ];
    let mut item = strict::<EnvVar>(ALLOW);
    item["x-kubernetes-validations"] = rules::env_var();
    let properties = &mut item["properties"];
    // Any printable character but the equals sign, as Kubernetes since 1.34.
    properties["name"] = json!({
        "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[ -<>-~]+$",
    });
    properties["value"] = json!({"type": "string", "maxLength": MAX_VALUE});
    properties["valueFrom"]["x-kubernetes-validations"] = rules::env_var_source();
    schema(list_map(item, "name", MAX_ENV))
}

pub(crate) fn env_from(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &["configMapRef", "secretRef", "prefix", "name", "optional"];
    let mut item = strict::<EnvFromSource>(ALLOW);
    item["x-kubernetes-validations"] = rules::env_from();
    schema(list(item, MAX_ITEMS))
}

pub(crate) fn image_pull_secrets(_: &mut SchemaGenerator) -> Schema {
    let mut item = strict::<LocalObjectReference>(&["name"]);
    // A key of a list map must be there.
    item["required"] = json!(["name"]);
    schema(list_map(item, "name", MAX_ITEMS))
}

pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    schema(strict::<ResourceRequirements>(&["limits", "requests"]))
}

pub(crate) fn empty_dir(_: &mut SchemaGenerator) -> Schema {
    schema(strict::<EmptyDirVolumeSource>(&["medium", "sizeLimit"]))
}

pub(crate) fn config_map_volume(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "name",
        "optional",
        "defaultMode",
        "items",
        "key",
        "path",
        "mode",
    ];
    let mut source = strict::<ConfigMapVolumeSource>(ALLOW);
    source["required"] = json!(["name"]);
    schema(source)
}

pub(crate) fn secret_volume(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "secretName",
        "optional",
        "defaultMode",
        "items",
        "key",
        "path",
        "mode",
    ];
    let mut source = strict::<SecretVolumeSource>(ALLOW);
    source["required"] = json!(["secretName"]);
    schema(source)
}

pub(crate) fn claim_volume(_: &mut SchemaGenerator) -> Schema {
    schema(strict::<PersistentVolumeClaimVolumeSource>(&[
        "claimName",
        "readOnly",
    ]))
}

pub(crate) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &["key", "operator", "value", "effect", "tolerationSeconds"];
    let mut item = strict::<Toleration>(ALLOW);
    item["properties"]["operator"] = word(&["Exists", "Equal"]);
    item["properties"]["effect"] = word(&["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    schema(list(item, MAX_ITEMS))
}

pub(crate) fn affinity(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "nodeAffinity",
        "podAffinity",
        "podAntiAffinity",
        "preferredDuringSchedulingIgnoredDuringExecution",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preference",
        "weight",
        "nodeSelectorTerms",
        "podAffinityTerm",
        "labelSelector",
        "topologyKey",
        "matchExpressions",
        "matchFields",
        "matchLabels",
        "key",
        "operator",
        "values",
    ];
    schema(strict::<Affinity>(ALLOW))
}

pub(crate) fn topology_spread_constraints(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
        "labelSelector",
        "minDomains",
        "matchExpressions",
        "matchLabels",
        "key",
        "operator",
        "values",
    ];
    let mut item = strict::<TopologySpreadConstraint>(ALLOW);
    item["properties"]["whenUnsatisfiable"] = word(&["DoNotSchedule", "ScheduleAnyway"]);
    schema(list(item, MAX_ITEMS))
}

pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
    ];
    let mut selector = strict::<LabelSelector>(ALLOW);
    let requirement = &mut selector["properties"]["matchExpressions"]["items"];
    requirement["x-kubernetes-validations"] = rules::selector_requirement();
    requirement["properties"]["operator"] = word(&["In", "NotIn", "Exists", "DoesNotExist"]);
    selector["x-kubernetes-map-type"] = json!("atomic");
    selector["description"] = json!("Labels of MCPServers; {} matches every one of the namespace.");
    schema(selector)
}

pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    const ALLOW: &[&str] = &[
        "type",
        "status",
        "reason",
        "message",
        "observedGeneration",
        "lastTransitionTime",
    ];
    let mut item = strict::<Condition>(ALLOW);
    let properties = &mut item["properties"];
    properties["type"]["maxLength"] = json!(64);
    properties["status"] = word(&["True", "False", "Unknown"]);
    properties["reason"] = json!({
        "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z]+$",
    });
    properties["message"]["maxLength"] = json!(MAX_MESSAGE);
    properties["observedGeneration"]["minimum"] = json!(0);
    schema(list_map(item, "type", MAX_ITEMS))
}

/// Labels or a node selector.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    let mut map = string_map(MAX_LABEL);
    map["additionalProperties"]["pattern"] = json!(LABEL);
    schema(map)
}

pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    schema(string_map(MAX_VALUE))
}

fn string_map(max_value: u32) -> Value {
    json!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": {"type": "string", "maxLength": max_value},
    })
}

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn list(item: Value, max_items: u32) -> Value {
    json!({
        "type": "array",
        "maxItems": max_items,
        "x-kubernetes-list-type": "atomic",
        "items": item,
    })
}

fn list_map(item: Value, key: &str, max_items: u32) -> Value {
    json!({
        "type": "array",
        "maxItems": max_items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
        "items": item,
    })
}

fn schema(value: Value) -> Schema {
    // Both arms describe an object; a schema that is none would be refused by every test.
    value.try_into().unwrap_or_else(|_| Schema::default())
}

/// The schema of `T`, cut down to the properties in `allow`, without descriptions and
/// with a bound on everything.
fn strict<T: JsonSchema>(allow: &[&str]) -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let mut value = generator.into_root_schema_for::<T>().to_value();
    if let Some(object) = value.as_object_mut() {
        object.remove("title");
    }
    restrict(&mut value, "", allow);
    value
}

fn restrict(value: &mut Value, name: &str, allow: &[&str]) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    object.remove("description");
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|property, _| allow.contains(&property.as_str()));
        for (property, schema) in properties.iter_mut() {
            restrict(schema, property, allow);
        }
    }
    if let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|property| property.as_str().is_some_and(|p| allow.contains(&p)));
    }
    if let Some(items) = object.get_mut("items") {
        restrict(items, name, allow);
    }
    if let Some(values) = object.get_mut("additionalProperties") {
        restrict(values, name, allow);
    }
    bound(object, name);
}

/// Bounds by type, and by name where a name means the same in all of Kubernetes.
fn bound(object: &mut Map<String, Value>, name: &str) {
    if object.contains_key("x-kubernetes-int-or-string") {
        object.insert(
            "anyOf".to_owned(),
            json!([{"type": "integer"}, {"type": "string"}]),
        );
        object.insert("pattern".to_owned(), json!(QUANTITY));
        object.insert("maxLength".to_owned(), json!(64));
        return;
    }
    let kind = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    match kind.as_str() {
        "string" if !object.contains_key("format") => bound_string(object, name),
        "array" => {
            object.insert("maxItems".to_owned(), json!(MAX_ITEMS));
            object.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
        }
        "object" if object.contains_key("additionalProperties") => {
            object.insert("maxProperties".to_owned(), json!(MAX_ENTRIES));
        }
        "integer" => {
            let (minimum, maximum) = integer_range(name);
            object.insert("minimum".to_owned(), json!(minimum));
            object.insert("maximum".to_owned(), json!(maximum));
        }
        _ => {}
    }
}

fn bound_string(object: &mut Map<String, Value>, name: &str) {
    let (min, max, pattern) = match name {
        "name" | "secretName" | "claimName" => (1, MAX_NAME, Some(NAME)),
        "topologyKey" => (1, MAX_KEY, Some(KEY)),
        "key" => (0, MAX_KEY, None),
        "value" | "matchLabels" => (0, MAX_LABEL, Some(LABEL)),
        // `values` too: those of `matchFields` are names of nodes.
        _ => (0, MAX_NAME, None),
    };
    if min > 0 {
        object.insert("minLength".to_owned(), json!(min));
    }
    object.insert("maxLength".to_owned(), json!(max));
    if let Some(pattern) = pattern {
        object.insert("pattern".to_owned(), json!(pattern));
    }
}

fn integer_range(name: &str) -> (i64, i64) {
    match name {
        // File modes, written in decimal by JSON: 0777.
        "defaultMode" | "mode" => (0, 511),
        "weight" => (1, 100),
        "maxSkew" | "minDomains" => (1, i64::from(i32::MAX)),
        // Larger integers do not survive a JSON reader that uses doubles.
        _ => (0, (1 << 53) - 1),
    }
}
