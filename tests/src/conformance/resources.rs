//! What is read and what prompts say.

use serde_json::{Map, Value, json};

use super::results::PNG;

/// The `ReadResourceResult` of `uri`; `None` where there is no such resource.
#[must_use]
pub fn read(uri: &str) -> Option<Value> {
    let text = |text: &str| json!({"uri": uri, "mimeType": "text/plain", "text": text});
    let contents = match uri {
        "test://static-text" => text("This is the content of the static text resource."),
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        "test://watched-resource" => text("This resource is watched."),
        "test://example-resource" => text("This resource is embedded."),
        other => templated(other)?,
    };
    Some(json!({"contents": [contents]}))
}

fn templated(uri: &str) -> Option<Value> {
    let id = uri
        .strip_prefix("test://template/")?
        .strip_suffix("/data")?;
    let record = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
    let known = !id.is_empty() && !id.contains('/');
    known.then(|| json!({"uri": uri, "mimeType": "application/json", "text": record.to_string()}))
}

/// The `GetPromptResult` of a prompt that asks nothing; `None` where there is none of that name.
#[must_use]
pub fn prompt(name: &str, arguments: &Map<String, Value>) -> Option<Value> {
    let argument = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let text = |text: String| json!({"type": "text", "text": text});
    let contents = match name {
        "test_changing_prompt" => vec![text("changed".into())],
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.".into())],
        "test_prompt_with_arguments" => vec![text(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))],
        "test_prompt_with_embedded_resource" => vec![
            json!({"type": "resource", "resource": {
                "uri": argument("resourceUri"),
                "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            }}),
            text("Please process the embedded resource above.".into()),
        ],
        "test_prompt_with_image" => vec![
            json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
            text("Please analyze the image above.".into()),
        ],
        _ => return None,
    };
    let messages: Vec<Value> = contents
        .into_iter()
        .map(|content| json!({"role": "user", "content": content}))
        .collect();
    Some(json!({"messages": messages}))
}

/// The values that begin with what was typed.
#[must_use]
pub fn completions(typed: &str) -> Vec<String> {
    ["paris", "park", "party", "test-value-1", "test-value-2"]
        .iter()
        .filter(|value| value.starts_with(typed))
        .map(|value| (*value).to_owned())
        .collect()
}
