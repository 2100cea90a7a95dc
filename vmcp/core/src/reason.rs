//! Why something is not well, in one word.
//!
//! Owns the enumeration that status, events, metric labels, error data and logs share, so that no
//! two outputs name the same trouble differently (T6). Never holds a text: that is the message's.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a check, a call or a reference failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProbeReason { $($(#[$doc])* $name),+ }

        impl ProbeReason {
            /// Every reason, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word as it stands in status, events, metrics and error data.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons!(
    /// The name does not resolve.
    DnsFailed,
    /// Nothing listens, or the connection was reset before it stood.
    ConnectRefused,
    /// No answer to the connection attempt.
    ConnectTimeout,
    /// TLS could not be established.
    TlsFailed,
    /// An HTTP status that is an answer, and a bad one.
    HttpStatus,
    /// Reachable, wrong answer: no JSON-RPC, a wrong id, a body cut short.
    ProtocolError,
    /// No protocol version in common.
    UnsupportedVersion,
    /// Connected, then silence until the deadline.
    HandshakeTimeout,
    /// The backend wants a credential and there is none.
    AuthRequired,
    /// The backend refused the credential.
    AuthFailed,
    /// The credential is configured and its file is not there.
    CredentialMissing,
    /// Alive, but its tools could not be listed.
    ListFailed,
    /// The readiness call failed.
    ToolCallFailed,
    /// The readiness call answered `isError`.
    ToolError,
    /// The answer is above the limit.
    ResponseTooLarge,
    /// Good, later than it should be.
    Slow,
    /// 429: no verdict.
    RateLimited,
    /// Refused for its Host header.
    HostRejected,
    /// The endpoint is elsewhere on the same origin.
    Redirected,
    /// Not checked, so that it may sleep.
    Idle,
    /// The reference names no MCPServer.
    BackendNotFound,
    /// The address is no URL that we can use.
    InvalidUrl,
    /// Scaled to zero.
    Stopped,
    /// A call did not end before its deadline.
    CallTimeout,
    /// Too many calls under way.
    Overloaded,
    /// A stream or a connection ended in mid-answer.
    ConnectionLost,
    /// The backend forgot the session of its client, whose own is over with it.
    SessionLost,
    /// A parked call is gone.
    ParkedCallLost,
    /// A Secret that a reference names does not exist.
    SecretNotFound,
    /// The Secret has no such key.
    SecretKeyMissing,
    /// A ConfigMap that a reference names does not exist.
    ConfigMapNotFound,
    /// The image cannot be pulled.
    ImagePullFailed,
    /// The container exits again and again.
    CrashLoop,
    /// No node takes the pod.
    Unschedulable,
    /// An admission controller refused the object.
    AdmissionDenied,
    /// A quota is used up.
    QuotaExceeded,
);

impl ProbeReason {
    /// The reason of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for ProbeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ProbeReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
