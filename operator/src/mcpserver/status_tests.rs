//! The truth table of an MCPServer (API document), row by row.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use vmcp_crds::condition::{MCP_SERVER_TYPES, find};
use vmcp_crds::mcpserver::MCPServerStatus;
use vmcp_crds::virtualmcpserver::DiscoveredBackend;

use super::status;
use crate::ensured::{Ensured, Hindrance};
use crate::mcpserver::facts::{Availability, Facts, WorkloadFacts};
use crate::mcpserver::validate::{ValidatedServer, validate};
use crate::pods::StartProblem;
use vmcp_crds::reason::Reason;

const WORKLOAD: &str = r#"{"workload": {"image": "x"}}"#;
const STOPPED: &str = r#"{"workload": {"image": "x", "replicas": 0}}"#;
const REMOTE: &str = r#"{"remote": {"url": "https://a.example"}}"#;
const NO_URL: &str = r#"{"remote": {"url": "https://"}}"#;

fn server(spec: &str) -> ValidatedServer {
    let spec: Value = serde_json::from_str(spec).unwrap();
    let object = json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
        "metadata": {"name": "git", "namespace": "team", "uid": "1", "generation": 7},
        "spec": spec,
    });
    validate(&serde_json::from_value(object).unwrap()).unwrap()
}

fn report(state: &str, reason: &str, failures: i32, second: i64) -> DiscoveredBackend {
    let since = Timestamp::from_second(second).unwrap().to_string();
    serde_json::from_value(json!({
        "name": "git", "uid": "1", "state": state, "reason": reason,
        "message": format!("{reason} happened"), "consecutiveFailures": failures,
        "tools": 3, "protocolVersion": "2025-11-25", "lastTransitionTime": since,
        "serverInfo": {"name": "git-server", "version": "1"},
    }))
    .unwrap()
}

fn workload(availability: Availability, ready: i32) -> WorkloadFacts {
    WorkloadFacts {
        replicas: 1,
        ready_replicas: ready,
        availability,
        ..WorkloadFacts::default()
    }
}

fn now() -> Time {
    Time(Timestamp::from_second(100).unwrap())
}

/// The status of a server that these gateways observe.
fn of(
    spec: &str,
    workload: Option<WorkloadFacts>,
    reports: &[DiscoveredBackend],
) -> MCPServerStatus {
    let server = server(spec);
    let facts = Facts {
        server: &server,
        workload,
        reports,
        hindrance: None,
    };
    status(&facts, None, now())
}

/// Phase, and `status/reason` of conditions (`-` for an absent one).
fn row(status: &MCPServerStatus, types: &[&str]) -> Vec<String> {
    let phase = status.phase.unwrap().to_string();
    let said = types.iter().map(|type_| {
        find(&status.conditions, type_).map_or("-".to_owned(), |condition| {
            format!("{}/{}", condition.status, condition.reason)
        })
    });
    std::iter::once(phase).chain(said).collect()
}

/// What kstatus says of the object: the rules that Flux and `helm --wait` decide by.
fn kstatus(status: &MCPServerStatus) -> &'static str {
    let says = |type_: &str| find(&status.conditions, type_).map(|c| c.status.as_str());
    if says("Stalled") == Some("True") {
        return "Failed";
    }
    if says("Reconciling") == Some("True") {
        return "InProgress";
    }
    match says("Ready") {
        Some("False" | "Unknown") => "InProgress",
        _ => "Current",
    }
}

/// API, truth table: "no gateway observes it, service or remote".
#[test]
fn a_remote_that_nobody_observes_has_no_ready_and_is_current() {
    let status = of(REMOTE, None, &[]);

    assert_eq!(
        row(&status, &["Ready", "Reachable", "WorkloadAvailable"]),
        [
            "Pending",
            "-",
            "Unknown/NotObserved",
            "Unknown/NotApplicable"
        ]
    );
    assert_eq!(kstatus(&status), "Current");
    let message = status.message.unwrap();
    assert!(
        message.contains("no running VirtualMCPServer selects it"),
        "{message}"
    );
    assert_eq!(status.observers, Some(0));
    assert_eq!(status.observed_generation, Some(7));
}

/// API, truth table: "no gateway observes it, workload".
#[test]
fn a_workload_that_nobody_observes_is_as_ready_as_its_pods() {
    let up = of(WORKLOAD, Some(workload(Availability::Available, 1)), &[]);
    let starting = of(WORKLOAD, Some(workload(Availability::Starting, 0)), &[]);

    assert_eq!(
        row(&up, &["Ready", "WorkloadAvailable", "Reachable"]),
        [
            "Ready",
            "True/WorkloadAvailable",
            "True/WorkloadAvailable",
            "Unknown/NotObserved"
        ]
    );
    assert_eq!(kstatus(&up), "Current");
    assert_eq!(
        row(&starting, &["Ready", "WorkloadAvailable"]),
        [
            "Pending",
            "False/WorkloadUnavailable",
            "False/WorkloadUnavailable"
        ]
    );
    assert_eq!(kstatus(&starting), "InProgress");
}

/// What gateways say, what the status says then, and what kstatus makes of it.
type Case<'a> = (&'a [DiscoveredBackend], &'a str, &'a str);

/// API, truth table: observers that all agree, and those that do not. R2.4, R0.1: the largest
/// counter, the newest message with the HTTP status in it.
#[test]
fn the_phase_follows_from_what_all_observers_say() {
    let good = report("Ready", "", 0, 10);
    let bad = report("Unhealthy", "HttpStatus", 4, 20);
    let worse = report("Unhealthy", "ConnectRefused", 9, 15);
    let locked = report("AuthRequired", "CredentialMissing", 1, 12);
    let slow = report("Degraded", "Slow", 0, 12);
    let new = report("Pending", "Pending", 0, 30);
    let cases: [Case<'_>; 8] = [
        (
            &[good.clone(), good.clone()],
            "Ready True/AllObserversReady True/Reachable True/Authenticated",
            "Current",
        ),
        (
            &[good.clone(), bad.clone()],
            "Degraded True/ObserversDisagree False/HttpStatus Unknown/Pending",
            "Current",
        ),
        (
            &[worse.clone(), bad.clone()],
            "Unhealthy False/HttpStatus False/HttpStatus Unknown/Pending",
            "InProgress",
        ),
        (
            std::slice::from_ref(&locked),
            "AuthRequired False/CredentialMissing True/Reachable False/CredentialMissing",
            "InProgress",
        ),
        (
            &[locked.clone(), worse.clone()],
            "Unhealthy False/ConnectRefused False/ConnectRefused False/CredentialMissing",
            "InProgress",
        ),
        (
            &[slow],
            "Degraded True/Degraded True/Reachable True/Authenticated",
            "Current",
        ),
        (
            std::slice::from_ref(&new),
            "Pending Unknown/Pending Unknown/Pending Unknown/Pending",
            "InProgress",
        ),
        (
            &[good, new.clone()],
            "Ready True/AllObserversReady True/Reachable True/Authenticated",
            "Current",
        ),
    ];
    for (reports, expected, verdict) in cases {
        let status = of(REMOTE, None, reports);
        let found = row(&status, &["Ready", "Reachable", "Authenticated"]);
        assert_eq!(found.join(" "), expected);
        assert_eq!(kstatus(&status), verdict, "{expected}");
    }

    let failing = of(REMOTE, None, &[worse, bad]);
    assert_eq!(failing.consecutive_failures, Some(9));
    assert_eq!(failing.message.as_deref(), Some("HttpStatus happened"));
    assert_eq!((failing.tools, failing.observers), (Some(3), Some(2)));
    assert_eq!(failing.server_info.unwrap().name, "git-server");
}

/// R0.6: the first good check clears the message.
#[test]
fn a_server_that_is_well_again_has_no_message() {
    let status = of(REMOTE, None, &[report("Ready", "", 0, 10)]);

    assert_eq!(status.message, None);
    assert_eq!(status.consecutive_failures, Some(0));
}

/// API, truth table: "replicas 0" and "container cannot start".
#[test]
fn stopped_is_ready_and_a_container_that_cannot_start_is_not() {
    let refused = WorkloadFacts {
        start_problem: Some(StartProblem {
            reason: Reason::ContainerCannotStart,
            message: "secret \"token\" not found".to_owned(),
        }),
        ..workload(Availability::Starting, 0)
    };
    let unhealthy = report("Unhealthy", "ConnectRefused", 5, 10);

    let stopped = of(
        STOPPED,
        Some(workload(Availability::Available, 0)),
        std::slice::from_ref(&unhealthy),
    );
    let broken = of(WORKLOAD, Some(refused.clone()), &[unhealthy]);

    assert_eq!(
        row(&stopped, &["Ready", "WorkloadAvailable"]),
        ["Stopped", "True/Stopped", "False/Stopped"]
    );
    assert_eq!(kstatus(&stopped), "Current");
    assert_eq!(
        row(
            &broken,
            &["Ready", "WorkloadAvailable", "ReferencesResolved"]
        ),
        [
            "Unhealthy",
            "False/ContainerCannotStart",
            "False/ContainerCannotStart",
            "False/ContainerCannotStart"
        ]
    );
    assert_eq!(kstatus(&broken), "InProgress");
    assert!(broken.message.unwrap().contains("token"));

    let one_serves = WorkloadFacts {
        ready_replicas: 1,
        ..refused
    };
    let partly = of(WORKLOAD, Some(one_serves), &[report("Ready", "", 0, 10)]);
    assert_eq!(
        row(&partly, &["Ready"]),
        ["Ready", "True/AllObserversReady"]
    );
}

/// Build 8, Build 4: what a schema cannot see stalls; what passes by itself does not.
#[test]
fn a_spec_that_cannot_work_is_stalled_and_says_what_to_do() {
    let nowhere = of(NO_URL, None, &[]);
    assert_eq!(
        row(&nowhere, &["Ready", "Stalled", "Reconciling"]),
        [
            "Unhealthy",
            "False/InvalidUrl",
            "True/InvalidUrl",
            "False/Reconciled"
        ]
    );
    assert_eq!(kstatus(&nowhere), "Failed");
    assert_eq!(nowhere.url, None);

    let server = server(WORKLOAD);
    let with = |ensured| {
        let hindrance = Hindrance::of("Service", "mcp-git", &ensured);
        let facts = Facts {
            server: &server,
            workload: Some(workload(Availability::Starting, 0)),
            reports: &[],
            hindrance: hindrance.as_ref(),
        };
        status(&facts, None, now())
    };
    assert_eq!(
        row(
            &with(Ensured::Stranger),
            &["Ready", "Stalled", "Reconciling"]
        ),
        [
            "Unhealthy",
            "False/NameConflict",
            "True/NameConflict",
            "False/Reconciled"
        ]
    );
    let waiting = with(Ensured::Leaving);
    assert_eq!(
        row(&waiting, &["Ready", "Stalled", "Reconciling"]),
        [
            "Pending",
            "Unknown/WaitingForDeletion",
            "False/Reconciled",
            "True/WaitingForDeletion"
        ]
    );
    assert_eq!(kstatus(&waiting), "InProgress");
}

#[path = "status_held_tests.rs"]
mod held;
