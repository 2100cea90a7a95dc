//! What a web page of an allowed origin may send and see.
//!
//! Owns the headers that a browser asks about before it lets a page speak to us. Origins are
//! `guard`'s; nothing here lets one in.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    HeaderMap, HeaderValue, VARY,
};

use vmcp_core::mcp::header::MCP_PARAM_PREFIX;

const REQUEST_HEADERS: &str = "authorization, content-type, last-event-id, mcp-method, mcp-name, \
    mcp-protocol-version, mcp-session-id";
const EXPOSED_HEADERS: &str = "mcp-session-id, www-authenticate";

/// Names of `Mcp-Param-*` that are let through in one request: as many as headers may be.
const PARAMS: usize = vmcp_core::limits::HEADER_COUNT;

/// Headers of the answer to a preflight.
pub(super) fn preflight(request: &HeaderMap, methods: &'static str, answer: &mut HeaderMap) {
    answer.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(methods),
    );
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

/// Headers of every answer to a page.
pub(super) fn expose(origin: HeaderValue, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(
        VARY,
        HeaderValue::from_static("origin, access-control-request-headers"),
    );
    answer.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED_HEADERS),
    );
}

/// The headers that MCP has, and those `Mcp-Param-*` that the page asks for: their names come from
/// tools, so they cannot be listed, and a wildcard would not cover `Authorization`.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let asked = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let params = asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| is_param(name))
        .take(PARAMS);
    let mut allowed = REQUEST_HEADERS.to_owned();
    for name in params {
        allowed.push_str(", ");
        allowed.push_str(name);
    }
    HeaderValue::from_str(&allowed).unwrap_or_else(|_| HeaderValue::from_static(REQUEST_HEADERS))
}

fn is_param(name: &str) -> bool {
    name.len() > MCP_PARAM_PREFIX.len()
        && name
            .get(..MCP_PARAM_PREFIX.len())
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(MCP_PARAM_PREFIX))
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_the_parameters_that_it_names_and_nothing_else() {
        let mut request = HeaderMap::new();
        let asked =
            "content-type, Mcp-Param-Region,mcp-param-x_1, x-evil, mcp-param-, mcp-param-a b";
        request.insert(
            ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static(asked),
        );

        let allowed = allowed_headers(&request);

        let allowed = allowed.to_str().unwrap();
        assert_eq!(
            allowed,
            format!("{REQUEST_HEADERS}, Mcp-Param-Region, mcp-param-x_1")
        );
    }
}
