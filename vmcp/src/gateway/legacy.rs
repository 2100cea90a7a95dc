//! Requests of legacy clients: revisions up to 2025-11-25.
//!
//! Owns the handshake, the session rules and the dispatch by method. `initialize` touches no
//! backend. An id that is not ours is 404 and nothing else (T10).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;

use vmcp_core::jsonrpc::{Notification, Request, RequestId, RpcError, quote};
use vmcp_core::mcp::error::code;
use vmcp_core::mcp::{Era, ProtocolVersion, ServerInfo, initialize_result, known_method, method};
use vmcp_core::session::SessionClaims;

use super::Gateway;
use super::aim::{self, is_forwarded};
use super::forward::{Asked, Caller};
use super::list::listed;
use super::live::Live;
use super::message::{Answer, EndpointPath, Facts};
use super::meter::{RequestKind, RequestRecord};
use super::port::SessionScope;
use super::session::{SessionError, unix_now};

/// What the gateway offers, in both eras: exactly what it serves.
///
/// The same whatever backends there are: what none of them serves answers empty.
pub(super) const CAPABILITIES: &str = r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{}}"#;

/// The levels of `logging/setLevel` (RFC 5424).
const LOG_LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams<'a> {
    #[serde(borrow)]
    protocol_version: Cow<'a, str>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default)]
    client_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelledParams<'a> {
    #[serde(borrow)]
    request_id: &'a RawValue,
}

impl Gateway {
    pub(super) async fn legacy_request(&self, facts: &Facts<'_>, request: &Request<'_>) -> Answer {
        let started = Instant::now();
        if request.method == method::INITIALIZE {
            let answer = self.initialize(&facts.path, request);
            self.record(&request.method, RequestKind::Other, &answer, started);
            return answer;
        }
        let admitted = self
            .session(facts, &request.id)
            .and_then(|session| check_version(facts, &request.id).map(|()| session));
        let session = match admitted {
            Ok(session) => session,
            Err(answer) => {
                self.record(&request.method, RequestKind::Other, &answer, started);
                return answer;
            }
        };
        if is_forwarded(&request.method) {
            let caller = legacy_caller(facts, &session, &request.id);
            let asked = Asked::read(request, started);
            return self.forward(caller, &asked).await;
        }
        if let method::RESOURCES_SUBSCRIBE | method::RESOURCES_UNSUBSCRIBE = &*request.method {
            let caller = legacy_caller(facts, &session, &request.id);
            return self.subscribe(caller, &session, request, started).await;
        }
        let answer = match &*request.method {
            method::PING => Answer::result(&request.id, "{}"),
            method::LOGGING_SET_LEVEL => Box::pin(self.set_level(&session, request)).await,
            other => match listed(other) {
                Some(kind) => self.list(kind, Era::Legacy, &facts.path, request),
                None => Answer::error(200, &request.id, &method_not_found(other)),
            },
        };
        let kind = RequestKind::of(&request.method);
        self.record(&request.method, kind, &answer, started);
        answer
    }

    pub(super) fn legacy_notification(
        &self,
        facts: &Facts<'_>,
        notification: &Notification<'_>,
    ) -> Answer {
        let session = match self.session(facts, &RequestId::Null) {
            Ok(session) => session,
            Err(answer) => return answer,
        };
        if notification.method == method::NOTIFICATION_ROOTS_LIST_CHANGED {
            let params = notification.params.map(RawValue::get);
            self.port.notify(&session.id, &notification.method, params);
        }
        if notification.method == method::NOTIFICATION_CANCELLED
            && let Some(params) = notification.params
            && let Ok(cancelled) = serde_json::from_str::<CancelledParams<'_>>(params.get())
            && let Some(id) = RequestId::from_raw(cancelled.request_id.get())
        {
            session.cancel(&id);
        }
        Answer::Empty { status: 202 }
    }

    /// The session that a request names. Without the header it is a bad request, with an id that
    /// is not ours it is not found. `id` is what such an answer is to.
    pub(super) fn session(&self, facts: &Facts<'_>, id: &RequestId) -> Result<Arc<Live>, Answer> {
        let Some(session) = &facts.session else {
            let error = RpcError::new(
                code::INVALID_REQUEST,
                "header Mcp-Session-Id is missing: send initialize first",
            );
            return Err(Answer::error(400, id, &error));
        };
        let uid = Arc::clone(&self.snapshots.current.load().uid);
        let session = self.sessions.find(session, &uid, unix_now());
        let here = session.filter(|session| facts.path.is(&session.claims.path));
        here.ok_or_else(|| {
            let error = RpcError::new(code::SESSION_NOT_FOUND, "session not found");
            Answer::error(404, id, &error)
        })
    }

    fn initialize(&self, path: &EndpointPath, request: &Request<'_>) -> Answer {
        let opened = self.negotiate(path, request).and_then(|claims| {
            let opened = self.sessions.open(claims, unix_now());
            opened.map_err(|error| Answer::error(200, &request.id, &no_session(error)))
        });
        match opened {
            Ok(session) => self.initialized(request, &session),
            Err(answer) => answer,
        }
    }

    /// What a session of this client is to be.
    pub(super) fn negotiate(
        &self,
        path: &EndpointPath,
        request: &Request<'_>,
    ) -> Result<SessionClaims, Answer> {
        let params = request.params.map_or("{}", RawValue::get);
        let params: InitializeParams<'_> = serde_json::from_str(params).map_err(|error| {
            let text = format!("initialize: {error}");
            Answer::error(200, &request.id, &RpcError::new(code::INVALID_PARAMS, text))
        })?;
        let version = ProtocolVersion::parse(&params.protocol_version)
            .filter(|version| version.era() == Era::Legacy)
            .unwrap_or(ProtocolVersion::LATEST_LEGACY);
        let now = unix_now();
        Ok(SessionClaims {
            virtual_uid: self.snapshots.current.load().uid.to_string(),
            path: path.to_string(),
            client_info_raw: params.client_info.map(|raw| raw.get().to_owned()),
            client_capabilities_raw: params.capabilities.map(|raw| raw.get().to_owned()),
            protocol_version: version,
            issued: now,
            expires: now + self.sessions.max_age.as_secs(),
            owner: self.owner().clone(),
            ..SessionClaims::default()
        })
    }

    /// The answer to the client that opened this session.
    pub(super) fn initialized(&self, request: &Request<'_>, session: &Live) -> Answer {
        self.meter.sessions(self.sessions.count());
        let info = server_info(&self.snapshots.current.load().name);
        let version = session.claims.protocol_version;
        let result = initialize_result(version, &info, CAPABILITIES);
        match Answer::result(&request.id, &result) {
            Answer::Json { status, body, .. } => Answer::Json {
                status,
                body,
                session: Some((*session.id).into()),
            },
            other => other,
        }
    }

    /// `logging/setLevel`: kept, and told to backends with the next request to each.
    async fn set_level(&self, session: &Live, request: &Request<'_>) -> Answer {
        let params = request.params.map_or("{}", RawValue::get);
        match aim::text(params, "params", "level") {
            Ok(level) if is_log_level(&level) => {
                session.set_log_level(quote(&level).into());
                self.wants_anew(session);
                self.others_know(session).await;
                Answer::result(&request.id, "{}")
            }
            Ok(level) => {
                let error = aim::invalid(format!("params.level {level:?} is no log level"));
                Answer::error(200, &request.id, &error)
            }
            Err(error) => Answer::error(200, &request.id, &error),
        }
    }

    pub(super) fn record(
        &self,
        method: &str,
        kind: RequestKind,
        answer: &Answer,
        started: Instant,
    ) {
        self.meter.record(&RequestRecord {
            method: known_method(method),
            kind,
            backend: None,
            code: if answer.is_error() { "rpc_other" } else { "ok" },
            took: started.elapsed(),
        });
    }
}

/// `serverInfo` of the aggregate: the name of the VirtualMCPServer, our version.
pub(super) fn server_info(name: &str) -> ServerInfo {
    ServerInfo {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

pub(super) fn method_not_found(method: &str) -> RpcError {
    RpcError::new(
        code::METHOD_NOT_FOUND,
        format!("method not found: {method}"),
    )
}

fn legacy_caller(facts: &Facts<'_>, session: &Arc<Live>, id: &RequestId) -> Caller {
    Caller {
        era: Era::Legacy,
        scope: SessionScope::Client(Arc::clone(&session.id)),
        accepts: facts.accepts,
        capabilities: declared(session),
        version: session.claims.protocol_version,
        log_level: session.log_level(),
        info: session.info.clone(),
        path: facts.path.clone(),
        param_headers: Vec::new(),
        cancel: Some(session.begin_call(id)),
    }
}

/// What backends are told that the client can do: what it said itself, but for tasks, of which
/// nothing is relayed.
pub(super) fn declared(session: &Live) -> Option<Arc<str>> {
    session.declared.clone()
}

pub(super) fn is_log_level(level: &str) -> bool {
    LOG_LEVELS.contains(&level)
}

fn check_version(facts: &Facts<'_>, id: &RequestId) -> Result<(), Answer> {
    match &facts.protocol_version {
        None => Ok(()),
        Some(text) if ProtocolVersion::parse(text).is_some() => Ok(()),
        Some(text) => {
            let text = format!("header MCP-Protocol-Version: {text:?} is not supported");
            Err(Answer::error(
                400,
                id,
                &RpcError::new(code::INVALID_REQUEST, text),
            ))
        }
    }
}

pub(super) fn no_session(error: SessionError) -> RpcError {
    let code = match error {
        SessionError::TooLarge => code::INVALID_PARAMS,
        SessionError::TooMany | SessionError::Seal(_) => code::INTERNAL_ERROR,
    };
    RpcError::new(code, error.to_string())
}
