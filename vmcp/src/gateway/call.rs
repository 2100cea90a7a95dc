//! `tools/call`: from an exposed name to a backend's answer.
//!
//! Owns the routing of one call. A name resolves to the live runtime at call time (R4.7); a backend
//! that is known to be unreachable fails the call at once with a hint when to come back (R4.13),
//! any other doubt about its health does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use vmcp_core::health::{ProbeFailure, ProbeReason, Step};
use vmcp_core::id::BackendName;
use vmcp_core::jsonrpc::{Request, RpcError, raw};
use vmcp_core::mcp::error::{ClientErrorKind, client_error, code};
use vmcp_core::mcp::{Era, ProtocolVersion};

use super::Gateway;
use super::live::CallGuard;
use super::message::{Accepts, Answer};
use super::meter::{RequestKind, RequestMeter, RequestRecord};
use super::port::{Repeat, SessionScope, Target, UpstreamError, UpstreamRequest};
use super::reply::Reply;
use crate::snapshot::BackendView;

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

/// A call as the meter sees it.
#[derive(Debug)]
pub(super) struct CallMeter {
    pub meter: Arc<dyn RequestMeter>,
    pub backend: BackendName,
    pub started: Instant,
}

impl CallMeter {
    pub(super) fn finish(&self, code: &'static str) {
        self.meter.record(&RequestRecord {
            method: "tools/call",
            kind: RequestKind::Call,
            backend: Some(&self.backend),
            code,
            took: self.started.elapsed(),
        });
    }
}

impl Gateway {
    pub(super) async fn call_tool(
        &self,
        caller: Caller,
        request: &Request<'_>,
        started: Instant,
    ) -> Answer {
        let params = request.params.map_or("{}", RawValue::get);
        let Some(name) =
            raw::top_level(params, "name").and_then(|raw| serde_json::from_str::<String>(raw).ok())
        else {
            return self.refuse(request, started, "params.name is missing or no string");
        };
        let snapshot = self.snapshots.load();
        let found = snapshot.routes.get(&name).and_then(|route| {
            snapshot
                .backend(&route.backend.name)
                .map(|view| (route, view))
        });
        let Some((route, view)) = found else {
            return self.refuse(request, started, &format!("unknown tool: {name}"));
        };
        let meter = CallMeter {
            meter: Arc::clone(&self.meter),
            backend: view.id.name.clone(),
            started,
        };
        let target = match target(view) {
            Ok(target) => target,
            Err(error) => {
                meter.finish(error_code(&error));
                let error = to_rpc(caller.era, view, &error);
                return Answer::error(200, &request.id, &error);
            }
        };
        let Ok(params) = raw::replace_top_level(
            params,
            "name",
            &serde_json::Value::from(&*route.original).to_string(),
        ) else {
            return self.refuse(request, started, "params is no object");
        };
        let upstream = UpstreamRequest {
            deadline: Instant::now() + target.endpoint.call_timeout,
            target,
            scope: caller.scope.clone(),
            method: "tools/call".into(),
            params: Some(params.into()),
            name: Some(Arc::clone(&route.original)),
            client_capabilities: caller.capabilities.clone(),
            client_info: caller.info.clone(),
            client_version: caller.version,
            log_level: caller.log_level.clone(),
            param_headers: Vec::new(),
            repeat: if route.repeatable {
                Repeat::Freely
            } else {
                Repeat::IfUnsent
            },
        };
        let backend_era = view
            .dialect
            .as_ref()
            .map_or(Era::Legacy, |dialect| dialect.era);
        let sent = self.port.send(upstream);
        let reply = Reply::new(request.id.clone(), caller, backend_era, view.clone(), meter);
        reply.answer(sent).await
    }

    fn refuse(&self, request: &Request<'_>, started: Instant, text: &str) -> Answer {
        self.meter.record(&RequestRecord {
            method: "tools/call",
            kind: RequestKind::Call,
            backend: None,
            code: "rpc_other",
            took: started.elapsed(),
        });
        Answer::error(200, &request.id, &RpcError::new(code::INVALID_PARAMS, text))
    }
}

fn target(view: &BackendView) -> Result<Target, UpstreamError> {
    let unavailable = || UpstreamError::Unavailable(last_failure(view));
    let endpoint = view.endpoint.as_ref().ok_or_else(unavailable)?;
    if view.fails_fast {
        return Err(unavailable());
    }
    Ok(Target {
        id: view.id.clone(),
        generation: view.generation,
        endpoint: Arc::clone(endpoint),
        dialect: view.dialect,
    })
}

/// What the last check said, as the reason why a call is not even tried.
fn last_failure(view: &BackendView) -> ProbeFailure {
    ProbeFailure {
        reason: view.observed.reason.unwrap_or(ProbeReason::ConnectRefused),
        step: Step::Connect,
        http_status: None,
        message: view.observed.message.clone(),
    }
}

/// The `code` label of a failed call: a reason.
pub(super) fn error_code(error: &UpstreamError) -> &'static str {
    reason(error).as_str()
}

fn reason(error: &UpstreamError) -> ProbeReason {
    match error {
        UpstreamError::Unavailable(failure)
        | UpstreamError::Authentication(failure)
        | UpstreamError::Protocol(failure) => failure.reason,
        UpstreamError::Timeout(_) => ProbeReason::CallTimeout,
        UpstreamError::Overloaded { .. } => ProbeReason::Overloaded,
    }
}

/// The error that the client sees: exact code, reason, server, and when to come back.
pub(super) fn to_rpc(era: Era, view: &BackendView, error: &UpstreamError) -> RpcError {
    let (kind, retry_after) = match error {
        UpstreamError::Unavailable(_) => (
            ClientErrorKind::BackendUnavailable,
            Some(view.next_probe_in),
        ),
        UpstreamError::Protocol(_) => (ClientErrorKind::BackendUnavailable, None),
        UpstreamError::Timeout(_) => (ClientErrorKind::Timeout, None),
        UpstreamError::Authentication(_) => (ClientErrorKind::Authentication, None),
        UpstreamError::Overloaded { retry_after } => {
            (ClientErrorKind::BackendUnavailable, Some(*retry_after))
        }
    };
    let retry_after_ms = retry_after.map(millis);
    client_error(
        era,
        kind,
        &view.id.name.0,
        reason(error),
        &error.to_string(),
        retry_after_ms,
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
