//! Writing an envelope around raw JSON.

use super::{RequestId, RpcError, push_quoted, quote};

/// A response with a result. `result_raw` is one JSON value and is not looked at.
#[must_use]
pub fn write_result(id: &RequestId, result_raw: &str) -> Vec<u8> {
    let id = id.to_raw();
    let mut out = Vec::with_capacity(result_raw.len() + id.len() + 40);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result_raw.as_bytes());
    out.push(b'}');
    out
}

/// A response with an error.
#[must_use]
pub fn write_error(id: &RequestId, error: &RpcError) -> Vec<u8> {
    let data = error
        .data_raw()
        .map(|data| format!(",\"data\":{data}"))
        .unwrap_or_default();
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{},"message":{}{data}}}}}"#,
        id.to_raw(),
        error.code,
        quote(&error.message),
    )
    .into_bytes()
}

/// A request. `params_raw` is one JSON object.
#[must_use]
pub fn write_request(id: &RequestId, method: &str, params_raw: Option<&str>) -> Vec<u8> {
    let head = [r#"{"jsonrpc":"2.0","id":"#, id.to_raw(), r#","method":"#];
    called(&head, method, params_raw)
}

/// A notification. `params_raw` is one JSON object.
#[must_use]
pub fn write_notification(method: &str, params_raw: Option<&str>) -> Vec<u8> {
    called(&[r#"{"jsonrpc":"2.0","method":"#], method, params_raw)
}

fn called(head: &[&str], method: &str, params_raw: Option<&str>) -> Vec<u8> {
    let length: usize = head.iter().map(|part| part.len()).sum();
    let params = params_raw.unwrap_or_default();
    let mut out = String::with_capacity(length + method.len() + params.len() + 14);
    for part in head {
        out.push_str(part);
    }
    push_quoted(&mut out, method);
    if params_raw.is_some() {
        out.push_str(",\"params\":");
        out.push_str(params);
    }
    out.push('}');
    out.into_bytes()
}
