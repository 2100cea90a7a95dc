//! One admin request, one answer. Pure but for reading the newest snapshot.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use vmcp_core::report::HealthReport;

use super::{Admin, status};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What Prometheus' text format calls itself.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer to `method path`.
pub(super) fn answer(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => plain(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => match unready(admin) {
            None => plain(StatusCode::OK, TEXT, "ok\n".into()),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        "/health" => json(&health(admin)),
        "/status" => json(&status::page(admin)),
        "/metrics" => match admin.exposition.text() {
            Ok(text) => plain(StatusCode::OK, EXPOSITION, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    "metrics cannot be written\n".into(),
                )
            }
        },
        _ => {
            let known = "not found: /healthz /readyz /health /status /metrics\n";
            plain(StatusCode::NOT_FOUND, TEXT, known.into())
        }
    }
}

/// The answer to a request by a name that is not ours.
pub(super) fn foreign() -> Response<Full<Bytes>> {
    let why = "this port answers to localhost and loopback addresses only\n";
    plain(StatusCode::FORBIDDEN, TEXT, why.into())
}

/// Why no client should be sent here; `None` when one should.
fn unready(admin: &Admin) -> Option<&'static str> {
    let snapshot = admin.snapshots.current.load();
    if admin.is_draining() {
        Some("draining")
    } else if !snapshot.configured {
        Some("no configuration yet")
    } else if !snapshot.first_round_done {
        Some("first health round under way")
    } else if admin.is_searching() {
        Some("other replicas are not known yet")
    } else {
        None
    }
}

fn health(admin: &Admin) -> HealthReport {
    let snapshot = admin.snapshots.load();
    let servers = snapshot
        .backends
        .iter()
        .map(|view| (&*view.id.name.0, &view.observed));
    HealthReport::new(env!("CARGO_PKG_VERSION"), servers, admin.clock.now())
}

fn json<T: Serialize>(body: &T) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(body) {
        Ok(text) => plain(StatusCode::OK, JSON, text + "\n"),
        Err(error) => {
            tracing::error!(%error, "answer cannot be written");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                "answer cannot be written\n".into(),
            )
        }
    }
}

fn plain(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
