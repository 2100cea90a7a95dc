//! What the server lists: tools, prompts, resources and templates, in the words of the schema.
//!
//! Names, URIs and schemas are those that the scenarios of the suite ask for. Nothing here runs.

use serde_json::{Value, json};

/// Tools without arguments.
const PLAIN: &[(&str, &str)] = &[
    ("test_simple_text", "Answers with one text block"),
    ("test_image_content", "Answers with an image"),
    ("test_audio_content", "Answers with a sound"),
    (
        "test_embedded_resource",
        "Answers with an embedded resource",
    ),
    ("test_resource_link", "Answers with a link to a resource"),
    (
        "test_multiple_content_types",
        "Answers with three kinds of content",
    ),
    ("test_structured_content", "Answers with structured content"),
    ("test_error_handling", "Always fails"),
    (
        "test_tool_with_logging",
        "Writes three log messages while it runs",
    ),
    (
        "test_tool_with_progress",
        "Reports its progress three times",
    ),
    (
        "test_logging_tool",
        "Writes a log message where the caller wants any",
    ),
    ("test_reconnection", "Takes a moment and then answers"),
    ("test_missing_capability", "Needs a client that can sample"),
    (
        "test_trigger_tool_change",
        "Tells listeners that the tools changed",
    ),
    (
        "test_trigger_prompt_change",
        "Tells listeners that the prompts changed",
    ),
    ("test_list_roots", "Asks for the client's roots"),
    (
        "test_elicitation_sep1034_defaults",
        "Asks with a default for each type",
    ),
    (
        "test_elicitation_sep1330_enums",
        "Asks with each kind of enumeration",
    ),
    ("test_elicitation_url", "Sends the user to a web page"),
    ("test_streaming_elicitation", "Asks while it streams"),
    (
        "test_progress_after_question",
        "Asks, and then reports its progress",
    ),
    ("test_input_required_result_elicitation", "Asks for a name"),
    ("test_input_required_result_sampling", "Asks the model"),
    ("test_input_required_result_list_roots", "Asks for roots"),
    (
        "test_input_required_result_request_state",
        "Asks and keeps state",
    ),
    (
        "test_input_required_result_multiple_inputs",
        "Asks three things at once",
    ),
    ("test_input_required_result_multi_round", "Asks twice"),
    (
        "test_input_required_result_tampered_state",
        "Asks and checks its state",
    ),
    (
        "test_input_required_result_capabilities",
        "Asks what the client can answer",
    ),
];

/// Every tool, in the order in which it is listed: the first one takes no arguments, for the
/// scenario that calls whatever comes first. `changed` is how often the list did so far.
#[must_use]
pub fn tools(changed: u32) -> Vec<Value> {
    let mut all: Vec<Value> = PLAIN
        .iter()
        .map(|(name, description)| tool(name, description, json!({"type": "object"})))
        .collect();
    all.push(tool(
        "test_sampling",
        "Asks the client's model",
        strings(&[("prompt", "What to ask")]),
    ));
    all.push(tool(
        "test_elicitation",
        "Asks the user",
        strings(&[("message", "What to ask")]),
    ));
    all.push(tool(
        "test_touch_resource",
        "Tells subscribers that a resource changed",
        strings(&[("uri", "Which one")]),
    ));
    all.push(tool(
        "test_custom_header",
        "Wants an argument in a header",
        region(),
    ));
    all.push(tool(
        "json_schema_2020_12_tool",
        "Tool with JSON Schema 2020-12 features",
        schema_2020_12(),
    ));
    let text = format!("Another one after each of {changed} changes");
    all.push(tool("test_changing_tool", &text, json!({"type": "object"})));
    all
}

fn tool(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "description": description, "inputSchema": schema})
}

/// The schema of an object of required strings.
fn strings(members: &[(&str, &str)]) -> Value {
    let properties: serde_json::Map<String, Value> = members
        .iter()
        .map(|(name, text)| {
            let schema = json!({"type": "string", "description": text});
            ((*name).to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

fn region() -> Value {
    json!({
        "type": "object",
        "properties": {
            "region": {"type": "string", "description": "Where", "x-mcp-header": "Region"},
            "query": {"type": "string", "description": "What"},
        },
        "required": ["region"],
    })
}

fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

/// Every prompt. `changed` is how often the list did so far.
#[must_use]
pub fn prompts(changed: u32) -> Vec<Value> {
    let changes = format!("Another one after each of {changed} changes");
    let argument =
        |name: &str, text: &str| json!({"name": name, "description": text, "required": true});
    vec![
        json!({"name": "test_simple_prompt", "description": "One line"}),
        json!({"name": "test_prompt_with_arguments", "description": "Says its arguments",
            "arguments": [argument("arg1", "First"), argument("arg2", "Second")]}),
        json!({"name": "test_prompt_with_embedded_resource", "description": "Embeds a resource",
            "arguments": [argument("resourceUri", "Which one")]}),
        json!({"name": "test_prompt_with_image", "description": "Shows an image"}),
        json!({"name": "test_input_required_result_prompt", "description": "Asks for context"}),
        json!({"name": "test_changing_prompt", "description": changes}),
    ]
}

/// Every resource.
#[must_use]
pub fn resources() -> Vec<Value> {
    vec![
        json!({"uri": "test://static-text", "name": "static-text", "mimeType": "text/plain",
            "description": "A text that never changes"}),
        json!({"uri": "test://static-binary", "name": "static-binary", "mimeType": "image/png",
            "description": "An image that never changes"}),
        json!({"uri": "test://watched-resource", "name": "watched-resource",
            "mimeType": "text/plain", "description": "A text to subscribe to"}),
        json!({"uri": "test://example-resource", "name": "example-resource",
            "mimeType": "text/plain", "description": "What prompts embed"}),
    ]
}

/// Every template.
#[must_use]
pub fn templates() -> Vec<Value> {
    vec![
        json!({"uriTemplate": "test://template/{id}/data", "name": "template",
        "mimeType": "application/json", "description": "One record"}),
    ]
}
