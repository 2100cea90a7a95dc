//! What the API server would refuse, refused without one.
//!
//! Owns the walk of a document along the schema of its kind: unknown fields, types, bounds,
//! patterns, duplicates, rules. The schemas are the ones that are installed in a cluster, so a file
//! that works here works there. Never decides what a spec means.

use std::collections::{BTreeMap, HashSet};

use regex::Regex;
use serde_json::{Map, Value};

use super::node::{Key, Kind, Node};
use super::rules;

/// One thing that is wrong in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {field}: {message}")]
pub struct Fault {
    pub line: u64,
    /// Path of the field, for example `spec.remote.url`.
    pub field: String,
    pub message: String,
}

/// The schemas by kind.
#[derive(Debug)]
pub struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// The schemas as they are installed.
    ///
    /// # Errors
    /// When the definitions cannot be generated; a test proves that they can.
    pub fn installed() -> Result<Self, vmcp_crds::schema::GenerateError> {
        let schemas = vmcp_crds::schema::crds()?.into_iter().filter_map(|file| {
            let kind = file.crd.pointer("/spec/names/kind")?.as_str()?.to_owned();
            let schema = file
                .crd
                .pointer("/spec/versions/0/schema/openAPIV3Schema")?
                .clone();
            Some((kind, schema))
        });
        Ok(Self(schemas.collect()))
    }

    /// The kinds that there are.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Everything that is wrong with a document of this kind; unknown kinds have no faults.
    #[must_use]
    pub fn check(&self, kind: &str, document: &Node) -> Vec<Fault> {
        let Some(schema) = self.0.get(kind) else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        let Kind::Map(entries) = &document.kind else {
            return vec![fault(document.line, "", "must be a map")];
        };
        for (key, node) in entries {
            match key.text.as_str() {
                // Written by clusters, meaningless here.
                "status" | "apiVersion" | "kind" => {}
                "metadata" => metadata(&schema["properties"]["metadata"], node, &mut faults),
                "spec" => walk(&schema["properties"]["spec"], node, "spec", &mut faults),
                _ => faults.push(unknown(key, "", schema)),
            }
        }
        for required in ["metadata", "spec"] {
            if document.get(required).is_none() {
                faults.push(fault(document.line, required, "is required"));
            }
        }
        faults
    }
}

fn metadata(schema: &Value, node: &Node, faults: &mut Vec<Fault>) {
    match node.get("name") {
        None => faults.push(fault(node.line, "metadata.name", "is required")),
        Some(name) => walk(&schema["properties"]["name"], name, "metadata.name", faults),
    }
}

fn walk(schema: &Value, node: &Node, path: &str, faults: &mut Vec<Fault>) {
    let before = faults.len();
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        if !matches!(node.kind, Kind::Number(_) | Kind::String(_)) {
            faults.push(fault(node.line, path, "must be a number or a string"));
        }
        return;
    }
    match (schema["type"].as_str().unwrap_or_default(), &node.kind) {
        ("object", Kind::Map(entries)) => object(schema, node.line, entries, path, faults),
        ("array", Kind::List(items)) => array(schema, node.line, items, path, faults),
        ("string", Kind::String(text)) => string(schema, node.line, text, path, faults),
        ("integer", Kind::Number(value)) if value.is_i64() || value.is_u64() => {
            number(
                schema,
                node.line,
                value.as_f64().unwrap_or_default(),
                path,
                faults,
            );
        }
        ("number", Kind::Number(value)) => {
            number(
                schema,
                node.line,
                value.as_f64().unwrap_or_default(),
                path,
                faults,
            );
        }
        ("boolean", Kind::Bool(_)) | ("", _) => {}
        (wanted, found) => faults.push(fault(
            node.line,
            path,
            &format!("must be {}, not {}", with_article(wanted), name_of(found)),
        )),
    }
    // A rule reads fields that it takes for granted: it speaks only about what is well-formed.
    if faults.len() == before {
        rules::check(schema, node, path, faults);
    }
}

fn object(schema: &Value, line: u64, entries: &[(Key, Node)], path: &str, faults: &mut Vec<Fault>) {
    let properties = schema["properties"].as_object();
    let open = schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true)
        || (properties.is_none() && schema["additionalProperties"].is_null());
    for (key, node) in entries {
        let at = join(path, &key.text);
        match properties.and_then(|known| known.get(&key.text)) {
            Some(schema) => walk(schema, node, &at, faults),
            None if schema["additionalProperties"].is_object() => {
                walk(&schema["additionalProperties"], node, &at, faults);
            }
            None if open => {}
            None => faults.push(unknown(key, path, schema)),
        }
    }
    for required in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !entries.iter().any(|(key, _)| key.text == required) {
            faults.push(fault(line, &join(path, required), "is required"));
        }
    }
    bound(schema, "maxProperties", entries.len(), line, path, faults);
}

fn array(schema: &Value, line: u64, items: &[Node], path: &str, faults: &mut Vec<Fault>) {
    for (index, item) in items.iter().enumerate() {
        walk(&schema["items"], item, &format!("{path}[{index}]"), faults);
    }
    bound(schema, "maxItems", items.len(), line, path, faults);
    if schema["minItems"]
        .as_u64()
        .is_some_and(|least| (items.len() as u64) < least)
    {
        faults.push(fault(
            line,
            path,
            &format!("needs {} or more items", schema["minItems"]),
        ));
    }
    let keys: Option<Vec<&str>> = match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => schema["x-kubernetes-list-map-keys"]
            .as_array()
            .map(|keys| keys.iter().filter_map(Value::as_str).collect()),
        Some("set") => Some(Vec::new()),
        _ => None,
    };
    let Some(keys) = keys else { return };
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let identity = if keys.is_empty() {
            item.to_json().to_string()
        } else {
            let parts = keys.iter().map(|key| item.get(key).map(Node::to_json));
            format!("{:?}", parts.collect::<Vec<_>>())
        };
        if !seen.insert(identity) {
            faults.push(fault(
                item.line,
                &format!("{path}[{index}]"),
                "is there twice",
            ));
        }
    }
}

fn string(schema: &Value, line: u64, text: &str, path: &str, faults: &mut Vec<Fault>) {
    let length = text.chars().count();
    if schema["minLength"]
        .as_u64()
        .is_some_and(|least| (length as u64) < least)
    {
        faults.push(fault(line, path, "must not be empty"));
        return;
    }
    if schema["maxLength"]
        .as_u64()
        .is_some_and(|most| (length as u64) > most)
    {
        let most = &schema["maxLength"];
        faults.push(fault(
            line,
            path,
            &format!("has more than {most} characters"),
        ));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.iter().any(|word| word.as_str() == Some(text))
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        faults.push(fault(
            line,
            path,
            &format!("{text:?} is not one of {}", words.join(", ")),
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
    {
        faults.push(fault(
            line,
            path,
            &format!("{text:?} does not match {pattern}"),
        ));
    }
}

fn number(schema: &Value, line: u64, value: f64, path: &str, faults: &mut Vec<Fault>) {
    let low = schema["minimum"]
        .as_f64()
        .is_some_and(|least| value < least);
    let high = schema["maximum"].as_f64().is_some_and(|most| value > most);
    if low || high {
        let range = match (&schema["minimum"], &schema["maximum"]) {
            (Value::Null, most) => format!("{most} or less"),
            (least, Value::Null) => format!("{least} or more"),
            (least, most) => format!("{least} to {most}"),
        };
        faults.push(fault(
            line,
            path,
            &format!("{value} is out of range: use {range}"),
        ));
    }
}

fn bound(schema: &Value, word: &str, count: usize, line: u64, path: &str, faults: &mut Vec<Fault>) {
    if schema[word]
        .as_u64()
        .is_some_and(|most| count as u64 > most)
    {
        faults.push(fault(
            line,
            path,
            &format!("has more than {} entries", schema[word]),
        ));
    }
}

fn unknown(key: &Key, path: &str, schema: &Value) -> Fault {
    let known: Vec<&str> = schema["properties"]
        .as_object()
        .map(Map::keys)
        .into_iter()
        .flatten()
        .map(|k| &**k)
        .collect();
    let message = format!("unknown field; known here: {}", known.join(", "));
    fault(key.line, &join(path, &key.text), &message)
}

pub(super) fn fault(line: u64, field: &str, message: &str) -> Fault {
    Fault {
        line,
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn with_article(wanted: &str) -> &str {
    match wanted {
        "object" => "a map",
        "array" => "a list",
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        other => other,
    }
}

fn name_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "nothing",
        Kind::Bool(_) => "true or false",
        Kind::Number(_) => "this number",
        Kind::String(_) => "a string",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a map",
    }
}
