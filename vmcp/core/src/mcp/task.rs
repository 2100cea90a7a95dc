//! Tasks of the extension `io.modelcontextprotocol/tasks` of 2026-07-28.
//!
//! Owns what of a task a gateway must understand: who may have one, its id in results and requests,
//! and what an id that a client carries says. Everything else of a task stays raw. Never the tasks
//! of 2025-11-25, which are another thing of the same name.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::code;
use super::method;
use crate::jsonrpc::{RpcError, quote, raw};
use crate::limits;

/// The extension, as both sides declare it.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Layout of the claims; another layout gets another number.
const LAYOUT: u8 = 1;

/// Is the request about a task that there is already?
#[must_use]
pub fn is_about_task(of: &str) -> bool {
    matches!(
        of,
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL
    )
}

/// What a client's raw capabilities say of the extension.
#[must_use]
pub fn declared(capabilities: &str) -> Option<&str> {
    let extensions = raw::top_level(capabilities, "extensions")?;
    raw::top_level(extensions, EXTENSION).filter(|raw| raw.starts_with('{'))
}

/// The client would have to declare the extension (HTTP 400).
#[must_use]
pub fn not_declared() -> RpcError {
    let extension = quote(EXTENSION);
    let data = format!(r#"{{"requiredCapabilities":{{"extensions":{{{extension}:{{}}}}}}}}"#);
    RpcError {
        data: RawValue::from_string(data).ok(),
        ..RpcError::new(
            code::MISSING_CLIENT_CAPABILITY,
            format!("the request needs the client capability {EXTENSION}"),
        )
    }
}

/// The id of the task that this result creates. `None`: it is another result.
#[must_use]
pub fn created(result: &str) -> Option<String> {
    if raw::top_level(result, "resultType") != Some("\"task\"") {
        return None;
    }
    id_of(result)
}

/// The `taskId` of a raw result or of raw params.
#[must_use]
pub fn id_of(object: &str) -> Option<String> {
    let raw = raw::top_level(object, "taskId")?;
    serde_json::from_str(raw).ok()
}

/// The same object with another `taskId`; without one it stays as it is.
#[must_use]
pub fn renamed(object: &str, id: &str) -> String {
    raw::replace_top_level(object, "taskId", &quote(id)).unwrap_or_else(|_| object.to_owned())
}

/// What a task is called towards clients, before it is sealed: where it is and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskClaims {
    #[serde(rename = "v")]
    layout: u8,
    #[serde(rename = "b")]
    pub backend: String,
    /// `None` for an anonymous client.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The backend's own id.
    #[serde(rename = "t")]
    pub id: String,
}

impl TaskClaims {
    /// `None` for an id that is too long to be carried.
    #[must_use]
    pub fn new(backend: &str, principal: Option<&str>, id: String) -> Option<Self> {
        (id.len() <= limits::TASK_ID).then(|| Self {
            layout: LAYOUT,
            backend: backend.to_owned(),
            principal: principal.map(str::to_owned),
            id,
        })
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing strings to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` where the bytes are no claims of this layout.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let claims: Self = serde_json::from_slice(bytes).ok()?;
        (claims.layout == LAYOUT).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_declares_the_extension() {
        let able = r#"{"extensions":{"x/y":{},"io.modelcontextprotocol/tasks":{"n":1.0}}}"#;
        assert_eq!(declared(able), Some(r#"{"n":1.0}"#));
        for unable in [
            "{}",
            r#"{"tasks":{}}"#,
            r#"{"extensions":{}}"#,
            r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#,
        ] {
            assert_eq!(declared(unable), None, "{unable}");
        }
    }

    /// T22: the id is exchanged, every other byte stays.
    #[test]
    fn only_the_id_of_a_task_changes() {
        let result = r#"{ "resultType":"task","ttlMs":1.0e4 ,"taskId":"\u0061","x":[1.10]}"#;

        assert_eq!(created(result).as_deref(), Some("a"));
        let expected = result.replace(r#""\u0061""#, r#""b\"c""#);
        assert_eq!(renamed(result, "b\"c"), expected);
        assert_eq!(created(r#"{"resultType":"complete","taskId":"a"}"#), None);
        assert_eq!(renamed("{}", "b"), "{}");
    }

    #[test]
    fn claims_survive_and_have_a_bound() {
        let claims = TaskClaims::new("s", Some("ann"), "1/2".to_owned()).unwrap();
        assert_eq!(TaskClaims::decode(&claims.encode()), Some(claims));
        assert_eq!(TaskClaims::decode(br#"{"v":2,"b":"s","t":"1"}"#), None);
        assert_eq!(TaskClaims::decode(b"x"), None);
        let long = "x".repeat(limits::TASK_ID + 1);
        assert_eq!(TaskClaims::new("s", None, long), None);
    }

    #[test]
    fn what_is_missing_is_said_exactly() {
        let data = not_declared().data.unwrap();
        assert_eq!(
            data.get(),
            r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#
        );
    }
}
