//! The served facts as an apply carries them.
//!
//! Owns the body of the write: the whole group each time, because the server deletes an owned field
//! that is left out. Pure: dates come in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use vmcp_core::report::{Report, ReportCondition, ReportedBackend};
use vmcp_crds::{GROUP, VERSION, VirtualMCPServer, condition};

/// The apply of `report` onto `live`, at `now`.
pub(super) fn apply(live: &VirtualMCPServer, report: &Report, now: Timestamp) -> Value {
    let conditions = report.conditions.iter().map(|new| {
        let generation = report.observed_generation;
        json!({
            "type": new.kind,
            "status": new.status.as_str(),
            "reason": new.reason,
            "message": new.message,
            "observedGeneration": generation,
            "lastTransitionTime": since(live, new, now),
        })
    });
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "VirtualMCPServer",
        "metadata": {
            "name": live.metadata.name,
            "namespace": live.metadata.namespace,
            "resourceVersion": live.resource_version(),
        },
        "status": {
            "phase": report.phase.as_str(),
            "message": report.message,
            "backends": report.backends,
            "backendCount": report.backend_count,
            "readyBackendCount": report.ready_backend_count,
            "toolCount": report.tool_count,
            "conditions": conditions.collect::<Vec<_>>(),
            "discoveredBackends": report
                .discovered_backends
                .iter()
                .map(backend)
                .collect::<Vec<_>>(),
        },
    })
}

/// Changes if and only if the status of the condition does.
fn since(live: &VirtualMCPServer, new: &ReportCondition, now: Timestamp) -> Time {
    let conditions = live
        .status
        .as_ref()
        .map(|status| &status.conditions[..])
        .unwrap_or_default();
    condition::find(conditions, new.kind)
        .filter(|old| old.status == new.status.as_str())
        .map_or(Time(now), |old| old.last_transition_time.clone())
}

fn backend(backend: &ReportedBackend) -> Value {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            fields.insert(key.to_owned(), value);
        }
    };
    put("name", json!(backend.name));
    put("uid", json!(backend.uid));
    put("url", json!(backend.url));
    put("transport", json!(backend.transport));
    put("state", json!(backend.state.as_str()));
    // Written even where there is none: another manager's old reason would stay beside our state.
    put(
        "reason",
        json!(backend.reason.map_or("", |reason| reason.as_str())),
    );
    put("message", json!(backend.message));
    put("consecutiveFailures", json!(backend.consecutive_failures));
    put(
        "protocolVersion",
        json!(backend.protocol_version.map(|version| version.as_str())),
    );
    if let Some(info) = &backend.server_info {
        put(
            "serverInfo",
            json!({"name": info.name, "version": info.version}),
        );
    }
    put("tools", json!(backend.tools));
    put("catalogHash", json!(backend.catalog_hash));
    let date = Timestamp::from_millisecond(backend.last_transition_unix_ms);
    put("lastTransitionTime", json!(date.ok().map(Time)));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use vmcp_core::catalog::CatalogHash;
    use vmcp_core::health::{Observed, ProbeReason, State};
    use vmcp_core::id::BackendId;
    use vmcp_core::report::{self, BackendFacts, Configuration, FirstRound, Situation};

    use super::super::published::{fitted, published};
    use super::*;

    fn report(state: State, failures: u32) -> Report {
        let id = BackendId::new("one", "uid-1");
        let observed = Observed {
            state,
            reason: (failures > 0).then_some(ProbeReason::ConnectRefused),
            message: if failures > 0 {
                "connection refused".to_owned()
            } else {
                String::new()
            },
            consecutive_failures: failures,
            ..Observed::default()
        };
        let facts = BackendFacts {
            id: &id,
            url: Some("http://one/mcp"),
            transport: "streamable-http",
            observed: &observed,
            tools: 3,
            catalog_hash: Some(CatalogHash::default()),
            last_transition_unix_ms: 1_700_000_000_123,
        };
        let situation = Situation {
            observed_generation: 4,
            min_ready_backends: 1,
            first_round: FirstRound::Done,
            configuration: Configuration::Valid,
            conflicts: &[],
            tool_count: 3,
        };
        report::build(&[facts], &situation)
    }

    fn blank() -> VirtualMCPServer {
        let mut object = VirtualMCPServer::default();
        object.metadata.name = Some("all".to_owned());
        object
    }

    /// The live object after the server took an apply.
    fn after(live: &VirtualMCPServer, report: &Report, second: i64) -> VirtualMCPServer {
        let now = Timestamp::from_second(second).unwrap();
        let body = apply(live, report, now);
        let mut object = live.clone();
        object.status = serde_json::from_value(body["status"].clone()).unwrap();
        object.metadata.managed_fields = serde_json::from_value(json!([
            {"manager": "vmcp-status", "operation": "Apply", "subresource": "status"}
        ]))
        .unwrap();
        object
    }

    /// Decision 7: an unchanged world gives no second write, whatever the API rounds off.
    #[test]
    fn what_was_applied_reads_back_as_the_same_report() {
        let current = fitted(&blank(), report(State::Unhealthy, 3));

        let live = after(&blank(), &current, 100);

        let again = fitted(&live, report(State::Unhealthy, 3));
        assert_eq!(published(&live, &again), Some(again));
    }

    #[test]
    fn without_an_entry_of_our_manager_nothing_counts_as_published() {
        let current = fitted(&blank(), report(State::Ready, 0));
        let mut live = after(&blank(), &current, 100);

        live.metadata.managed_fields = None;

        assert_eq!(published(&live, &current), None);
    }

    /// Conditions: lastTransitionTime changes iff status changes.
    #[test]
    fn the_date_of_a_condition_changes_with_its_status_only() {
        let date = |object: &VirtualMCPServer, kind: &str| {
            let status = object.status.as_ref().unwrap();
            condition::find(&status.conditions, kind)
                .unwrap()
                .last_transition_time
                .0
                .as_second()
        };
        let first = after(&blank(), &report(State::Ready, 0), 100);

        let second = after(&first, &report(State::Degraded, 0), 200);

        assert_eq!(date(&second, "Ready"), 100, "still True, another reason");
        assert_eq!(date(&second, "BackendsReady"), 200);
    }

    /// Hand-over: a new writer does not move the date of a state that it did not see begin.
    #[test]
    fn a_new_writer_keeps_the_date_of_an_unchanged_state() {
        let live = after(&blank(), &fitted(&blank(), report(State::Ready, 0)), 100);
        let mut other = report(State::Ready, 0);
        other.discovered_backends[0].last_transition_unix_ms = 1_800_000_000_000;

        let fit = fitted(&live, other);

        assert_eq!(
            fit.discovered_backends[0].last_transition_unix_ms,
            1_700_000_000_000
        );
    }
}
