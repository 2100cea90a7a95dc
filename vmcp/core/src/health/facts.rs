//! Five facts that are kept apart, each with its reason.

use super::{ProbeFailure, ProbeReason, Step};

/// One thing that is known about a backend, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fact {
    #[default]
    Unknown,
    True,
    False {
        reason: ProbeReason,
    },
}

impl Fact {
    #[must_use]
    pub const fn is_false(self) -> bool {
        matches!(self, Self::False { .. })
    }
}

/// What the newest evidence says. Facts are not damped: thresholds are the state's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// A connection stands. The only one that makes calls fail fast (R4.13).
    pub reachable: Fact,
    /// MCP is spoken there.
    pub handshaken: Fact,
    /// Its tools are known.
    pub catalogued: Fact,
    /// It takes our credential, or wants none.
    pub authenticated: Fact,
    /// A real call works.
    pub callable: Fact,
}

impl Facts {
    /// A failure denies the fact of its step and affirms those that the step rests on.
    pub(super) fn deny(&mut self, failure: &ProbeFailure) {
        let denied = Fact::False {
            reason: failure.reason,
        };
        match failure.step {
            Step::Dns | Step::Connect | Step::Tls => {
                self.reachable = denied;
                self.handshaken = Fact::Unknown;
                self.callable = Fact::Unknown;
            }
            Step::Discover | Step::Initialize | Step::Ping => {
                self.reachable = Fact::True;
                self.handshaken = denied;
                self.callable = Fact::Unknown;
            }
            Step::List => {
                self.reachable = Fact::True;
                self.handshaken = Fact::True;
                self.catalogued = denied;
            }
            Step::Call => {
                self.reachable = Fact::True;
                self.handshaken = Fact::True;
                self.callable = denied;
            }
        }
    }

    /// A refusal for want of a credential. The catalogue stays what it was (T3).
    pub(super) fn refused(&mut self, reason: ProbeReason) {
        // A credential that is missing on our side was noticed before anything was sent.
        if reason != ProbeReason::CredentialMissing {
            self.reachable = Fact::True;
        }
        self.authenticated = Fact::False { reason };
    }

    pub(super) fn alive(&mut self) {
        self.reachable = Fact::True;
        self.handshaken = Fact::True;
        self.authenticated = Fact::True;
    }
}
