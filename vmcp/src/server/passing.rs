//! One request as it crosses from replica to replica.
//!
//! Owns what of it is passed on: all of it but the headers of its connection. Never sends anything.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;

use crate::gateway::message::Facts;

/// Headers that belong to one connection.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TRANSFER_ENCODING,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    UPGRADE,
    EXPECT,
    HeaderName::from_static("keep-alive"),
];

/// One request as it can be passed on.
pub(super) struct Passing<'a> {
    pub(super) head: &'a Parts,
    pub(super) facts: &'a Facts<'a>,
    pub(super) body: &'a Bytes,
}

pub(super) fn pass_on(request: &Passing<'_>) -> Request<Full<Bytes>> {
    let mut passed = Request::new(Full::new(request.body.clone()));
    *passed.method_mut() = request.head.method.clone();
    let target = request.head.uri.path_and_query();
    if let Some(Ok(uri)) = target.map(|target| target.as_str().parse()) {
        *passed.uri_mut() = uri;
    }
    let mut headers = request.head.headers.clone();
    strip(&mut headers);
    // HTTP/2 has it in the request line.
    let authority = request.head.uri.authority();
    if let Some(Ok(host)) = authority.map(|host| HeaderValue::from_str(host.as_str())) {
        headers.entry(HOST).or_insert(host);
    }
    *passed.headers_mut() = headers;
    passed
}

/// Removes what belongs to one connection, named or well known.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
