//! What this replica answers to the others.
//!
//! Owns the requests of the peer port: those of clients, passed on, and the replicas' own short
//! questions. Host and origin were judged where the client's request arrived; everything else is
//! judged here as if it had come from the client.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};

use super::body::{self, Reply};
use super::edge::Edge;
use super::handover::{GRAVES, HAND};
use super::herald::{AGREE, CHANGED, Herald};
use super::phase_io::Serving;
use super::relay::{BURY, LOCATE, PART, Relay};
use super::wills::{WILL, WILLS};
use crate::gateway::Gateway;
use crate::gateway::place::Grave;

/// The replicas' own questions.
const OURS: [&str; 9] = [
    LOCATE, BURY, HAND, GRAVES, WILL, WILLS, PART, CHANGED, AGREE,
];

/// Serves the other replicas.
#[derive(Clone, Debug)]
pub(super) struct PeerEdge {
    gateway: Arc<Gateway>,
    relay: Arc<Relay>,
    herald: Arc<Herald>,
    edge: Edge,
}

impl PeerEdge {
    pub(super) fn new(gateway: Arc<Gateway>, relay: Arc<Relay>, herald: Arc<Herald>) -> Self {
        let edge = Edge::for_replicas(Arc::clone(&gateway), Arc::clone(&relay));
        Self {
            gateway,
            relay,
            herald,
            edge,
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Reply> {
        let path = request.uri().path();
        if !OURS.contains(&path) {
            return self.edge.passed_on(request).await;
        }
        let path = path.to_owned();
        let body = body::read(request.into_body()).await.ok();
        let answer = match body {
            Some(body) => self.question(&path, &body).await,
            None => None,
        };
        let mut response = Response::new(Reply::whole(Bytes::new(), Serving::default().begin()));
        match answer {
            Some(answer) => {
                *response.body_mut() = Reply::whole(answer.into(), Serving::default().begin());
            }
            None => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    }

    async fn question(&self, path: &str, body: &Bytes) -> Option<Vec<u8>> {
        if path == HAND {
            return serde_json::to_vec(&self.relay.take(body)?).ok();
        }
        if path == GRAVES {
            self.gateway
                .bury_all(&serde_json::from_slice::<Vec<Grave>>(body).ok()?);
            return Some(Vec::new());
        }
        if path == WILLS {
            return self.gateway.keep_wills(body);
        }
        if path == PART {
            self.relay.parted(&serde_json::from_slice(body).ok()?);
            return Some(Vec::new());
        }
        if path == CHANGED {
            return self.herald.hear(body);
        }
        if path == AGREE {
            return self.herald.compare(body);
        }
        let id = std::str::from_utf8(body).ok()?;
        if path == WILL {
            return self.gateway.known_will(id);
        }
        if path == BURY {
            self.gateway.bury(id);
            return Some(Vec::new());
        }
        serde_json::to_vec(&self.relay.locate(id).await).ok()
    }
}

impl Service<Request<Incoming>> for PeerEdge {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let edge = self.clone();
        Box::pin(async move { Ok(edge.answer(request).await) })
    }
}
