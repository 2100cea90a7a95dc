//! Results of the tools that only answer.

use serde_json::{Map, Value, json};

/// One grey pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";
/// One millisecond of silence.
const WAV: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";

/// A result of one text block.
#[must_use]
pub fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// The `CallToolResult` of a tool that neither waits nor asks; `None` for the others.
#[must_use]
pub fn fixed(tool: &str, arguments: &Map<String, Value>) -> Option<Value> {
    let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let embedded = |uri: &str, mime: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}});
    let content = match tool {
        "test_changing_tool" => return Some(text("changed")),
        "test_simple_text" => return Some(text("This is a simple text response for testing.")),
        "test_error_handling" => {
            let mut result = text("This tool intentionally returns an error for testing");
            result["isError"] = Value::Bool(true);
            return Some(result);
        }
        "test_structured_content" => {
            let structured = json!({"product": 42, "exact": true});
            let mut result = text(&structured.to_string());
            result["structuredContent"] = structured;
            return Some(result);
        }
        "json_schema_2020_12_tool" | "test_custom_header" => {
            let said = Value::Object(arguments.clone());
            return Some(text(&format!("called with {said}")));
        }
        "test_image_content" => vec![image],
        "test_audio_content" => {
            vec![json!({"type": "audio", "data": WAV, "mimeType": "audio/wav"})]
        }
        "test_resource_link" => vec![
            json!({"type": "resource_link", "uri": "test://static-text", "name": "static-text"}),
        ],
        "test_embedded_resource" => vec![embedded(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        )],
        "test_multiple_content_types" => vec![
            json!({"type": "text", "text": "Multiple content types test:"}),
            image,
            embedded(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            ),
        ],
        _ => return None,
    };
    Some(json!({"content": content}))
}
