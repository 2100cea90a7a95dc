//! Requests that only a backend can answer: from an exposed name to the one that has it.
//!
//! Owns the routing of one request. A name resolves to the live runtime at call time (R4.7); a
//! backend that is known to be unreachable fails the request at once with a hint when to come back
//! (R4.13), any other doubt about its health does not. What the backend says is `reply`'s.

use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use vmcp_core::jsonrpc::{Request, RequestId, RpcError, raw};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::task::{self, is_about_task};
use vmcp_core::mcp::{Era, Params, ProtocolVersion, header_params, known_method};

use super::aim::{Aim, aim, invalid};
use super::failure::{error_code, target, to_rpc};
use super::live::{CallGuard, NOT_RELAYED};
use super::message::{Accepts, Answer, EndpointPath, Facts};
use super::meter::{RequestKind, RequestMeter, RequestRecord};
use super::port::{KnownMeta, Origin, Repeat, SessionScope, UpstreamRequest};
use super::{Doors, Gateway};
use crate::near::Near;
use crate::placed::boxed;
use crate::snapshot::BackendView;

/// Header names and values.
type ParamHeaders = Vec<(Box<str>, Box<str>)>;

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
    /// Which lists it sees.
    pub path: EndpointPath,
    /// Modern only: `Mcp-Param-*` as they came.
    pub param_headers: ParamHeaders,
    /// Legacy only: the client may cancel by notification.
    pub cancel: Option<CallGuard>,
}

/// What a client asks, read as far as it is decided by.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub id: &'a RequestId,
    pub method: &'static str,
    pub params: Params<'a>,
    pub known_meta: KnownMeta,
    pub started: Instant,
}

impl<'a> Asked<'a> {
    /// By a legacy client.
    pub(super) fn read(request: &'a Request<'_>, started: Instant) -> Self {
        let method = known_method(&request.method);
        let raw = request.params.map_or("{}", RawValue::get);
        let params = Params::read(method, raw);
        let none = params.is_clear() && params.meta().is_none();
        Self {
            id: &request.id,
            method,
            params,
            known_meta: if none {
                KnownMeta::Absent
            } else {
                KnownMeta::Unread
            },
            started,
        }
    }
}

/// A request on its way to the backend that it is about, whole: it can be sent as it is.
#[derive(Debug)]
pub(super) struct Forward {
    /// The client's.
    pub id: RequestId,
    pub caller: Caller,
    pub view: Near<BackendView>,
    pub doors: Near<Doors>,
    pub started: Instant,
    pub method: &'static str,
    pub upstream: Arc<UpstreamRequest>,
    /// As far as it is known; legacy before the first success.
    pub backend_era: Era,
    /// What the client calls the task that the request is about.
    pub task: Option<String>,
    /// It brings input along, or continues a call that asked for it.
    pub is_retry: bool,
}

impl Forward {
    /// When the client asked.
    pub(super) fn begun(&self) -> tokio::time::Instant {
        self.started.into()
    }

    /// The request is over, for the meter.
    pub(super) fn finish(&self, code: &'static str) {
        finished(
            &*self.doors.meter,
            self.method,
            &self.view,
            code,
            self.started,
        );
    }
}

fn finished(
    meter: &dyn RequestMeter,
    method: &'static str,
    view: &BackendView,
    code: &'static str,
    started: Instant,
) {
    meter.record(&RequestRecord {
        method,
        kind: RequestKind::of(method),
        backend: Some(view),
        code,
        took: started.elapsed(),
    });
}

impl Gateway {
    /// Sends a request where it belongs, and answers with what comes back.
    pub(super) async fn forward(&self, caller: Caller, asked: &Asked<'_>) -> Answer {
        match self.route(caller, asked) {
            Ok(forward) => {
                self.used(&forward);
                self.reply(forward).await
            }
            Err(answer) => answer,
        }
    }

    /// Is there such an endpoint?
    pub(super) fn check_path(&self, facts: &Facts<'_>) -> Result<(), Answer> {
        if self.snapshots.current.load().has(&facts.path) {
            return Ok(());
        }
        let error = no_such_backend(&facts.path);
        Err(Answer::error(404, &RequestId::Null, &error))
    }

    pub(super) fn route(&self, caller: Caller, asked: &Asked<'_>) -> Result<Box<Forward>, Answer> {
        let Asked {
            method,
            params,
            started,
            ..
        } = asked;
        let (method, started) = (*method, *started);
        let snapshot = self.snapshots.current.load();
        let refused = |error| self.refuse(asked, (200, error));
        let lists = snapshot
            .lists_of(&caller.path)
            .ok_or_else(|| refused(no_such_backend(&caller.path)))?;
        let aim = if is_about_task(method) {
            self.aim_at_task(&snapshot, &caller, method, params)
                .map_err(|error| self.refuse(asked, error))?
        } else {
            aim(lists, caller.era, method, params).map_err(refused)?
        };
        let headers =
            param_headers(&caller, &aim).map_err(|error| self.refuse(asked, (400, error)))?;
        let view = snapshot
            .backend(&aim.route.backend.name)
            .ok_or_else(|| refused(invalid("its backend was removed just now")))?;
        let target = target(view).map_err(|error| {
            finished(&*self.meter, method, view, error_code(&error), started);
            let error = to_rpc(caller.era, method, view, &error);
            Answer::error(200, asked.id, &error)
        })?;
        let era = view.dialect.map_or(Era::Legacy, |dialect| dialect.era);
        let upstream = Arc::new(UpstreamRequest {
            deadline: started + target.endpoint.call_timeout,
            target,
            scope: caller.scope.clone(),
            origin: Origin::Client,
            method: method.into(),
            params: Some(aim.params.into()),
            known_meta: asked.known_meta,
            name: aim.name,
            client_capabilities: told(&caller, era),
            client_info: caller.info.clone(),
            client_version: caller.version,
            log_level: caller.log_level.clone(),
            param_headers: headers,
            repeat: if aim.route.repeatable {
                Repeat::Freely
            } else {
                Repeat::IfUnsent
            },
            principal: None,
        });
        Ok(boxed(|| Forward {
            id: asked.id.clone(),
            backend_era: era,
            is_retry: params.is_retry(),
            task: is_about_task(method)
                .then(|| task::id_of(params.raw()))
                .flatten(),
            caller,
            view: view.near(),
            doors: self.doors.near(),
            started,
            method,
            upstream,
        }))
    }

    fn refuse(&self, asked: &Asked<'_>, (status, error): (u16, RpcError)) -> Answer {
        self.meter.record(&RequestRecord {
            method: asked.method,
            kind: RequestKind::of(asked.method),
            backend: None,
            code: "rpc_other",
            took: asked.started.elapsed(),
        });
        Answer::error(status, asked.id, &error)
    }
}

/// What a backend of this era is told that the client can do: legacy ones know no extensions.
fn told(caller: &Caller, backend: Era) -> Option<Arc<str>> {
    let capabilities = caller.capabilities.as_ref()?;
    if (caller.era, backend) == (Era::Modern, Era::Legacy) {
        return Some(raw::without_members(capabilities, &NOT_RELAYED).into());
    }
    Some(Arc::clone(capabilities))
}

/// An endpoint of a backend that there is not.
pub(super) fn no_such_backend(path: &EndpointPath) -> RpcError {
    RpcError::new(code::INVALID_REQUEST, format!("no such endpoint: {path}"))
}

/// The `Mcp-Param-*` headers for the backend: those of its own schema, made anew, and those of the
/// client's that we do not know, as they came.
///
/// # Errors
/// When the headers of a modern client do not say what its arguments say.
fn param_headers(caller: &Caller, aim: &Aim<'_>) -> Result<ParamHeaders, RpcError> {
    let params = &aim.route.header_params;
    if params.is_empty() && caller.param_headers.is_empty() {
        return Ok(Vec::new());
    }
    let arguments = raw::top_level(&aim.params, "arguments").unwrap_or("{}");
    if caller.era == Era::Modern {
        header_params::check(params, arguments, &caller.param_headers)
            .map_err(|error| RpcError::new(code::HEADER_MISMATCH, error.to_string()))?;
    }
    let mut headers = header_params::encode(params, arguments);
    headers.extend(header_params::unrecognised(params, &caller.param_headers).cloned());
    Ok(headers)
}
