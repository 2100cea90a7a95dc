//! Shared makers of values.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use vmcp_core::catalog::{Catalog, Entry};
use vmcp_core::health::{
    CallOutcome, Dialect, Listed, Outcome, Policy, ProbeFailure, ProbeReason, SessionMode, Step,
    Wire,
};
use vmcp_core::mcp::{Era, ProtocolVersion};

/// Cases for the units that decide: health machine, backoff, merge, diff, phase.
pub const MANY: u32 = 100_000;
/// Cases for the units that read and write.
pub const SOME: u32 = 20_000;

/// Failures print their input; no files are left beside the sources.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub fn dialect() -> Dialect {
    Dialect {
        era: Era::Legacy,
        version: ProtocolVersion::LATEST_LEGACY,
        wire: Wire::StreamableHttp,
        sessions: SessionMode::Stateful,
    }
}

pub fn healthy() -> Outcome {
    healthy_after(Duration::from_millis(5), Listed::Yes)
}

pub fn healthy_after(latency: Duration, listed: Listed) -> Outcome {
    Outcome::Healthy {
        latency,
        dialect: dialect(),
        server: None,
        listed,
    }
}

pub fn failure(reason: ProbeReason, step: Step, message: &str) -> ProbeFailure {
    ProbeFailure {
        reason,
        step,
        http_status: None,
        message: message.to_owned(),
    }
}

pub fn refused() -> ProbeFailure {
    failure(
        ProbeReason::ConnectRefused,
        Step::Connect,
        "connection refused",
    )
}

pub fn http_500() -> ProbeFailure {
    ProbeFailure {
        http_status: Some(500),
        ..failure(
            ProbeReason::HttpStatus,
            Step::Initialize,
            "initialize answered HTTP 500",
        )
    }
}

pub fn unauthorized() -> ProbeFailure {
    ProbeFailure {
        http_status: Some(401),
        ..failure(
            ProbeReason::AuthRequired,
            Step::Initialize,
            "initialize answered HTTP 401",
        )
    }
}

pub fn failures() -> impl Strategy<Value = ProbeFailure> {
    prop_oneof![
        Just(refused()),
        Just(http_500()),
        Just(failure(ProbeReason::DnsFailed, Step::Dns, "no such host")),
        Just(failure(
            ProbeReason::ConnectTimeout,
            Step::Connect,
            "no answer to connect"
        )),
        Just(failure(
            ProbeReason::HandshakeTimeout,
            Step::Ping,
            "ping had no answer"
        )),
        Just(failure(
            ProbeReason::ProtocolError,
            Step::Discover,
            "a page of HTML"
        )),
    ]
}

pub fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        2 => Just(healthy()),
        1 => Just(healthy_after(Duration::from_secs(4), Listed::Yes)),
        1 => Just(healthy_after(Duration::from_millis(1), Listed::No)),
        4 => failures().prop_map(Outcome::Failed),
        1 => Just(Outcome::ListFailed {
            failure: failure(ProbeReason::ListFailed, Step::List, "tools/list answered HTTP 500"),
            dialect: dialect(),
            server: None,
        }),
        1 => Just(Outcome::AuthRequired(unauthorized())),
        1 => Just(Outcome::AuthFailed(ProbeFailure {
            reason: ProbeReason::AuthFailed,
            ..unauthorized()
        })),
        1 => proptest::option::of(0_u64..1_000).prop_map(|seconds| Outcome::RateLimited {
            retry_after: seconds.map(Duration::from_secs)
        }),
        1 => Just(Outcome::Cancelled),
    ]
}

pub fn call_outcomes() -> impl Strategy<Value = CallOutcome> {
    prop_oneof![
        Just(CallOutcome::Ok),
        Just(CallOutcome::ToolError),
        Just(CallOutcome::Cancelled),
        failures().prop_map(CallOutcome::Failed),
    ]
}

pub fn policies() -> impl Strategy<Value = Policy> {
    (
        1_u64..60,
        1_u32..6,
        1_u32..4,
        proptest::option::of(1_u64..5),
    )
        .prop_map(
            |(period, failure_threshold, success_threshold, degraded)| Policy {
                period: Duration::from_secs(period),
                failure_threshold,
                success_threshold,
                degraded_above: degraded.map(Duration::from_secs),
                ..Policy::default()
            },
        )
}

/// One thing that happens to a machine, and how long after the one before.
#[derive(Clone, Debug)]
pub enum Event {
    Probe(Outcome),
    Call(CallOutcome),
}

pub fn histories(longest: usize) -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        2 => outcomes().prop_map(Event::Probe),
        1 => call_outcomes().prop_map(Event::Call),
    ];
    proptest::collection::vec((0_u64..20_000, event), 0..longest)
}

pub fn tool(name: &str) -> Entry {
    tool_with(name, "1")
}

/// A tool with something in it that a reformatting would change.
pub fn tool_with(name: &str, body: &str) -> Entry {
    let raw = format!(
        r#"{{ "x":{body}.10,"name" : {},"inputSchema":{{}} }}"#,
        quoted(name)
    );
    Entry {
        name: name.into(),
        raw: raw.into(),
    }
}

pub fn catalog(names: &[&str]) -> Catalog {
    Catalog::new(names.iter().map(|name| tool(name)).collect())
}

pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub fn arc(text: &str) -> Arc<str> {
    text.into()
}
