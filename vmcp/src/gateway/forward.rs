//! Requests that only a backend can answer: from an exposed name to the one that has it.
//!
//! Owns the routing of one request. A name resolves to the live runtime at call time (R4.7); a
//! backend that is known to be unreachable fails the request at once with a hint when to come back
//! (R4.13), any other doubt about its health does not. What the backend says is `reply`'s.

use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use vmcp_core::id::BackendName;
use vmcp_core::jsonrpc::{self, Request, RequestId, RpcError, raw};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, ProtocolVersion, method};

use super::Gateway;
use super::failure::{error_code, target, to_rpc};
use super::live::CallGuard;
use super::message::{Accepts, Answer};
use super::meter::{RequestKind, RequestMeter, RequestRecord};
use super::port::{Repeat, SessionScope, UpstreamRequest};
use crate::snapshot::{BackendView, Snapshot};

/// Who calls, as far as a call needs it.
#[derive(Debug)]
pub(super) struct Caller {
    pub era: Era,
    pub scope: SessionScope,
    pub accepts: Accepts,
    pub capabilities: Option<Arc<str>>,
    pub info: Option<Arc<str>>,
    pub version: ProtocolVersion,
    /// Raw JSON string.
    pub log_level: Option<Arc<str>>,
    /// Legacy only: the client may cancel by notification.
    pub cancel: Option<CallGuard>,
}

/// A request as the meter sees it.
#[derive(Debug)]
pub(super) struct CallMeter {
    pub meter: Arc<dyn RequestMeter>,
    pub method: &'static str,
    pub backend: BackendName,
    pub started: Instant,
}

impl CallMeter {
    pub(super) fn finish(&self, code: &'static str) {
        self.meter.record(&RequestRecord {
            method: self.method,
            kind: RequestKind::of(self.method),
            backend: Some(&self.backend),
            code,
            took: self.started.elapsed(),
        });
    }
}

/// A request on its way to the backend that it is about, whole: it can be sent as it is.
#[derive(Debug)]
pub(super) struct Forward {
    /// The client's.
    pub id: RequestId,
    pub caller: Caller,
    pub view: BackendView,
    pub meter: CallMeter,
    pub method: &'static str,
    pub upstream: UpstreamRequest,
    /// As far as it is known; legacy before the first success.
    pub backend_era: Era,
}

/// Where a request goes, and under which name there.
struct Way<'a> {
    view: &'a BackendView,
    original: Arc<str>,
    repeat: Repeat,
}

impl Gateway {
    /// Sends a request where it belongs, and answers with what comes back.
    pub(super) async fn forward(
        &self,
        caller: Caller,
        method: &'static str,
        request: &Request<'_>,
        started: Instant,
    ) -> Answer {
        match self.route(caller, method, request, started) {
            Ok(forward) => self.reply(forward).await,
            Err(answer) => answer,
        }
    }

    fn route(
        &self,
        caller: Caller,
        method: &'static str,
        request: &Request<'_>,
        started: Instant,
    ) -> Result<Forward, Answer> {
        let params = request.params.map_or("{}", RawValue::get);
        let snapshot = self.snapshots.load();
        let refused = |error| self.refuse(request, method, started, &error);
        let way = way(&snapshot, method, params).map_err(refused)?;
        let meter = CallMeter {
            meter: Arc::clone(&self.meter),
            method,
            backend: way.view.id.name.clone(),
            started,
        };
        let target = target(way.view).map_err(|error| {
            meter.finish(error_code(&error));
            let error = to_rpc(caller.era, method, way.view, &error);
            Answer::error(200, &request.id, &error)
        })?;
        let params = renamed(params, &way.original).map_err(refused)?;
        let upstream = UpstreamRequest {
            deadline: Instant::now() + target.endpoint.call_timeout,
            target,
            scope: caller.scope.clone(),
            method: method.into(),
            params: Some(params),
            name: Some(way.original),
            client_capabilities: caller.capabilities.clone(),
            client_info: caller.info.clone(),
            client_version: caller.version,
            log_level: caller.log_level.clone(),
            param_headers: Vec::new(),
            repeat: way.repeat,
            principal: None,
        };
        let dialect = way.view.dialect.as_ref();
        Ok(Forward {
            id: request.id.clone(),
            backend_era: dialect.map_or(Era::Legacy, |dialect| dialect.era),
            caller,
            view: way.view.clone(),
            meter,
            method,
            upstream,
        })
    }

    fn refuse(
        &self,
        request: &Request<'_>,
        method: &'static str,
        started: Instant,
        error: &RpcError,
    ) -> Answer {
        self.meter.record(&RequestRecord {
            method,
            kind: RequestKind::of(method),
            backend: None,
            code: "rpc_other",
            took: started.elapsed(),
        });
        Answer::error(200, &request.id, error)
    }
}

fn way<'a>(snapshot: &'a Snapshot, of: &str, params: &str) -> Result<Way<'a>, RpcError> {
    let name = raw::top_level(params, "name")
        .and_then(|raw| serde_json::from_str::<String>(raw).ok())
        .ok_or_else(|| invalid("params.name is missing or no string"))?;
    let route = match of {
        method::TOOLS_CALL => snapshot.lists.routes.tool(&name),
        _ => None,
    };
    let found = route.and_then(|route| {
        let view = snapshot.backend(&route.backend.name)?;
        Some((route, view))
    });
    let (route, view) = found.ok_or_else(|| invalid(format!("unknown tool: {name}")))?;
    Ok(Way {
        view,
        original: Arc::clone(&route.original),
        repeat: if route.repeatable {
            Repeat::Freely
        } else {
            Repeat::IfUnsent
        },
    })
}

fn renamed(params: &str, original: &str) -> Result<Arc<str>, RpcError> {
    let name = jsonrpc::quote(original);
    match raw::replace_top_level(params, "name", &name) {
        Ok(params) => Ok(params.into()),
        Err(_) => Err(invalid("params is no object")),
    }
}

fn invalid(text: impl Into<String>) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, text)
}
