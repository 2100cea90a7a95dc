//! The states of a backend.

use std::fmt;

/// One word for a backend's health (R0.10, R1.13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing decided yet.
    #[default]
    Pending,
    Ready,
    /// Works, but not as it should.
    Degraded,
    Unhealthy,
    /// Reachable; a credential is missing or refused.
    AuthRequired,
}

impl State {
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Ready,
        Self::Degraded,
        Self::Unhealthy,
        Self::AuthRequired,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Unhealthy => "Unhealthy",
            Self::AuthRequired => "AuthRequired",
        }
    }

    /// Answers calls.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
