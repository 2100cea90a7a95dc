//! Tools that want arguments repeated in HTTP headers (`x-mcp-header` in their schema).
//!
//! Owns recognising them. A modern server refuses a call without those headers, and we do not write
//! them yet: a tool that can never be called must not be offered. Legacy servers know nothing of
//! such headers and ignore the annotation.

use serde_json::Value;

use vmcp_core::jsonrpc::raw;
use vmcp_core::limits::NAME_WARN;
use vmcp_core::mcp::ListPage;
use vmcp_core::text::sanitise;

/// The annotation of a parameter, as the specification spells it.
const ANNOTATION: &str = "x-mcp-header";

/// Takes these tools out of a list, and names them.
#[must_use]
pub fn leave_out(pages: &mut [ListPage]) -> Vec<String> {
    let mut names = Vec::new();
    for page in pages {
        page.entries.retain(|entry| {
            let wanted = wants_headers(&entry.raw);
            if wanted {
                names.push(sanitise(&entry.name, NAME_WARN));
            }
            !wanted
        });
    }
    names
}

fn wants_headers(tool: &str) -> bool {
    // Most tools have none: they need not be parsed.
    tool.contains(ANNOTATION)
        && raw::top_level(tool, "inputSchema")
            .and_then(|schema| serde_json::from_str(schema).ok())
            .is_some_and(|schema| is_annotated(&schema))
}

/// Depth is bounded by the parser.
fn is_annotated(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| (key == ANNOTATION && value.is_string()) || is_annotated(value)),
        Value::Array(items) => items.iter().any(is_annotated),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R4.5: an annotation counts at any depth of the schema, a parameter or a text of that name
    /// does not.
    #[test]
    fn only_an_annotated_parameter_counts() {
        let tool = |schema: &str| {
            format!(r#"{{"name":"t","description":"x-mcp-header","inputSchema":{schema}}}"#)
        };
        for (schema, wanted) in [
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"Region"}}}"#,
                true,
            ),
            (
                r#"{"properties":{"o":{"properties":{"a":{"x-mcp-header":"R"}}}}}"#,
                true,
            ),
            (
                r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#,
                false,
            ),
            (r#"{"type":"object"}"#, false),
        ] {
            assert_eq!(wants_headers(&tool(schema)), wanted, "{schema}");
        }
    }
}
