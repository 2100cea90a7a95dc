//! What really arrived.
//!
//! Owns the log of connections and requests. Never interprets them beyond counting cycles. Exists
//! because R2.2 and T7 are claims about sockets and sessions, provable only on the other side.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Version};

use super::call::Call;

/// One accepted TCP connection.
#[derive(Clone, Debug)]
pub struct ConnRecord {
    /// Number of the connection, counted from 0.
    pub id: usize,
    /// Source port of the client.
    pub peer_port: u16,
    pub opened: Instant,
    /// When either side ended it.
    pub closed: Option<Instant>,
    pub requests: u32,
}

/// One HTTP request.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub at: Instant,
    /// [`ConnRecord::id`] of its connection.
    pub connection: usize,
    pub peer_port: u16,
    pub version: Version,
    pub http_method: String,
    /// Path with query.
    pub path: String,
    pub headers: HeaderMap,
    /// `Mcp-Session-Id`, or `sessionId` of the query for 2024-11-05.
    pub session: Option<String>,
    /// JSON-RPC method, where the body is one request or notification.
    pub rpc_method: Option<String>,
    /// Raw JSON of the id.
    pub rpc_id: Option<String>,
    /// `params.name` of a `tools/call`.
    pub tool: Option<String>,
    pub body: Bytes,
    /// Which health-check cycle of the backend's life, from 1: a new one begins with
    /// `server/discover`, and with any method that the running cycle has had already.
    pub cycle: u32,
    /// The HTTP status that was answered; `None` while it hangs or where it was never answered.
    pub status: Option<u16>,
}

impl Recorded {
    /// The JSON-RPC method, or the HTTP method where there is none.
    #[must_use]
    pub fn method(&self) -> &str {
        self.rpc_method.as_deref().unwrap_or(&self.http_method)
    }

    /// A header's value, empty where absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON, `Null` where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connections: Vec<ConnRecord>,
    next_connection: usize,
    log: Vec<Recorded>,
    cleared: usize,
    cycle: u32,
    seen_in_cycle: HashSet<String>,
}

impl Recorder {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self, peer_port: u16) -> usize {
        let mut inner = self.inner();
        let id = inner.next_connection;
        inner.next_connection += 1;
        let record = ConnRecord {
            id,
            peer_port,
            opened: Instant::now(),
            closed: None,
            requests: 0,
        };
        inner.connections.push(record);
        id
    }

    pub(super) fn closed(&self, id: usize) {
        let mut inner = self.inner();
        if let Some(record) = inner.connections.iter_mut().find(|record| record.id == id) {
            record.closed = Some(Instant::now());
        }
    }

    /// Keeps the request; returns its place in the log and its cycle.
    pub(super) fn request(&self, connection: usize, peer_port: u16, call: &Call) -> (usize, u32) {
        let mut inner = self.inner();
        if let Some(record) = inner
            .connections
            .iter_mut()
            .find(|record| record.id == connection)
        {
            record.requests += 1;
        }
        let method = call.method().to_owned();
        if method == "server/discover" || inner.cycle == 0 || inner.seen_in_cycle.contains(&method)
        {
            inner.cycle += 1;
            inner.seen_in_cycle.clear();
        }
        inner.seen_in_cycle.insert(method);
        let cycle = inner.cycle;
        inner.log.push(Recorded {
            at: Instant::now(),
            connection,
            peer_port,
            version: call.version,
            http_method: call.http_method.to_string(),
            path: call.path_and_query.clone(),
            headers: call.headers.clone(),
            session: call.session().map(str::to_owned),
            rpc_method: call.rpc.as_ref().and_then(|rpc| rpc.method.clone()),
            rpc_id: call.rpc.as_ref().and_then(|rpc| rpc.id.clone()),
            tool: call.tool_name().map(str::to_owned),
            body: call.body.clone(),
            cycle,
            status: None,
        });
        (inner.cleared + inner.log.len() - 1, cycle)
    }

    pub(super) fn answered(&self, place: usize, status: u16) {
        let mut inner = self.inner();
        let index = place.checked_sub(inner.cleared);
        if let Some(entry) = index.and_then(|index| inner.log.get_mut(index)) {
            entry.status = Some(status);
        }
    }

    pub(super) fn clear(&self) {
        let mut inner = self.inner();
        inner.cleared += inner.log.len();
        inner.log.clear();
        inner.connections.retain(|record| record.closed.is_none());
    }

    pub(super) fn log(&self) -> Vec<Recorded> {
        self.inner().log.clone()
    }

    pub(super) fn connections(&self) -> Vec<ConnRecord> {
        self.inner().connections.clone()
    }

    pub(super) fn cycles(&self) -> u32 {
        self.inner().cycle
    }
}
