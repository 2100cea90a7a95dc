//! What the result of a tool says about itself.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::jsonrpc::raw;

const IS_ERROR: &str = "isError";

static MEMBER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"isError\""));

/// Is this the result of a tool that failed by its own account? A member whose name is spelled with
/// escapes is not seen.
#[must_use]
pub fn is_tool_error(result: &str) -> bool {
    // Few results say so anywhere, and looking for it is far quicker than reading.
    says_so(result) && raw::top_level(result, IS_ERROR) == Some("true")
}

/// Somewhere, at whatever depth.
fn says_so(result: &str) -> bool {
    let key = MEMBER.needle().len();
    MEMBER.find_iter(result.as_bytes()).any(|at| {
        let value = result[at + key..].trim_start().strip_prefix(':');
        value.is_some_and(|value| value.trim_start().starts_with("true"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_error_is_seen_at_the_top_level_only() {
        for failed in [
            r#"{"content":[],"isError":true}"#,
            "{\"isError\" :\n true , \"content\":[]}",
            r#"{"structuredContent":{"isError":false},"isError":true}"#,
        ] {
            assert!(is_tool_error(failed), "{failed}");
        }
        for fine in [
            r#"{"content":[],"isError":false}"#,
            r#"{"content":[]}"#,
            r#"{"structuredContent":{"isError":true}}"#,
            r#"{"text":"\"isError\":true","isError":false}"#,
        ] {
            assert!(!is_tool_error(fine), "{fine}");
        }
    }
}
