//! Arguments that are repeated in HTTP headers (`x-mcp-header`, 2026-07-28).
//!
//! Owns the annotation's grammar and the values of the headers. Never decides who sends them.

/// One annotated parameter of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderParam {
    /// The header's name after `Mcp-Param-`.
    pub header: Box<str>,
    /// The keys that lead to the value in `arguments`.
    pub path: Vec<Box<str>>,
}
