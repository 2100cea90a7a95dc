//! The walk over a schema: every place that breaks a rule of the house.

use serde_json::Value;

/// Words of which each message has one: it tells what to do, not only what is wrong.
const FIXES: &[&str] = &[
    "set ", "use ", "remove ", "write ", "lower ", "give ", "must ", "need ", "begin ",
];

/// Everything that breaks a rule, as `path: what`.
pub fn faults(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if !schema["x-kubernetes-validations"].is_null() {
        found.push(": a rule at the root reports no path".to_owned());
    }
    for part in ["spec", "status"] {
        walk(&schema["properties"][part], part, &mut found);
    }
    found
}

fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
    let mut fault = |what: &str| found.push(format!("{path}: {what}"));
    for banned in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "$ref",
        "uniqueItems",
    ] {
        if !schema[banned].is_null() {
            fault(&format!("{banned} is set"));
        }
    }
    if schema
        .as_object()
        .is_some_and(|s| s.get("default").is_some_and(Value::is_null))
    {
        fault("the default is null");
    }
    if schema["pattern"]
        .as_str()
        .is_some_and(|p| !p.starts_with('^') || !p.ends_with('$'))
    {
        fault("the pattern is not anchored");
    }
    match schema["type"].as_str() {
        Some("string") => string(schema, &mut fault),
        Some("array") => array(schema, &mut fault),
        Some("integer") => integer(schema, &mut fault),
        Some("object") => object(schema, &mut fault),
        Some("boolean") => {}
        None if schema["x-kubernetes-int-or-string"] == true => {
            if schema["maxLength"].is_null() || schema["pattern"].is_null() {
                fault("a quantity without maxLength and pattern");
            }
        }
        other => fault(&format!("type {other:?}")),
    }
    rules(schema, &mut fault);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            &schema["additionalProperties"],
            &format!("{path}{{}}"),
            found,
        );
    }
}

fn string(schema: &Value, fault: &mut impl FnMut(&str)) {
    let bounded = schema["maxLength"].is_u64()
        || schema["enum"].is_array()
        || schema["format"] == "date-time";
    if !bounded {
        fault("a string without maxLength, enum or date-time");
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|words| words.iter().any(Value::is_null))
    {
        fault("null among the words of an enum");
    }
}

fn array(schema: &Value, fault: &mut impl FnMut(&str)) {
    if !schema["maxItems"].is_u64() {
        fault("a list without maxItems");
    }
    let items = &schema["items"];
    match schema["x-kubernetes-list-type"].as_str() {
        Some("atomic") => {}
        Some("set") if items["type"] == "string" => {}
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            let required = items["required"].as_array().cloned().unwrap_or_default();
            let all_required = keys.is_some_and(|k| k.iter().all(|key| required.contains(key)));
            if !all_required {
                fault("a list map whose keys are not required");
            }
        }
        other => fault(&format!("list type {other:?}")),
    }
}

fn integer(schema: &Value, fault: &mut impl FnMut(&str)) {
    if !schema["minimum"].is_i64() || !schema["maximum"].is_i64() {
        fault("a number without minimum and maximum");
    }
    if !matches!(schema["format"].as_str(), None | Some("int32" | "int64")) {
        fault("an unsigned or unknown format");
    }
}

fn object(schema: &Value, fault: &mut impl FnMut(&str)) {
    let has_properties = schema["properties"].is_object();
    let is_map = schema["additionalProperties"].is_object();
    if has_properties == is_map {
        fault("neither a struct nor a map");
    }
    if is_map && !schema["maxProperties"].is_u64() {
        fault("a map without maxProperties");
    }
}

fn rules(schema: &Value, fault: &mut impl FnMut(&str)) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let message = rule["message"].as_str().unwrap_or_default();
        let item = &schema["items"];
        let mut fields = [schema, item]
            .into_iter()
            .filter_map(|s| s["properties"].as_object())
            .flat_map(|properties| properties.keys());
        if !fields.any(|field| message.contains(field.as_str())) {
            fault(&format!("the message {message:?} names no field"));
        }
        if !FIXES.iter().any(|fix| message.contains(fix)) {
            fault(&format!("the message {message:?} names no fix"));
        }
        if rule["rule"].as_str().is_none_or(str::is_empty) {
            fault("a rule without text");
        }
    }
}
