//! The rules that every schema of ours keeps, checked by walking the generated CRDs.
//!
//! What the API server makes of them is proven in `admission.rs`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod walk;

use serde_json::{Value, json};
use vmcp_crds::schema::{CrdFile, crds};
use vmcp_crds::{MCPServerSpec, VirtualMCPServerSpec};
use walk::faults;

/// Most bytes of one file. `kubectl apply` keeps a copy of the object in an annotation of
/// at most 262,144 bytes; above this a review of the diff is no longer possible either.
const MAX_FILE_BYTES: usize = 100_000;

fn schema_of(file: &CrdFile) -> &Value {
    &file.crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn crd_of(kind: &str) -> Value {
    let files = crds().unwrap();
    let found = files
        .into_iter()
        .find(|file| file.crd["spec"]["names"]["kind"] == kind);
    found.unwrap_or_else(|| panic!("no CRD of kind {kind}")).crd
}

/// Build 3: every string and list bounded, no unsigned, no nullable, list types set, CEL
/// rules off the root with messages that name the field and the fix.
#[test]
fn every_schema_keeps_every_rule() {
    for file in crds().unwrap() {
        let found = faults(schema_of(&file));

        assert!(
            found.is_empty(),
            "{}:\n{}",
            file.file_name,
            found.join("\n")
        );
    }
}

/// Build 3: the walk above sees what it is meant to see.
#[test]
fn the_walk_finds_each_kind_of_fault() {
    let spec = "/properties/spec";
    let workload = "/properties/spec/properties/workload";
    let seeds: &[(&str, &str, Value, &str)] = &[
        (
            "",
            "x-kubernetes-validations",
            json!([]),
            "a rule at the root",
        ),
        (spec, "nullable", json!(true), "nullable is set"),
        (spec, "default", Value::Null, "the default is null"),
        (
            "IMAGE",
            "maxLength",
            Value::Null,
            "a string without maxLength",
        ),
        ("IMAGE", "pattern", json!("x"), "not anchored"),
        ("PORT", "minimum", Value::Null, "a number without minimum"),
        ("PORT", "format", json!("uint16"), "unsigned"),
        ("ENV", "maxItems", Value::Null, "a list without maxItems"),
        (
            "ENV",
            "x-kubernetes-list-type",
            Value::Null,
            "list type None",
        ),
        (
            "ENV",
            "x-kubernetes-list-map-keys",
            json!(["value"]),
            "keys are not required",
        ),
        (
            "LABELS",
            "maxProperties",
            Value::Null,
            "a map without maxProperties",
        ),
        (
            spec,
            "x-kubernetes-validations",
            json!([{"rule": "r", "message": "bad"}]),
            "no fix",
        ),
        (
            spec,
            "x-kubernetes-validations",
            json!([{"rule": "r", "message": "bad"}]),
            "no field",
        ),
    ];
    for (place, key, value, expected) in seeds {
        let mut schema =
            crd_of("MCPServer")["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
        let pointer = place
            .replace("IMAGE", &format!("{workload}/properties/image"))
            .replace("PORT", &format!("{workload}/properties/port"))
            .replace("ENV", &format!("{workload}/properties/env"))
            .replace(
                "LABELS",
                &format!("{workload}/properties/podTemplate/properties/labels"),
            );
        schema.pointer_mut(&pointer).unwrap()[*key] = value.clone();

        let found = faults(&schema);

        assert!(
            found.iter().any(|f| f.contains(expected)),
            "{pointer}/{key}: {found:?}"
        );
    }
}

/// Build 3: the committed YAML is what the types say.
#[test]
fn the_committed_files_are_fresh_and_small_enough_for_a_plain_apply() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
    for file in crds().unwrap() {
        let committed = std::fs::read_to_string(format!("{folder}/{}", file.file_name)).unwrap();

        assert!(
            committed == file.yaml().unwrap(),
            "{} is stale: run `make generate`",
            file.file_name
        );
        assert!(
            committed.len() < MAX_FILE_BYTES,
            "{}: {} B",
            file.file_name,
            committed.len()
        );
    }
}

/// Build 3: a new object shows -1, the default sits on `status` itself.
#[test]
fn an_object_without_status_gets_one_that_says_never_observed() {
    for file in crds().unwrap() {
        let status = &schema_of(&file)["properties"]["status"];

        assert_eq!(status["default"], json!({"observedGeneration": -1}));
        assert!(status["properties"]["observedGeneration"]["default"].is_null());
    }
}

/// Architecture: names of ours leave room for the names that follow from them.
#[test]
fn names_are_limited_in_the_schema() {
    for file in crds().unwrap() {
        let name = &schema_of(&file)["properties"]["metadata"]["properties"]["name"];

        assert_eq!(name["maxLength"], 40);
        assert_eq!(name["pattern"], "^[a-z]([-a-z0-9]*[a-z0-9])?$");
    }
}

/// Build 3: group, names, columns and subresources are those of the documented API.
#[test]
fn both_kinds_have_the_documented_names_columns_and_subresources() {
    let expected = [
        (
            "MCPServer",
            "mcpsrv",
            [
                "Phase",
                "Transport",
                "Tools",
                "Failures",
                "Message",
                "URL",
                "Age",
            ]
            .as_slice(),
            ".spec.workload.replicas",
        ),
        (
            "VirtualMCPServer",
            "vmcpsrv",
            ["Phase", "Ready", "Tools", "Message", "URL", "Age"].as_slice(),
            ".spec.replicas",
        ),
    ];
    for (kind, short_name, columns, replicas) in expected {
        let crd = crd_of(kind);
        let version = &crd["spec"]["versions"][0];

        assert_eq!(crd["spec"]["group"], "vmcp.dev");
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        assert_eq!(version["name"], "v1alpha1");
        assert_eq!(crd["spec"]["names"]["categories"], json!(["mcp"]));
        assert_eq!(crd["spec"]["names"]["shortNames"], json!([short_name]));
        let shown: Vec<&str> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|column| column["name"].as_str())
            .collect();
        assert_eq!(shown, columns);
        assert_eq!(version["subresources"]["status"], json!({}));
        assert_eq!(
            version["subresources"]["scale"],
            json!({
                "specReplicasPath": replicas,
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            })
        );
    }
}

/// Fills in defaults as the API server does: outermost first, absent fields only.
fn with_defaults(schema: &Value, value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if !property["default"].is_null() && !object.contains_key(name) {
                object.insert(name.clone(), property["default"].clone());
            }
            if let Some(inner) = object.get_mut(name) {
                with_defaults(property, inner);
            }
        }
    }
    for item in value.as_array_mut().into_iter().flatten() {
        with_defaults(&schema["items"], item);
    }
}

/// API: a spec that was read from a file means the same as one from an API server.
#[test]
fn the_types_fill_in_the_defaults_that_the_schema_announces() {
    let spec_schema = |kind: &str| {
        crd_of(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            .clone()
    };
    let servers = [
        json!({"workload": {"image": "i"}}),
        json!({"workload": {"image": "i", "securityContext": {}}, "timeouts": {}, "catalog": {}}),
        json!({"remote": {"url": "https://x"}, "timeouts": {"callSeconds": 7}}),
    ];
    for bare in servers {
        let mut defaulted = bare.clone();
        with_defaults(&spec_schema("MCPServer"), &mut defaulted);
        assert_ne!(bare, defaulted);

        let from_file: MCPServerSpec = serde_json::from_value(bare).unwrap();
        let from_server: MCPServerSpec = serde_json::from_value(defaulted.clone()).unwrap();
        assert_eq!(from_file, from_server);
        assert_eq!(serde_json::to_value(&from_file).unwrap(), defaulted);
    }
    for bare in [
        json!({"backends": {}}),
        json!({"backends": {}, "service": {}, "aggregation": {"conflictResolution": {}}}),
    ] {
        let mut defaulted = bare.clone();
        with_defaults(&spec_schema("VirtualMCPServer"), &mut defaulted);

        let from_file: VirtualMCPServerSpec = serde_json::from_value(bare).unwrap();
        let from_server: VirtualMCPServerSpec = serde_json::from_value(defaulted.clone()).unwrap();
        assert_eq!(from_file, from_server);
        assert_eq!(serde_json::to_value(&from_file).unwrap(), defaulted);
        assert_eq!(from_file.min_ready_backends, 1);
        assert_eq!(from_file.drain_seconds, 75);
        assert_eq!(
            from_file.aggregation.conflict_resolution.prefix_format,
            "{backend}_"
        );
    }
}

/// Build 3: what an author of an object may not reach through an embedded type.
#[test]
fn embedded_types_have_no_field_outside_their_allow_list() {
    let text = serde_json::to_string(&crds().unwrap().map(|file| file.crd)).unwrap();

    for banned in [
        "hostPath",
        "resourceFieldRef",
        "fileKeyRef",
        "claims",
        "namespaceSelector",
        "csi",
    ] {
        assert!(
            !text.contains(&format!("\"{banned}\":")),
            "{banned} is in a schema"
        );
    }
    assert!(
        text.contains("\"secretKeyRef\":"),
        "the search looks at nothing"
    );
}
