//! The members of `params` that make a request a retry.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::jsonrpc::{quote, raw};
use crate::mcp::{INPUT_RESPONSES as RESPONSES, REQUEST_STATE as STATE};

/// May there be a `requestState` in this message? Few have the word, and looking for it is far quicker
/// than reading.
#[must_use]
pub fn may_have_state(body: &[u8]) -> bool {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"requestState\""));
    WORD.find(body).is_some()
}

/// `requestState`, decoded. `None` where there is none, or it is no string.
#[must_use]
pub fn retry_state(params: &str) -> Option<String> {
    let raw = raw::top_level(params, STATE)?;
    serde_json::from_str(raw).ok()
}

/// The client's answer to the request of this key: a raw object. Keys that nobody asked for are
/// never looked at, and what is no object is no answer.
#[must_use]
pub fn response_to<'a>(params: &'a str, key: &str) -> Option<&'a str> {
    let responses = raw::top_level(params, RESPONSES)?;
    raw::top_level(responses, key).filter(|raw| raw.starts_with('{'))
}

/// The request as it was before anybody asked.
#[must_use]
pub fn without_retry(params: &str) -> Cow<'_, str> {
    let found = raw::Found::look(params, [RESPONSES, STATE]);
    if found.get(0).or(found.get(1)).is_some() {
        raw::without_members(params, &[RESPONSES, STATE]).into()
    } else {
        Cow::Borrowed(params)
    }
}

/// The same request once more, with the answers and the state of the last round in place of any
/// earlier ones. Every other byte stays.
#[must_use]
pub fn retry_params<'a>(
    params: &str,
    responses: impl IntoIterator<Item = (&'a str, &'a str)>,
    state: Option<&str>,
) -> String {
    let mut map = "{".to_owned();
    for (key, response) in responses {
        if map.len() > 1 {
            map.push(',');
        }
        map.push_str(&quote(key));
        map.push(':');
        map.push_str(response);
    }
    map.push('}');
    let mut members = Vec::with_capacity(2);
    if map.len() > 2 {
        members.push((RESPONSES, map.as_str()));
    }
    members.extend(state.map(|state| (STATE, state)));
    raw::with_members(&without_retry(params), &members)
}
