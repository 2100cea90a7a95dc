//! The audit log of the API server: who asked for what, and what the answer was.
//!
//! Owns reading it from a mark on. The policy logs the metadata of every request; only answered
//! requests are reported (stage `ResponseComplete`), a watch therefore when it ends. It must never
//! answer "nothing" when it could not read: a test would take that for silence.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Logged when an answer is under way completely.
const COMPLETE: &str = "ResponseComplete";

/// Every request of everybody, without bodies; the stage before the answer tells nothing more.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// Reads the audit log of one control plane.
#[derive(Debug, Clone)]
pub struct Audit {
    log: PathBuf,
}

/// A place in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// A request that was answered. Absent parts are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// `system:serviceaccount:NAMESPACE:NAME`, `admin`, ...
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// Plural, lower case.
    pub resource: String,
    /// `status`, `scale`, `token`, ...
    pub subresource: String,
    /// Empty for what lies in no namespace.
    pub namespace: String,
    /// Empty for lists, and for objects that get their name from the server.
    pub name: String,
    /// As the client sent it.
    pub user_agent: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// Always `ResponseComplete`.
    pub stage: String,
    /// Path and query, which hold a patch's field manager.
    pub uri: String,
    /// When the request came, RFC 3339 with microseconds.
    pub at: String,
}

impl AuditEvent {
    /// Whether the request asked for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Audit {
    pub(super) fn new(log: PathBuf) -> Self {
        Self { log }
    }

    /// The end of the log now: pass it to [`Audit::since`] later.
    ///
    /// # Panics
    /// There is no log.
    #[expect(clippy::expect_used, reason = "silence would look like zero requests")]
    #[must_use]
    pub fn mark(&self) -> Mark {
        let length = fs::metadata(&self.log).map(|found| found.len());
        Mark(length.expect("the API server writes an audit log"))
    }

    /// Every request answered since the mark, in the order of their answers.
    ///
    /// # Panics
    /// The log cannot be read.
    #[expect(clippy::expect_used, reason = "silence would look like zero requests")]
    #[must_use]
    pub fn since(&self, mark: &Mark) -> Vec<AuditEvent> {
        read(&self.log, mark.0).expect("a readable audit log")
    }
}

fn read(log: &Path, from: u64) -> Result<Vec<AuditEvent>> {
    let mut file = File::open(log).with_context(|| format!("opening {}", log.display()))?;
    file.seek(SeekFrom::Start(from)).context("the mark")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("the audit log")?;
    let mut events = Vec::new();
    // A line without its end is still being written.
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if line.ends_with(b"\n") {
            events.extend(parse(line)?);
        }
    }
    Ok(events)
}

fn parse(line: &[u8]) -> Result<Option<AuditEvent>> {
    let raw: Raw = serde_json::from_slice(line)
        .with_context(|| format!("an audit event: {}", String::from_utf8_lossy(line)))?;
    if raw.stage != COMPLETE {
        return Ok(None);
    }
    let object = raw.object_ref.unwrap_or_default();
    Ok(Some(AuditEvent {
        user: raw.user.username,
        verb: raw.verb,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        user_agent: raw.user_agent,
        code: raw.response_status.unwrap_or_default().code,
        stage: raw.stage,
        uri: raw.request_uri,
        at: raw.request_received_timestamp,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    stage: String,
    verb: String,
    user: RawUser,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    request_received_timestamp: String,
    object_ref: Option<RawObject>,
    response_status: Option<RawStatus>,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawObject {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawStatus {
    code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, verb: &str) -> String {
        format!(
            r#"{{"kind":"Event","stage":"{stage}","requestURI":"/api/v1/namespaces/n/pods/p/status","verb":"{verb}","user":{{"username":"u"}},"userAgent":"a/1","objectRef":{{"resource":"pods","namespace":"n","name":"p","apiVersion":"v1","subresource":"status"}},"responseStatus":{{"code":200}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}}"#
        ) + "\n"
    }

    #[test]
    fn only_answered_requests_after_the_mark_are_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("audit.log");
        fs::write(&log, line(COMPLETE, "create")).expect("a log");
        let audit = Audit::new(log.clone());

        let mark = audit.mark();
        let more = line("ResponseStarted", "watch") + &line(COMPLETE, "patch");
        let half = &line(COMPLETE, "delete")[..40];
        fs::write(&log, line(COMPLETE, "create") + &more + half).expect("a log");
        let events = audit.since(&mark);

        assert_eq!(events.len(), 1);
        assert_eq!(events[0].verb, "patch");
        assert!(events[0].is_write());
        assert_eq!(
            (events[0].resource.as_str(), events[0].subresource.as_str()),
            ("pods", "status")
        );
        assert_eq!((events[0].code, events[0].user.as_str()), (200, "u"));
    }

    #[test]
    #[should_panic(expected = "audit log")]
    fn a_missing_log_is_no_silence() {
        let _mark = Audit::new(PathBuf::from("/no/such/log")).mark();
    }
}
