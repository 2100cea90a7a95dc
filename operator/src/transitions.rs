//! What happened between two looks at an object, as events. Pure: statuses in, events
//! out. Only transitions; a look at the same state says nothing, and neither does the
//! first look after a start.

use std::collections::BTreeMap;

use vmcp_crds::condition::{
    CONFLICTS_RESOLVED, ConditionStatus, REFERENCES_RESOLVED, STALLED, find, is,
};
use vmcp_crds::mcpserver::MCPServerStatus;
use vmcp_crds::phase::BackendState;
use vmcp_crds::reason::{EventReason, Reason};
use vmcp_crds::virtualmcpserver::{DiscoveredBackend, VirtualMCPServerStatus};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub reason: EventReason,
    pub weight: Weight,
    pub note: String,
    /// What tells apart events of one reason: equal ones become a series.
    pub action: String,
    /// Name and UID of the MCPServer that it is about, beside the object itself.
    pub backend: Option<(String, String)>,
}

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Normal,
    Warning,
}

fn happened(reason: EventReason, weight: Weight, note: String) -> Happened {
    Happened {
        reason,
        weight,
        note,
        action: reason.as_str().to_owned(),
        backend: None,
    }
}

fn about(entry: &DiscoveredBackend, mut happened: Happened) -> Happened {
    let uid = entry.uid.clone().unwrap_or_default();
    happened.backend = Some((entry.name.clone(), uid));
    happened
}

fn phase_changed(old: &str, new: &str, message: Option<&str>) -> Happened {
    let note = with_message(format!("{old} -> {new}"), message);
    Happened {
        action: format!("Become{new}"),
        ..happened(EventReason::PhaseChanged, Weight::Normal, note)
    }
}

/// What happened to an MCPServer.
#[must_use]
pub fn of_server(before: &MCPServerStatus, after: &MCPServerStatus) -> Vec<Happened> {
    let mut found = stalled(&before.conditions, &after.conditions);
    let unresolved = |status: &MCPServerStatus| {
        is(
            &status.conditions,
            REFERENCES_RESOLVED,
            ConditionStatus::False,
        )
    };
    if unresolved(after) && !unresolved(before) {
        let note = message_of(&after.conditions, REFERENCES_RESOLVED);
        found.push(happened(
            EventReason::ReferenceUnresolved,
            Weight::Warning,
            note,
        ));
    }
    if let (Some(old), Some(new)) = (before.phase, after.phase)
        && old != new
    {
        let message = after.message.as_deref();
        found.push(phase_changed(old.as_str(), new.as_str(), message));
    }
    found
}

/// What happened to a VirtualMCPServer and to the servers behind it.
#[must_use]
pub fn of_virtual(
    before: &VirtualMCPServerStatus,
    after: &VirtualMCPServerStatus,
) -> Vec<Happened> {
    let mut found = stalled(&before.conditions, &after.conditions);
    let old = by_name(before);
    let new = by_name(after);
    for (name, entry) in &new {
        let earlier = old.get(name).filter(|earlier| earlier.uid == entry.uid);
        found.extend(of_backend(earlier.copied(), entry));
    }
    for (name, entry) in &old {
        let stays = new.get(name).is_some_and(|later| later.uid == entry.uid);
        if !stays && entry.uid.is_some() {
            let note = format!("backend {name} was removed");
            let removed = happened(EventReason::BackendRemoved, Weight::Normal, note);
            found.push(about(entry, removed));
        }
    }
    let clash = |status: &VirtualMCPServerStatus| {
        is(
            &status.conditions,
            CONFLICTS_RESOLVED,
            ConditionStatus::False,
        )
    };
    if clash(after) && !clash(before) {
        let note = message_of(&after.conditions, CONFLICTS_RESOLVED);
        found.push(happened(
            EventReason::ConflictDetected,
            Weight::Warning,
            note,
        ));
    }
    if let (Some(old), Some(new)) = (before.phase, after.phase)
        && old != new
    {
        let message = after.message.as_deref();
        found.push(phase_changed(old.as_str(), new.as_str(), message));
    }
    found
}

fn of_backend(before: Option<&DiscoveredBackend>, after: &DiscoveredBackend) -> Vec<Happened> {
    let mut found = Vec::new();
    let state = before.map(|before| before.state);
    if state != Some(after.state)
        && let Some((reason, weight)) = word(after.state)
    {
        let text = format!("backend {} is {}", after.name, after.state);
        let note = with_message(text, after.message.as_deref());
        found.push(about(after, happened(reason, weight, note)));
    }
    let hash = before.and_then(|before| before.catalog_hash.as_ref());
    if hash.is_some() && after.catalog_hash.is_some() && hash != after.catalog_hash.as_ref() {
        let tools = after.tools.unwrap_or_default();
        let note = format!(
            "the catalogue of backend {} changed: {tools} tools",
            after.name
        );
        let changed = happened(EventReason::CatalogChanged, Weight::Normal, note);
        found.push(about(after, changed));
    }
    found
}

const fn word(state: BackendState) -> Option<(EventReason, Weight)> {
    match state {
        BackendState::Pending => None,
        BackendState::Ready => Some((EventReason::BackendReady, Weight::Normal)),
        BackendState::Degraded => Some((EventReason::BackendDegraded, Weight::Warning)),
        BackendState::Unhealthy => Some((EventReason::BackendUnhealthy, Weight::Warning)),
        BackendState::AuthRequired => Some((EventReason::BackendAuthRequired, Weight::Warning)),
    }
}

fn stalled(before: &[Condition], after: &[Condition]) -> Vec<Happened> {
    let reason_of = |conditions: &[Condition]| {
        find(conditions, STALLED)
            .filter(|condition| condition.status == ConditionStatus::True.as_str())
            .map(|condition| condition.reason.clone())
    };
    let Some(now) = reason_of(after) else {
        return Vec::new();
    };
    if reason_of(before).as_ref() == Some(&now) {
        return Vec::new();
    }
    let reason = if now == Reason::NameConflict.as_str() {
        EventReason::NameConflict
    } else {
        EventReason::InvalidSpec
    };
    vec![happened(
        reason,
        Weight::Warning,
        message_of(after, STALLED),
    )]
}

fn message_of(conditions: &[Condition], type_: &str) -> String {
    find(conditions, type_)
        .map(|condition| condition.message.clone())
        .unwrap_or_default()
}

fn with_message(text: String, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{text}: {message}"),
        _ => text,
    }
}

fn by_name(status: &VirtualMCPServerStatus) -> BTreeMap<&str, &DiscoveredBackend> {
    let entries = status.discovered_backends.iter();
    entries.map(|entry| (entry.name.as_str(), entry)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vmcp_crds::reason::EventReason;
    use vmcp_crds::virtualmcpserver::VirtualMCPServerStatus;

    use super::{of_server, of_virtual};

    fn status(value: Value) -> VirtualMCPServerStatus {
        serde_json::from_value(value).unwrap()
    }

    fn backend(uid: &str, state: &str, hash: &str) -> VirtualMCPServerStatus {
        status(json!({"phase": "Ready", "discoveredBackends": [
            {"name": "git", "uid": uid, "state": state, "catalogHash": hash}]}))
    }

    fn reasons(
        before: &VirtualMCPServerStatus,
        after: &VirtualMCPServerStatus,
    ) -> Vec<EventReason> {
        of_virtual(before, after).iter().map(|h| h.reason).collect()
    }

    /// API, events: on transitions only.
    #[test]
    fn the_same_state_twice_is_no_event() {
        let ready = backend("1", "Ready", "a");

        assert_eq!(reasons(&ready, &ready), []);
    }

    /// API, events: each state of a backend has its word, and its way out one too.
    #[test]
    fn each_transition_of_a_backend_is_an_event() {
        let ready = backend("1", "Ready", "a");
        let gone = status(json!({"phase": "Ready"}));

        let cases = [
            (&gone, &ready, EventReason::BackendReady),
            (
                &ready,
                &backend("1", "Degraded", "a"),
                EventReason::BackendDegraded,
            ),
            (
                &ready,
                &backend("1", "Unhealthy", "a"),
                EventReason::BackendUnhealthy,
            ),
            (
                &ready,
                &backend("1", "AuthRequired", "a"),
                EventReason::BackendAuthRequired,
            ),
            (
                &ready,
                &backend("1", "Ready", "b"),
                EventReason::CatalogChanged,
            ),
            (&ready, &gone, EventReason::BackendRemoved),
        ];
        for (before, after, reason) in cases {
            assert_eq!(reasons(before, after), [reason]);
        }
    }

    /// R2.8: a new server of the same name is another backend.
    #[test]
    fn a_server_created_anew_is_one_removed_and_one_added() {
        let found = reasons(&backend("1", "Ready", "a"), &backend("2", "Ready", "a"));

        assert_eq!(
            found,
            [EventReason::BackendReady, EventReason::BackendRemoved]
        );
    }

    /// API, events: conflicts, phases and what somebody must mend are events.
    #[test]
    fn a_conflict_a_phase_and_a_stall_are_events_once() {
        let condition = |type_: &str, status: &str, reason: &str| {
            json!({"type": type_, "status": status, "reason": reason, "message": "why",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let before = status(json!({"phase": "Ready"}));
        let after = status(json!({"phase": "Failed", "message": "no", "conditions": [
            condition("ConflictsResolved", "False", "ConflictsFound"),
            condition("Stalled", "True", "NameConflict")]}));

        assert_eq!(
            reasons(&before, &after),
            [
                EventReason::NameConflict,
                EventReason::ConflictDetected,
                EventReason::PhaseChanged
            ]
        );
        assert_eq!(reasons(&after, &after), []);
        let server = |value: Value| serde_json::from_value(value).unwrap();
        let unresolved = server(json!({"phase": "Unhealthy", "conditions": [
            condition("ReferencesResolved", "False", "ContainerCannotStart"),
            condition("Stalled", "True", "InvalidUrl")]}));
        let found = of_server(&server(json!({"phase": "Pending"})), &unresolved);
        let words: Vec<EventReason> = found.iter().map(|h| h.reason).collect();
        assert_eq!(
            words,
            [
                EventReason::InvalidSpec,
                EventReason::ReferenceUnresolved,
                EventReason::PhaseChanged
            ]
        );
    }
}
