//! Reading an envelope.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::raw::string_stop;
use super::{ParseError, RequestId, RpcError, unquote};
use crate::limits;

/// A message, of either side.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    Request(Request<'a>),
    Notification(Notification<'a>),
    Response(Response<'a>),
}

#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub id: RequestId,
    pub method: Cow<'a, str>,
    /// A raw object. `null` counts as absent.
    pub params: Option<&'a RawValue>,
}

#[derive(Clone, Debug)]
pub struct Notification<'a> {
    pub method: Cow<'a, str>,
    pub params: Option<&'a RawValue>,
}

#[derive(Clone, Debug)]
pub enum Response<'a> {
    Result { id: RequestId, result: &'a RawValue },
    Error { id: RequestId, error: RpcError },
}

impl Response<'_> {
    #[must_use]
    pub fn id(&self) -> &RequestId {
        match self {
            Self::Result { id, .. } | Self::Error { id, .. } => id,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there, even as null: `"id": null` is not a missing id.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(from).map(Some)
}

/// Reads one message. Size is the caller's to bound; depth is bounded here.
///
/// # Errors
/// When the bytes are no JSON, too deep, a batch, or no JSON-RPC 2.0 message. A member of the
/// envelope that stands twice is refused: two readers could take two different ones.
pub fn parse(body: &[u8]) -> Result<Message<'_>, ParseError> {
    let text = std::str::from_utf8(body).map_err(|_| ParseError::Syntax)?;
    check_depth(text)?;
    parse_text(text)
}

/// Reads a batch, or a single message as a batch of one (2025-03-26 only).
///
/// # Errors
/// As [`parse`] for the whole; each item has its own result.
pub fn parse_batch(body: &[u8]) -> Result<Vec<Result<Message<'_>, ParseError>>, ParseError> {
    let text = std::str::from_utf8(body).map_err(|_| ParseError::Syntax)?;
    check_depth(text)?;
    if !text.trim_start().starts_with('[') {
        return Ok(vec![Ok(parse_text(text)?)]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| ParseError::Syntax)?;
    match items.len() {
        0 => Err(ParseError::Invalid("an empty batch")),
        1..=limits::BATCH => Ok(items
            .into_iter()
            .map(|item| parse_text(item.get()))
            .collect()),
        _ => Err(ParseError::BatchTooLarge),
    }
}

fn parse_text(text: &str) -> Result<Message<'_>, ParseError> {
    // serde reads an array as the fields of a struct in order.
    if text.trim_start().starts_with('[') {
        let whole = serde_json::from_str::<&RawValue>(text);
        return Err(whole.map_or(ParseError::Syntax, |_| ParseError::Batch));
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if !error.is_data() => return Err(ParseError::Syntax),
        // A data error may hide a syntax error behind it; the whole is looked at once more.
        Err(_) if serde_json::from_str::<&RawValue>(text).is_err() => {
            return Err(ParseError::Syntax);
        }
        Err(_) => return Err(ParseError::Invalid("no object, or a member stands twice")),
    };
    if envelope.jsonrpc.and_then(string).as_deref() != Some("2.0") {
        return Err(ParseError::Invalid("jsonrpc is not \"2.0\""));
    }
    let id = match envelope.id.map(RawValue::get) {
        None => None,
        Some(raw) => Some(RequestId::from_raw(raw).ok_or(ParseError::Invalid("id"))?),
    };
    match envelope.method {
        Some(method) => {
            if envelope.result.is_some() || envelope.error.is_some() {
                return Err(ParseError::Invalid("both a question and an answer"));
            }
            let method = string(method).ok_or(ParseError::Invalid("method is no string"))?;
            call(id, method, envelope.params)
        }
        None => answer(id, envelope.result, envelope.error),
    }
}

fn call<'a>(
    id: Option<RequestId>,
    method: Cow<'a, str>,
    params: Option<&'a RawValue>,
) -> Result<Message<'a>, ParseError> {
    let params = params.filter(|raw| raw.get() != "null");
    if params.is_some_and(|raw| !raw.get().starts_with('{')) {
        return Err(ParseError::Invalid("params is no object"));
    }
    match id {
        None => Ok(Message::Notification(Notification { method, params })),
        Some(RequestId::Null) => Err(ParseError::Invalid("the id of a request is null")),
        Some(id) => Ok(Message::Request(Request { id, method, params })),
    }
}

fn answer<'a>(
    id: Option<RequestId>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
) -> Result<Message<'a>, ParseError> {
    // Some servers write the member that they do not mean as null.
    match (result, error.filter(|raw| raw.get() != "null")) {
        (Some(result), Some(_)) if result.get() != "null" => {
            Err(ParseError::Invalid("both a result and an error"))
        }
        (_, Some(error)) => {
            let error = serde_json::from_str(error.get())
                .map_err(|_| ParseError::Invalid("error has no code"))?;
            Ok(Message::Response(Response::Error {
                id: id.unwrap_or(RequestId::Null),
                error,
            }))
        }
        (Some(result), None) => match id {
            None | Some(RequestId::Null) => Err(ParseError::Invalid("a result without an id")),
            Some(id) => Ok(Message::Response(Response::Result { id, result })),
        },
        (None, None) => Err(ParseError::Invalid("no method, no result, no error")),
    }
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    unquote(raw.get())
}

/// The JSON parser skips raw values without recursion, so their depth must be counted here, before
/// some later parser with a stack meets it.
fn check_depth(text: &str) -> Result<(), ParseError> {
    let bytes = text.as_bytes();
    // As many as could be inside of each other: to count them is far quicker than to follow them.
    if openings(bytes) <= limits::JSON_DEPTH {
        return Ok(());
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > limits::JSON_DEPTH {
                    return Err(ParseError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// In chunks, whose count has room in a byte: many bytes are counted at a time.
fn openings(bytes: &[u8]) -> usize {
    let opens = |byte: &u8| u8::from(*byte == b'{') + u8::from(*byte == b'[');
    let counts = bytes
        .chunks(128)
        .map(|chunk| chunk.iter().map(opens).sum::<u8>());
    counts.map(usize::from).sum()
}

/// Just after the string that was opened before `at`; the end of the text where it is not closed.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(stop) = string_stop(bytes, at) {
        if bytes.get(stop) == Some(&b'"') {
            return stop + 1;
        }
        at = stop + 2;
    }
    bytes.len()
}
