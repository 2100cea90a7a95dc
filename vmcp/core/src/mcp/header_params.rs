//! Arguments that are repeated in HTTP headers (`x-mcp-header`, 2026-07-28, server/tools and
//! streamable HTTP, custom headers).
//!
//! Owns the annotation's grammar, the values of the headers, and whether a client's headers say
//! what its body says. Never decides who sends or who is refused.

use std::collections::HashSet;

use serde_json::Value;

use super::header::{MCP_PARAM_PREFIX, decode_name, encode_name};
use crate::jsonrpc::raw;

/// The annotation of a parameter, as the specification spells it.
const ANNOTATION: &str = "x-mcp-header";

/// How the headers' names are spelled when we send them.
const SPELLED_PREFIX: &str = "Mcp-Param-";

/// Largest integer that every JSON reader understands alike.
const SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Keywords whose members are schemas by name.
const NAMED_SCHEMAS: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

/// Keywords that hold data, where the annotation is a word like any other.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];

/// One annotated parameter of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderParam {
    /// The header's name after `Mcp-Param-`.
    pub header: Box<str>,
    /// The keys that lead to the value in `arguments`; never empty.
    pub path: Vec<Box<str>>,
}

/// An annotation that the specification forbids: clients must not see such a tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    #[error("x-mcp-header must be a string")]
    NoString,
    #[error("x-mcp-header must be a header name: one or more of A-Z a-z 0-9 !#$%&'*+-.^_`|~")]
    NoToken,
    #[error("x-mcp-header must be on a parameter of type string, integer or boolean")]
    NoPrimitive,
    #[error("x-mcp-header must be on a property that is reached through \"properties\" alone")]
    Unreachable,
    #[error("two parameters have the same x-mcp-header")]
    Duplicate,
}

/// A client's headers and body disagree. Answered with -32020.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderMismatch {
    #[error("header Mcp-Param-{0} is missing")]
    Missing(Box<str>),
    #[error("header Mcp-Param-{0} is not what the argument says")]
    Different(Box<str>),
    #[error("header Mcp-Param-{0} is no valid encoding")]
    Encoding(Box<str>),
}

/// The annotated parameters of a raw tool. Cheap where there are none, as in most tools.
///
/// # Errors
/// When any annotation breaks the rules.
pub fn of_tool(tool: &str) -> Result<Vec<HeaderParam>, AnnotationError> {
    if !tool.contains(ANNOTATION) && !tool.contains('\\') {
        return Ok(Vec::new());
    }
    match raw::top_level(tool, "inputSchema") {
        Some(schema) => parse(schema),
        None => Ok(Vec::new()),
    }
}

/// The annotated parameters of a raw `inputSchema`, in the order of the headers' names.
///
/// # Errors
/// When any annotation breaks the rules.
pub fn parse(input_schema: &str) -> Result<Vec<HeaderParam>, AnnotationError> {
    let Ok(schema) = serde_json::from_str::<Value>(input_schema) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    walk(&schema, Some(&mut Vec::new()), &mut found)?;
    found.sort_by(|a, b| a.header.cmp(&b.header));
    let mut seen = HashSet::new();
    let unique = |param: &HeaderParam| seen.insert(param.header.to_ascii_lowercase());
    if !found.iter().all(unique) {
        return Err(AnnotationError::Duplicate);
    }
    Ok(found)
}

/// Looks at a schema and those in it. `path`: the keys down to here, `None` where something else
/// than `properties` is between. Depth is bounded by the parser.
fn walk(
    schema: &Value,
    mut path: Option<&mut Vec<Box<str>>>,
    found: &mut Vec<HeaderParam>,
) -> Result<(), AnnotationError> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(schemas) => {
            return schemas
                .iter()
                .try_for_each(|schema| walk(schema, None, found));
        }
        _ => return Ok(()),
    };
    if let Some(annotation) = members.get(ANNOTATION) {
        let path = path.as_deref().filter(|path| !path.is_empty());
        let path = path.ok_or(AnnotationError::Unreachable)?.clone();
        let header = header_name(annotation)?;
        match members.get("type").and_then(Value::as_str) {
            Some("string" | "integer" | "boolean") => found.push(HeaderParam { header, path }),
            _ => return Err(AnnotationError::NoPrimitive),
        }
    }
    for (keyword, value) in members {
        let named = value
            .as_object()
            .filter(|_| NAMED_SCHEMAS.contains(&&**keyword));
        match (named, path.as_deref_mut()) {
            (Some(schemas), Some(path)) if keyword == "properties" => {
                for (name, schema) in schemas {
                    path.push(name.as_str().into());
                    walk(schema, Some(path), found)?;
                    path.pop();
                }
            }
            (Some(schemas), _) => schemas
                .values()
                .try_for_each(|schema| walk(schema, None, found))?,
            (None, _) if DATA.contains(&&**keyword) || keyword == ANNOTATION => {}
            (None, _) => walk(value, None, found)?,
        }
    }
    Ok(())
}

fn header_name(annotation: &Value) -> Result<Box<str>, AnnotationError> {
    let name = annotation.as_str().ok_or(AnnotationError::NoString)?;
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_tchar) {
        return Err(AnnotationError::NoToken);
    }
    Ok(name.into())
}

/// The headers of a call with these raw `arguments`: name and encoded value. What is absent, null
/// or no primitive has none.
#[must_use]
pub fn encode(params: &[HeaderParam], arguments: &str) -> Vec<(Box<str>, Box<str>)> {
    let header = |param: &HeaderParam| {
        let value = param.value(arguments)?;
        let encoded = match &*value {
            "" => String::new(),
            value => encode_name(value),
        };
        let name = format!("{SPELLED_PREFIX}{}", param.header);
        Some((name.into(), encoded.into()))
    };
    params.iter().filter_map(header).collect()
}

/// Do a client's `Mcp-Param-*` headers (names in lower case, values as they came) say what its
/// arguments say? Headers of other names are nobody's business here.
///
/// # Errors
/// With the first header that does not.
pub fn check(
    params: &[HeaderParam],
    arguments: &str,
    headers: &[(Box<str>, Box<str>)],
) -> Result<(), HeaderMismatch> {
    for param in params {
        let value = param.value(arguments);
        let mut sent = headers.iter().filter(|(name, _)| param.is(name)).peekable();
        if sent.peek().is_none() && value.is_some() {
            return Err(HeaderMismatch::Missing(param.header.clone()));
        }
        for (_, text) in sent {
            let decoded = decode_name(text.trim_matches([' ', '\t']))
                .map_err(|_| HeaderMismatch::Encoding(param.header.clone()))?;
            if value.as_deref().is_none_or(|value| !same(value, &decoded)) {
                return Err(HeaderMismatch::Different(param.header.clone()));
            }
        }
    }
    Ok(())
}

/// Headers of a client that mean no parameter of the tool: they are to be passed on as they are.
pub fn unrecognised<'a>(
    params: &'a [HeaderParam],
    headers: &'a [(Box<str>, Box<str>)],
) -> impl Iterator<Item = &'a (Box<str>, Box<str>)> {
    headers
        .iter()
        .filter(|(name, _)| !params.iter().any(|param| param.is(name)))
}

impl HeaderParam {
    /// Is this the header's whole name, in whatever case?
    fn is(&self, name: &str) -> bool {
        let prefix = name.get(..MCP_PARAM_PREFIX.len());
        let rest = name.get(MCP_PARAM_PREFIX.len()..);
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(MCP_PARAM_PREFIX))
            && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(&self.header))
    }

    /// The argument as text; `None` where there is nothing to repeat.
    fn value(&self, arguments: &str) -> Option<String> {
        let mut at = arguments.trim();
        for key in &self.path {
            at = raw::top_level(at, key)?;
        }
        match at.as_bytes().first()? {
            b'"' => serde_json::from_str(at).ok(),
            b'n' | b'{' | b'[' => None,
            b't' | b'f' => Some(at.to_owned()),
            _ => Some(integer(at).unwrap_or_else(|| at.to_owned())),
        }
    }
}

/// The usual spelling of a whole number: `42.0` and `4.2e1` are 42.
fn integer(raw: &str) -> Option<String> {
    let value: f64 = raw.parse().ok()?;
    let whole = value.fract() == 0.0 && value.abs() <= SAFE_INTEGER;
    // The addition makes minus zero zero.
    whole.then(|| format!("{:.0}", value + 0.0))
}

fn same(value: &str, sent: &str) -> bool {
    value == sent || integer(sent).is_some_and(|sent| sent == value)
}
