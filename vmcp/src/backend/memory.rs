//! What one cycle of checks hands to the next.
//!
//! Owns the remembered health session and what was found of the server. Decides nothing: a memory
//! may only make a check cheaper, never its verdict (R2.3). Can be written to a file, because
//! `vmcp probe` is a new process each time and would else leak a session per run (T7).

use serde::{Deserialize, Serialize};

use vmcp_core::health::{Dialect, SessionMode, Wire};
use vmcp_core::mcp::{ProtocolVersion, ServerInfo};

use super::listing::Offers;
use super::outgoing::SessionId;

/// Replaced sessions that could not be ended yet and are tried again; the oldest is given up.
const MAX_RETIRED: usize = 8;

/// The longest session of sessions: carried from cycle to cycle of one backend generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProbeMemory {
    /// The URL that all of it is about; what was learnt elsewhere is void.
    pub(super) url: Option<url::Url>,
    #[serde(with = "dialect")]
    pub(super) dialect: Option<Dialect>,
    pub(super) server: Option<ServerInfo>,
    pub(super) offers: Offers,
    pub(super) changes: Changes,
    pub(super) session: Option<HealthSession>,
    pub(super) retired: Vec<HealthSession>,
    /// Tools that cannot be offered, as last logged: the log repeats nothing each minute.
    #[serde(skip)]
    pub(super) left_out: Vec<String>,
}

/// Does the server say when its lists change?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changes {
    #[default]
    Silent,
    Announced,
}

/// A session that the checks opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSession {
    pub(super) id: SessionId,
    pub(super) version: ProtocolVersion,
}

impl ProbeMemory {
    /// How the server spoke when it was last understood.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// The server says that it announces changes of its lists.
    #[must_use]
    pub fn announces_changes(&self) -> bool {
        self.changes == Changes::Announced
    }

    /// Sessions at the backend that are still to be ended.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        usize::from(self.session.is_some()) + self.retired.len()
    }

    /// A new session takes the place of the remembered one, which is to be ended. Known from the
    /// head of the reply: it counts even if the rest of the handshake fails.
    pub(super) fn adopt(&mut self, session: HealthSession) {
        if self
            .session
            .as_ref()
            .is_some_and(|known| known.id == session.id)
        {
            self.session = Some(session);
            return;
        }
        let replaced = self.session.replace(session);
        self.retire(replaced);
    }

    /// The backend turned out to need no session.
    pub(super) fn abandon(&mut self) {
        let replaced = self.session.take();
        self.retire(replaced);
    }

    fn retire(&mut self, session: Option<HealthSession>) {
        self.retired.extend(session);
        let surplus = self.retired.len().saturating_sub(MAX_RETIRED);
        if surplus > 0 {
            tracing::warn!(surplus, "health sessions could not be ended");
            self.retired.drain(..surplus);
        }
    }

    pub(super) fn all_sessions(&self) -> impl Iterator<Item = &HealthSession> {
        self.session.iter().chain(&self.retired)
    }
}

/// The file form of a [`Dialect`], which has none of its own.
mod dialect {
    use super::{Dialect, ProtocolVersion, SessionMode, Wire};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Written {
        version: ProtocolVersion,
        sse: bool,
        sessions: bool,
    }

    pub fn serialize<S: Serializer>(
        dialect: &Option<Dialect>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = dialect.map(|dialect| Written {
            version: dialect.version,
            sse: dialect.wire == Wire::Sse,
            sessions: dialect.sessions == SessionMode::Stateful,
        });
        written.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Dialect>, D::Error> {
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(written.map(|written| Dialect {
            era: written.version.era(),
            version: written.version,
            wire: if written.sse {
                Wire::Sse
            } else {
                Wire::StreamableHttp
            },
            sessions: if written.sessions {
                SessionMode::Stateful
            } else {
                SessionMode::Stateless
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> HealthSession {
        HealthSession {
            id: SessionId::parse(id).unwrap(),
            version: ProtocolVersion::LATEST_LEGACY,
        }
    }

    /// T7: a session that is replaced is remembered until it is ended.
    #[test]
    fn a_replaced_session_is_still_to_be_ended() {
        let mut memory = ProbeMemory::default();

        memory.adopt(session("a"));
        memory.adopt(session("b"));

        assert_eq!(memory.session, Some(session("b")));
        assert_eq!(memory.retired, [session("a")]);
        assert_eq!(memory.open_sessions(), 2);
    }

    /// T7: a server that hands out the same id again has one session, not two.
    #[test]
    fn the_same_session_again_replaces_nothing() {
        let mut memory = ProbeMemory::default();

        memory.adopt(session("a"));
        memory.adopt(session("a"));

        assert_eq!(memory.open_sessions(), 1);
    }

    /// T7: what `vmcp probe` writes to its state file comes back whole.
    #[test]
    fn a_memory_survives_its_file() {
        let mut memory = ProbeMemory {
            url: "http://h:1/mcp".parse().ok(),
            ..ProbeMemory::default()
        };
        memory.dialect = Some(Dialect {
            era: ProtocolVersion::V2025_06_18.era(),
            version: ProtocolVersion::V2025_06_18,
            wire: Wire::Sse,
            sessions: SessionMode::Stateful,
        });
        memory.adopt(session("a"));
        memory.adopt(session("b"));

        let written = serde_json::to_string(&memory).unwrap();
        let read: ProbeMemory = serde_json::from_str(&written).unwrap();

        assert_eq!(read, memory);
    }

    /// A session id is as good as the session: no log may show it.
    #[test]
    fn a_session_id_is_not_printed() {
        assert!(!format!("{:?}", session("very-secret")).contains("very-secret"));
    }
}
