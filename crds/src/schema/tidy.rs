//! The last step: what schemars and kube write that Kubernetes does better without.

use serde_json::{Map, Value, json};

use crate::names::{MAX_NAME, NAME_PATTERN};

/// Largest integer that every JSON reader keeps exact.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The CRD, ready to be applied.
pub(super) fn tidy(mut crd: Value) -> Value {
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        walk(schema);
        finish(schema);
    }
    sort_keys(crd)
}

/// What only the root of a schema has.
fn finish(schema: &mut Value) {
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": MAX_NAME, "pattern": NAME_PATTERN},
        },
    });
    // On the object, not on its leaf: the API server fills a default only into an object
    // that is there, and a new object has no status.
    schema["properties"]["status"]["default"] = json!({"observedGeneration": -1});
}

fn walk(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("nullable");
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    drop_null_alternative(object);
    if object.get("enum").is_some() {
        remove_null_words(object);
    }
    for bound in ["minimum", "maximum"] {
        if let Some(value) = object.get_mut(bound) {
            *value = whole(value);
        }
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(walk);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(value) = object.get_mut(nested) {
            walk(value);
        }
    }
}

/// `anyOf: [T, null]` is how an optional T is derived; an absent field needs no words.
fn drop_null_alternative(object: &mut Map<String, Value>) {
    let Some([first, second]) = object
        .get("anyOf")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    else {
        return;
    };
    let null_only = second.get("nullable").is_some() && second.get("type").is_none();
    let Some(first) = first.as_object().filter(|_| null_only).cloned() else {
        return;
    };
    object.remove("anyOf");
    object.extend(first);
}

fn remove_null_words(object: &mut Map<String, Value>) {
    if let Some(words) = object.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
}

/// 1.0 as 1: YAML readers that are strict about integers refuse the former.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only whole numbers below 2^53 are cast"
)]
fn whole(value: &Value) -> Value {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() < MAX_SAFE_INTEGER => {
            json!(number as i64)
        }
        _ => value.clone(),
    }
}

/// One order of keys, whatever wrote them, so that the files change only when they must.
fn sort_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries
                .into_iter()
                .map(|(key, value)| (key, sort_keys(value)))
                .collect()
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sort_keys).collect()),
        other => other,
    }
}
