//! What goes wrong now.
//!
//! Owns the list of failures and the rule which of them meets a request. Never acts itself: the
//! engine does. Combinators narrow a failure to some methods or to the first cycles.

use std::time::Duration;

/// A failure that stays until it is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The port is closed and so is every connection. Only at the top level.
    Refuse,
    /// The connection is accepted, the request read, and nothing ever answered.
    AcceptAndHang,
    /// As [`Fault::AcceptAndHang`], but the request is served once the fault changes: a process
    /// that was stopped and continues.
    Hold,
    /// The connection is closed instead of an answer.
    Reset,
    HttpStatus {
        status: u16,
        www_authenticate: Option<String>,
    },
    /// 307 with this `Location`.
    Http307 {
        location: String,
    },
    /// 200 with an HTML page.
    NonJson200,
    /// 200 `application/json` that does not parse.
    GarbageJson,
    /// 200 `application/json` with no body at all.
    EmptyBody200,
    /// The right body, but `Content-Length` promises more than is sent, then the connection ends.
    TruncatedBody,
    /// Half of the right body, then silence on an open connection.
    StallMidBody,
    /// The right answer with a result blown up by this many bytes.
    HugeBody(usize),
    /// The right result under another id.
    WrongId,
    JsonRpcError {
        code: i64,
        http_status: u16,
    },
    /// HTTP 400 with -32022 and `data.supported`.
    UnsupportedVersion(Vec<String>),
    /// The right answer after a pause.
    Slow(Duration),
    /// 429, with `Retry-After` in seconds.
    RateLimited {
        retry_after: Option<u64>,
    },
    /// Whatever comes without a session, except `initialize`, is answered 400 (T1).
    RejectProbesWithoutSession,
    /// `tools/list` answers a JSON-RPC error while all else works.
    ListFails,
    /// `tools/call` fails while all else works.
    CallFails(CallFailure),
    /// 403 unless the `Host` header (without port) is one of these.
    HostCheck {
        allowed: Vec<String>,
    },
    /// Only for these JSON-RPC methods; `GET` and `DELETE` name those requests.
    On {
        methods: Vec<String>,
        fault: Box<Fault>,
    },
    /// Only during the first `cycles` health-check cycles of the backend's life (R2.1).
    FirstCycles {
        cycles: u32,
        fault: Box<Fault>,
    },
    /// The first of these that meets the request.
    Any(Vec<Fault>),
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// A result with `isError: true`.
    ToolError,
    /// A JSON-RPC error of this code.
    RpcError(i64),
}

impl Fault {
    #[must_use]
    pub fn http_status(status: u16) -> Self {
        Self::HttpStatus {
            status,
            www_authenticate: None,
        }
    }

    /// 401 with a `WWW-Authenticate` challenge.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::HttpStatus {
            status: 401,
            www_authenticate: Some("Bearer".to_owned()),
        }
    }

    /// A JSON-RPC error in an HTTP 200.
    #[must_use]
    pub fn json_rpc_error(code: i64) -> Self {
        Self::JsonRpcError {
            code,
            http_status: 200,
        }
    }

    #[must_use]
    pub fn on(method: &str, fault: Self) -> Self {
        Self::On {
            methods: vec![method.to_owned()],
            fault: Box::new(fault),
        }
    }

    #[must_use]
    pub fn on_all(methods: &[&str], fault: Self) -> Self {
        let methods = methods.iter().map(|&method| method.to_owned()).collect();
        Self::On {
            methods,
            fault: Box::new(fault),
        }
    }

    #[must_use]
    pub fn first_cycles(cycles: u32, fault: Self) -> Self {
        Self::FirstCycles {
            cycles,
            fault: Box::new(fault),
        }
    }

    /// Whether any part of it is [`Fault::Hold`].
    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Hold => true,
            Self::On { fault, .. } | Self::FirstCycles { fault, .. } => fault.holds(),
            Self::Any(faults) => faults.iter().any(Self::holds),
            _ => false,
        }
    }

    /// The one failure, without combinators, that meets a request of `method` in `cycle` (from 1).
    pub(super) fn meeting(&self, method: &str, cycle: u32) -> &Self {
        match self {
            Self::On { methods, fault } if methods.iter().any(|known| known == method) => {
                fault.meeting(method, cycle)
            }
            Self::FirstCycles { cycles, fault } if cycle <= *cycles => fault.meeting(method, cycle),
            Self::On { .. } | Self::FirstCycles { .. } => &Self::None,
            Self::Any(faults) => faults
                .iter()
                .map(|fault| fault.meeting(method, cycle))
                .find(|fault| !matches!(fault, Self::None))
                .unwrap_or(&Self::None),
            Self::ListFails if method != "tools/list" => &Self::None,
            Self::CallFails(_) if method != "tools/call" => &Self::None,
            leaf => leaf,
        }
    }
}
