//! One HTTP request in, one HTTP response out.
//!
//! Owns the order in which a request is judged (host, origin, path, method, content type, size) and
//! the headers of every answer. Never reads a body before the request is admitted.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use tracing::debug;

use vmcp_core::jsonrpc::{self, RequestId, RpcError};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::header;

use super::body::{self, BodyError, Reply};
use super::guard;
use super::phase_io::{Serving, ServingGuard};
use super::relay::{self, Hop, Passing, Placement, Relay};
use crate::gateway::Gateway;
use crate::gateway::message::{Accepts, Answer, EndpointPath, Facts};
use crate::peer::PeerBody;

const ENDPOINT: &str = "/mcp";
const METHODS: &str = "GET, POST, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "authorization, content-type, last-event-id, mcp-method, mcp-name, \
    mcp-protocol-version, mcp-session-id";
const EXPOSED_HEADERS: &str = "mcp-session-id, www-authenticate";

/// Serves the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    gateway: Arc<Gateway>,
    relay: Arc<Relay>,
    hop: Hop,
    peer: IpAddr,
    serving: Serving,
}

impl Edge {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        relay: Arc<Relay>,
        peer: IpAddr,
        serving: Serving,
    ) -> Self {
        Self {
            gateway,
            relay,
            hop: Hop::Client,
            peer,
            serving,
        }
    }

    /// For what other replicas pass on.
    pub(super) fn for_replicas(gateway: Arc<Gateway>, relay: Arc<Relay>) -> Self {
        Self {
            gateway,
            relay,
            hop: Hop::Replica,
            peer: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            serving: Serving::default(),
        }
    }

    /// A request that another replica has admitted.
    pub(super) async fn passed_on(self, request: Request<Incoming>) -> Response<Reply> {
        let guard = self.serving.begin();
        self.route(request, guard).await
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Reply> {
        let guard = self.serving.begin();
        let origin = request.headers().get(ORIGIN).cloned();
        let mut response = match self.admit(&request) {
            Err(refused) => {
                debug!(%refused, "request refused");
                refuse(StatusCode::FORBIDDEN, &refused.to_string(), guard)
            }
            Ok(()) => self.route(request, guard).await,
        };
        if let Some(origin) = origin
            && response.status() != StatusCode::FORBIDDEN
        {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(VARY, HeaderValue::from_static("origin"));
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED_HEADERS),
            );
        }
        response
    }

    fn admit(&self, request: &Request<Incoming>) -> Result<(), guard::Refused> {
        let host = request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| text(request.headers(), "host"));
        let snapshot = self.gateway.snapshots().current.load();
        guard::admit(
            &snapshot.admission,
            self.peer,
            host,
            text(request.headers(), "origin"),
        )
    }

    async fn route(&self, request: Request<Incoming>, guard: ServingGuard) -> Response<Reply> {
        if request.uri().path() != ENDPOINT {
            let text = format!("no such path: the endpoint is {ENDPOINT}");
            return refuse(StatusCode::NOT_FOUND, &text, guard);
        }
        let facts = facts(request.headers());
        match *request.method() {
            Method::POST => self.post(request, facts, guard).await,
            Method::GET | Method::DELETE => {
                let (head, _) = request.into_parts();
                self.placed(&head, &facts, &Bytes::new(), guard).await
            }
            Method::OPTIONS => preflight(guard),
            _ => {
                let mut response =
                    refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", guard);
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(METHODS));
                response
            }
        }
    }

    async fn post(
        &self,
        request: Request<Incoming>,
        facts: Facts,
        guard: ServingGuard,
    ) -> Response<Reply> {
        if !is_json(request.headers()) {
            let text = "header Content-Type must be application/json";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, text, guard);
        }
        let (head, body) = request.into_parts();
        match body::read(body).await {
            Ok(body) => self.placed(&head, &facts, &body, guard).await,
            Err(BodyError::TooLarge) => refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request body over 4 MiB",
                guard,
            ),
            Err(BodyError::TooSlow) => refuse(
                StatusCode::REQUEST_TIMEOUT,
                "request body took over 30 s",
                guard,
            ),
            Err(BodyError::Broken) => {
                refuse(StatusCode::BAD_REQUEST, "request body broke off", guard)
            }
        }
    }
}

impl Edge {
    /// Serves a request here, or has it served by the replica that it belongs to.
    async fn placed(
        &self,
        head: &Parts,
        facts: &Facts,
        body: &Bytes,
        guard: ServingGuard,
    ) -> Response<Reply> {
        let passing = Passing { head, facts, body };
        // Holds the session here until the answer is made.
        let _held = match self.relay.place(&passing, self.hop).await {
            Placement::Here(held) => held,
            Placement::Served(response) => return relayed(*response, &passing, guard),
            Placement::Moved(pod) => return moved(&pod, guard),
            Placement::Lost(answer) => return write(answer, guard),
        };
        match head.method {
            Method::GET => write(self.gateway.get(facts), guard),
            Method::DELETE => {
                let answer = self.gateway.delete(facts).await;
                if let (false, Some(id)) = (answer.is_error(), &facts.session) {
                    self.relay.buried(id);
                }
                write(answer, guard)
            }
            _ => write(self.gateway.post(facts, body).await, guard),
        }
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let edge = self.clone();
        Box::pin(async move { Ok(edge.answer(request).await) })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn facts(headers: &HeaderMap) -> Facts {
    let owned = |name| text(headers, name).map(Box::from);
    let accept = headers.get_all(ACCEPT);
    let mut accepts = accept
        .iter()
        .filter_map(|value| value.to_str().ok())
        .peekable();
    // No Accept at all means that everything is welcome.
    let events = accepts.peek().is_none()
        || accepts.any(|value| value.contains("text/event-stream") || value.contains("*/*"));
    Facts {
        session: owned(header::MCP_SESSION_ID),
        protocol_version: owned(header::MCP_PROTOCOL_VERSION),
        method: owned(header::MCP_METHOD),
        name: owned(header::MCP_NAME),
        accepts: if events {
            Accepts::JsonOrEvents
        } else {
            Accepts::JsonOnly
        },
        last_event_id: owned(header::LAST_EVENT_ID),
        param_headers: param_headers(headers),
        path: EndpointPath::All,
    }
}

/// Arguments that a modern client repeats in headers.
fn param_headers(headers: &HeaderMap) -> Vec<(Box<str>, Box<str>)> {
    let params = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str();
        let value = value.to_str().ok()?;
        name.starts_with(header::MCP_PARAM_PREFIX)
            .then(|| (name.into(), value.into()))
    });
    params.collect()
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &str| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    };
    text(headers, "content-type").is_some_and(essence)
}

fn write(answer: Answer, guard: ServingGuard) -> Response<Reply> {
    match answer {
        Answer::Json {
            status,
            body,
            session,
        } => {
            let mut response = json(status_code(status), body, guard);
            if let Some(id) = session.and_then(|id| HeaderValue::from_str(&id).ok()) {
                let name = HeaderName::from_static("mcp-session-id");
                response.headers_mut().insert(name, id);
            }
            response
        }
        Answer::Error { status, body } => json(status_code(status), body, guard),
        Answer::Empty { status } => {
            let mut response = Response::new(Reply::whole(Bytes::new(), guard));
            *response.status_mut() = status_code(status);
            response
        }
        Answer::Events(messages) => {
            let mut response = Response::new(Reply::events(messages, guard));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(
                CACHE_CONTROL,
                HeaderValue::from_static("no-cache, no-transform"),
            );
            let buffering = HeaderName::from_static("x-accel-buffering");
            headers.insert(buffering, HeaderValue::from_static("no"));
            response
        }
    }
}

/// The answer of another replica, as it came.
fn relayed(
    response: Response<PeerBody>,
    request: &Passing<'_>,
    guard: ServingGuard,
) -> Response<Reply> {
    let (mut head, body) = response.into_parts();
    relay::strip(&mut head.headers);
    let events = head.headers.get(CONTENT_TYPE);
    let events = events.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let mend = relay::request_id_of(request)
        .filter(|_| events)
        .map(|id| jsonrpc::write_error(&id, &relay::replica_lost(request.facts)).into());
    Response::from_parts(head, Reply::relayed(body, mend, guard))
}

/// For the replica that asked: the session is there.
fn moved(pod: &str, guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::new(), guard));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    if let Ok(pod) = HeaderValue::from_str(pod) {
        response.headers_mut().insert(relay::MOVED, pod);
    }
    response
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn json(status: StatusCode, body: Bytes, guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(body, guard));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A refusal of the edge, as JSON-RPC so that every client can show the text.
fn refuse(status: StatusCode, text: &str, guard: ServingGuard) -> Response<Reply> {
    let error = RpcError::new(code::INVALID_REQUEST, text);
    json(
        status,
        jsonrpc::write_error(&RequestId::Null, &error).into(),
        guard,
    )
}

fn preflight(guard: ServingGuard) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::new(), guard));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(METHODS),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(REQUEST_HEADERS),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
