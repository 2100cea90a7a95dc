//! The report that the live object holds.
//!
//! Owns the way back from a status to a report, so that "changed" always means "differs from the
//! live object" and never "differs from what I wrote last". Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use vmcp_core::health::{ProbeReason, State};
use vmcp_core::mcp::{ProtocolVersion, ServerInfo};
use vmcp_core::report::{Phase, Report, ReportCondition, ReportedBackend, Truth};
use vmcp_crds::condition::{MAX_MESSAGE, clip};
use vmcp_crds::mcpserver::{ServerInfo as SpecServerInfo, Transport};
use vmcp_crds::phase::{BackendState, VirtualPhase};
use vmcp_crds::virtualmcpserver::DiscoveredBackend;
use vmcp_crds::{VirtualMCPServer, labels};

/// What is published now, in the words of `current`; `None` where nothing of ours is, or something
/// that is not a report.
pub(super) fn published(live: &VirtualMCPServer, current: &Report) -> Option<Report> {
    let status = live.status.as_ref()?;
    let managed = live.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some(labels::FIELD_MANAGER_STATUS)
            && entry.subresource.as_deref() == Some("status")
    });
    if !managed {
        return None;
    }
    let conditions = current
        .conditions
        .iter()
        .map(|now| condition(&status.conditions, now));
    let generation = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .and_then(|condition| condition.observed_generation)?;
    let backends = status.discovered_backends.iter().map(backend);
    Some(Report {
        observed_generation: generation,
        phase: phase(status.phase?),
        message: status.message.clone().unwrap_or_default(),
        backends: status.backends.clone().unwrap_or_default(),
        backend_count: count(status.backend_count),
        ready_backend_count: count(status.ready_backend_count),
        tool_count: count(status.tool_count),
        discovered_backends: backends.collect(),
        conditions: conditions.collect::<Option<_>>()?,
    })
}

/// The current report as this object should hold it: cut to what the schema accepts, and a state
/// that did not change keeps the date that is published, whoever wrote it.
pub(super) fn fitted(live: &VirtualMCPServer, mut current: Report) -> Report {
    let status = live.status.as_ref();
    for condition in &mut current.conditions {
        condition.message = clip(&condition.message, MAX_MESSAGE);
    }
    for now in &mut current.discovered_backends {
        if let Some(info) = &mut now.server_info {
            let clipped = SpecServerInfo::clipped(&info.name, &info.version);
            (info.name, info.version) = (clipped.name, clipped.version);
        }
        let mut entries = status
            .into_iter()
            .flat_map(|status| &status.discovered_backends);
        let same = entries.find(|entry| {
            entry.name == now.name && entry.uid == now.uid && state(entry.state) == now.state
        });
        let date = same.and_then(|entry| entry.last_transition_time.as_ref());
        now.last_transition_unix_ms = match date {
            Some(time) => time.0.as_millisecond(),
            // The API has whole seconds.
            None => now.last_transition_unix_ms / 1000 * 1000,
        };
    }
    current
}

fn condition(published: &[Condition], now: &ReportCondition) -> Option<ReportCondition> {
    let old = published.iter().find(|old| old.type_ == now.kind)?;
    let status = match old.status.as_str() {
        "True" => Truth::True,
        "False" => Truth::False,
        _ => Truth::Unknown,
    };
    Some(ReportCondition {
        kind: now.kind,
        status,
        reason: if old.reason == now.reason {
            now.reason
        } else {
            ""
        },
        message: old.message.clone(),
    })
}

fn backend(entry: &DiscoveredBackend) -> ReportedBackend {
    ReportedBackend {
        name: entry.name.clone(),
        uid: entry.uid.clone(),
        url: entry.url.clone(),
        transport: entry.transport.map_or_else(String::new, transport),
        state: state(entry.state),
        reason: entry.reason.as_deref().and_then(ProbeReason::parse),
        message: entry.message.clone().unwrap_or_default(),
        consecutive_failures: entry
            .consecutive_failures
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
        protocol_version: entry
            .protocol_version
            .as_deref()
            .and_then(ProtocolVersion::parse),
        server_info: entry.server_info.as_ref().map(|info| ServerInfo {
            name: info.name.clone(),
            version: info.version.clone(),
        }),
        tools: count(entry.tools),
        catalog_hash: entry.catalog_hash.clone(),
        last_transition_unix_ms: entry
            .last_transition_time
            .as_ref()
            .map_or(0, |time| time.0.as_millisecond()),
    }
}

fn transport(transport: Transport) -> String {
    transport.as_str().to_owned()
}

fn count(value: Option<i32>) -> usize {
    value
        .and_then(|value| usize::try_from(value).ok())
        .unwrap_or_default()
}

fn phase(phase: VirtualPhase) -> Phase {
    match phase {
        VirtualPhase::Pending => Phase::Pending,
        VirtualPhase::Ready => Phase::Ready,
        VirtualPhase::Degraded => Phase::Degraded,
        VirtualPhase::Failed => Phase::Failed,
    }
}

fn state(state: BackendState) -> State {
    match state {
        BackendState::Pending => State::Pending,
        BackendState::Ready => State::Ready,
        BackendState::Degraded => State::Degraded,
        BackendState::Unhealthy => State::Unhealthy,
        BackendState::AuthRequired => State::AuthRequired,
    }
}
