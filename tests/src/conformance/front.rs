//! What `rmcp` leaves to its user: a server of one era refuses the other as such servers do.
//!
//! `rmcp` always knows every revision, so that even a server that supports legacy versions alone
//! understands `server/discover`. A server of that time does not.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use serde_json::{Value, json};

use super::Era;
use super::handler::Handler;

/// Answers one request.
pub async fn answer(
    era: Era,
    service: &StreamableHttpService<Handler, LocalSessionManager>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if request.uri().path() != "/mcp" {
        return Ok(refusal(StatusCode::NOT_FOUND, &Value::Null, "no such path"));
    }
    if era != Era::Legacy || request.method() != Method::POST {
        return Ok(service.handle(request).await);
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return Ok(refusal(
            StatusCode::BAD_REQUEST,
            &Value::Null,
            "the body was cut",
        ));
    };
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let modern = message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
    if modern || message["method"] == "server/discover" {
        let why = "Bad Request: no valid session ID provided";
        return Ok(refusal(StatusCode::BAD_REQUEST, &Value::Null, why));
    }
    Ok(service
        .handle(Request::from_parts(head, Full::new(body)))
        .await)
}

fn refusal(status: StatusCode, id: &Value, why: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": why}});
    let body = Full::new(Bytes::from(error.to_string())).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}
