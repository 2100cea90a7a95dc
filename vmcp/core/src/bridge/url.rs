//! A URL that must be opened first: -32042 of 2025-11-25, and its modern form.

use serde_json::value::RawValue;

use super::{InputRequest, retry::response_to};
use crate::jsonrpc::{RpcError, quote, raw};
use crate::limits;
use crate::mcp::error::code;
use crate::mcp::method;

const ELICITATION_ID: &str = "elicitationId";

/// The elicitations of the error: raw `params` of `elicitation/create`. `None` for any other error,
/// and for one that does not say what to open.
#[must_use]
pub fn url_elicitations(error: &RpcError) -> Option<Vec<&str>> {
    if error.code != code::URL_ELICITATION_REQUIRED {
        return None;
    }
    let listed = raw::top_level(error.data_raw()?, "elicitations")?;
    let listed: Vec<&RawValue> = serde_json::from_str(listed).ok()?;
    let bounded = (1..=limits::QUESTIONS).contains(&listed.len());
    let of_urls = |raw: &&RawValue| raw::top_level(raw.get(), "mode") == Some("\"url\"");
    (bounded && listed.iter().all(of_urls)).then(|| listed.into_iter().map(RawValue::get).collect())
}

/// The error, where all that is asked for is that URLs be opened. For a client that cannot be sent
/// requests: it opens them and calls again.
#[must_use]
pub fn url_required(requests: &[InputRequest<'_>], ids: &[String]) -> Option<RpcError> {
    let mut listed = Vec::with_capacity(requests.len());
    for (request, id) in requests.iter().zip(ids) {
        let params = request.params?;
        if request.method != method::ELICITATION_CREATE
            || raw::top_level(params, "mode") != Some("\"url\"")
        {
            return None;
        }
        listed.push(with_elicitation_id(params, id));
    }
    if listed.is_empty() {
        return None;
    }
    let data = format!(r#"{{"elicitations":[{}]}}"#, listed.join(","));
    Some(RpcError {
        data: RawValue::from_string(data).ok(),
        ..RpcError::new(
            code::URL_ELICITATION_REQUIRED,
            "a URL must be opened before this request can be served",
        )
    })
}

/// `params` with the `elicitationId` that 2025-11-25 demands of URL mode and 2026-07-28 has no
/// more. All other params stay as they are.
#[must_use]
pub fn with_elicitation_id(params: &str, id: &str) -> String {
    if raw::top_level(params, "mode") == Some("\"url\"") {
        raw::with_members(params, &[(ELICITATION_ID, &quote(id))])
    } else {
        params.to_owned()
    }
}

/// Did the person agree to everything that was answered? An answer that is missing is no refusal.
#[must_use]
pub fn all_accepted<'a>(params: &str, keys: impl IntoIterator<Item = &'a str>) -> bool {
    keys.into_iter()
        .filter_map(|key| response_to(params, key))
        .all(|response| raw::top_level(response, "action") == Some("\"accept\""))
}
