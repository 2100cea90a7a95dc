//! The result `input_required`.

use std::borrow::Cow;

use crate::jsonrpc::{quote, raw, unquote};
use crate::limits;
use crate::mcp::method;

/// One request inside an `input_required` result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest<'a> {
    /// Decoded.
    pub key: Cow<'a, str>,
    pub method: Cow<'a, str>,
    /// A raw object.
    pub params: Option<&'a str>,
}

/// A result that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequired<'a> {
    pub requests: Vec<InputRequest<'a>>,
    /// A raw JSON string.
    pub state: Option<&'a str>,
}

/// Why an `input_required` result cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("inputRequests is no object of requests")]
    Requests,
    #[error("a key of inputRequests stands twice")]
    Twice,
    #[error("more than {} inputRequests", limits::QUESTIONS)]
    TooMany,
    #[error("requestState is no string")]
    State,
    #[error("neither inputRequests nor requestState")]
    Nothing,
}

/// May the answer to a request of this method be `input_required`?
#[must_use]
pub fn may_ask(of: &str) -> bool {
    matches!(
        of,
        method::TOOLS_CALL | method::PROMPTS_GET | method::RESOURCES_READ
    )
}

impl<'a> InputRequired<'a> {
    /// `None` for a result of any other type.
    ///
    /// # Errors
    /// When it says `input_required` and does not say what.
    pub fn parse(result: &'a str) -> Result<Option<Self>, InputError> {
        if raw::top_level(result, "resultType") != Some("\"input_required\"") {
            return Ok(None);
        }
        let requests = match raw::top_level(result, "inputRequests") {
            None | Some("null") => Vec::new(),
            Some(map) => requests(map)?,
        };
        let state = match raw::top_level(result, "requestState") {
            None | Some("null") => None,
            Some(state) if state.starts_with('"') => Some(state),
            Some(_) => return Err(InputError::State),
        };
        if requests.is_empty() && state.is_none() {
            return Err(InputError::Nothing);
        }
        Ok(Some(Self { requests, state }))
    }
}

fn requests(map: &str) -> Result<Vec<InputRequest<'_>>, InputError> {
    let members = raw::members(map).map_err(|_| InputError::Requests)?;
    if members.len() > limits::QUESTIONS {
        return Err(InputError::TooMany);
    }
    let mut found = Vec::<InputRequest<'_>>::with_capacity(members.len());
    for (key, request) in members {
        let key = unquote(key).ok_or(InputError::Requests)?;
        if found.iter().any(|earlier| earlier.key == key) {
            return Err(InputError::Twice);
        }
        let method = raw::top_level(request, "method").and_then(unquote);
        let params = raw::top_level(request, "params").filter(|raw| *raw != "null");
        if params.is_some_and(|raw| !raw.starts_with('{')) {
            return Err(InputError::Requests);
        }
        found.push(InputRequest {
            key,
            method: method.ok_or(InputError::Requests)?,
            params,
        });
    }
    Ok(found)
}

/// The result that asks a modern client. `state` is text, not raw.
#[must_use]
pub fn write_input_required<'a>(
    requests: impl IntoIterator<Item = InputRequest<'a>>,
    state: &str,
) -> String {
    let mut out = r#"{"resultType":"input_required","inputRequests":{"#.to_owned();
    for (index, request) in requests.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&quote(&request.key));
        out.push_str(r#":{"method":"#);
        out.push_str(&quote(&request.method));
        if let Some(params) = request.params {
            out.push_str(r#","params":"#);
            out.push_str(params);
        }
        out.push('}');
    }
    out.push_str(r#"},"requestState":"#);
    out.push_str(&quote(state));
    out.push('}');
    out
}
