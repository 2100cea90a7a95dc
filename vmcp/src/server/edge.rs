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
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode, Version};
use tracing::debug;

use super::answer::{empty, moved, not_allowed, refuse, refuse_with, relayed, write};
use super::body::{self, BodyError, Reply};
use super::cors;
use super::endpoint::Endpoint;
use super::facts::{self, Wanted, text};
use super::guard;
use super::passing::Passing;
use super::phase_io::{Serving, ServingGuard};
use super::relay::{Hop, Placement, Relay};
use crate::gateway::Gateway;
use crate::gateway::message::{Answer, Facts};
use crate::placed::pinned;

/// Serves the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Edge(Arc<Connection>);

#[derive(Debug)]
struct Connection {
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
        Self(Arc::new(Connection {
            gateway,
            relay,
            hop: Hop::Client,
            peer,
            serving,
        }))
    }

    /// For what other replicas pass on.
    pub(super) fn for_replicas(gateway: Arc<Gateway>, relay: Arc<Relay>) -> Self {
        Self(Arc::new(Connection {
            gateway,
            hop: Hop::Replica,
            peer: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            serving: relay.passed_on.clone(),
            relay,
        }))
    }

    /// A request that another replica has admitted.
    pub(super) async fn passed_on(self, request: Request<Incoming>) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let guard = self.0.serving.begin();
        self.0.route(&head, body, guard).await
    }
}

impl Connection {
    async fn answer(&self, head: &Parts, body: Incoming) -> Response<Reply> {
        let guard = self.serving.begin();
        let mut response = match self.admit(head) {
            Err(refused) => {
                debug!(%refused, "request refused");
                refuse(StatusCode::FORBIDDEN, &refused.to_string(), guard)
            }
            Ok(()) => self.route(head, body, guard).await,
        };
        if let Some(origin) = head.headers.get(ORIGIN)
            && response.status() != StatusCode::FORBIDDEN
        {
            cors::expose(origin.clone(), response.headers_mut());
        }
        // Who keeps its connection would else meet the moment at which it is closed. HTTP/2 has a
        // way of its own to say so.
        if head.version < Version::HTTP_2 && self.relay.is_leaving() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    fn admit(&self, head: &Parts) -> Result<(), guard::Refused> {
        let host = head
            .uri
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| text(&head.headers, HOST));
        let snapshot = self.gateway.snapshots().current.load();
        let origin = text(&head.headers, ORIGIN);
        guard::admit(&snapshot.admission, self.peer, host, origin)
    }

    async fn route(&self, head: &Parts, body: Incoming, guard: ServingGuard) -> Response<Reply> {
        let Some(endpoint) = Endpoint::parse(head.uri.path()) else {
            let text = format!("no such path: there are {}", Endpoint::PATHS);
            return refuse(StatusCode::NOT_FOUND, &text, guard);
        };
        if head.method == Method::OPTIONS {
            let mut response = empty(StatusCode::NO_CONTENT, guard);
            let answer = response.headers_mut();
            cors::preflight(&head.headers, endpoint.methods(), answer);
            return response;
        }
        if let Some(error) = facts::repeated(&head.headers) {
            return refuse_with(StatusCode::BAD_REQUEST, &error, guard);
        }
        let wanted = Wanted::of(&head.headers);
        let facts = facts::facts(&head.headers, &head.uri, &endpoint, wanted);
        if let Err(refused) = endpoint.check(&head.method, &facts) {
            return not_allowed(refused, guard);
        }
        let body = match head.method {
            Method::POST => match admit_body(&head.headers, body, wanted).await {
                Ok(body) => body,
                Err((status, text)) => return refuse(status, text, guard),
            },
            _ => Bytes::new(),
        };
        let passing = Passing {
            head,
            facts: &facts,
            body: &body,
        };
        // Holds the session here until the answer is made.
        let _held = match self.relay.place(&passing, self.hop).await {
            Placement::Here(held) => held,
            Placement::Served(response) => {
                return relayed(*response, || self.relay.owed(&passing), guard);
            }
            Placement::Moved(pod) => return moved(&pod, guard),
            Placement::Lost(answer) => return write(answer, wanted, guard),
        };
        let answer = self.dispatch(&endpoint, &head.method, &facts, &body).await;
        write(answer, wanted, guard)
    }

    /// What the gateway says to a request that can be served.
    async fn dispatch(
        &self,
        endpoint: &Endpoint,
        method: &Method,
        facts: &Facts<'_>,
        body: &Bytes,
    ) -> Answer {
        match (endpoint, method) {
            (Endpoint::Events, _) => self.gateway.events(),
            (Endpoint::Messages, _) => self.gateway.message(facts, body),
            (Endpoint::Mcp(_), &Method::GET) => self.gateway.get(facts),
            (Endpoint::Mcp(_), &Method::DELETE) => {
                let answer = self.gateway.delete(facts).await;
                if let (false, Some(id)) = (answer.is_error(), &facts.session) {
                    self.relay.buried(id).await;
                }
                answer
            }
            (Endpoint::Mcp(_), _) => self.gateway.post(facts, body).await,
        }
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let edge = self.clone();
        let (head, body) = request.into_parts();
        pinned(|| async move { Ok(edge.0.answer(&head, body).await) })
    }
}

/// The body of a POST, where its headers allow one.
async fn admit_body(
    headers: &HeaderMap,
    body: Incoming,
    wanted: Wanted,
) -> Result<Bytes, (StatusCode, &'static str)> {
    if !facts::is_json(headers) {
        let text = "header Content-Type must be application/json";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    if wanted == Wanted::Nothing {
        let text = "header Accept must allow application/json or text/event-stream";
        return Err((StatusCode::NOT_ACCEPTABLE, text));
    }
    body::read(body).await.map_err(|error| match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request body over 4 MiB"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request body took over 30 s"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "request body broke off"),
    })
}
