//! How long each step of a check or call took.
//!
//! Owns [`Timings`]; measures nothing itself. Exists so that a slow backend can be told from a
//! slow name server in the metrics (`vmcp_backend_probe_duration_seconds{phase}`).

use std::time::Duration;

/// One duration per step; `None` where the step was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    pub dns: Option<Duration>,
    pub connect: Option<Duration>,
    pub tls: Option<Duration>,
    /// discover, or initialize, or the ping of a remembered session.
    pub handshake: Option<Duration>,
    pub list: Option<Duration>,
    pub call: Option<Duration>,
}

impl Timings {
    /// Takes over the steps that `newer` reached.
    pub fn merge(&mut self, newer: Self) {
        self.dns = newer.dns.or(self.dns);
        self.connect = newer.connect.or(self.connect);
        self.tls = newer.tls.or(self.tls);
        self.handshake = newer.handshake.or(self.handshake);
        self.list = newer.list.or(self.list);
        self.call = newer.call.or(self.call);
    }
}
