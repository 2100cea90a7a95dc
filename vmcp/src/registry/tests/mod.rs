//! The state, step by step: no clock, no task, no socket.

mod catalogue;
mod health;
mod membership;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use vmcp_core::backoff::Jitter;
use vmcp_core::catalog::{
    Catalog, CatalogPolicy, ConflictPolicy, ConflictStrategy, Entry, Kind, ToolRules,
};
use vmcp_core::health::{
    CallOutcome, Dialect, Listed, Outcome, Policy, ProbeFailure, ProbeReason, SessionMode,
    State as Health, Step, Wire,
};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::mcp::{Era, ProtocolVersion};
use vmcp_core::report::Phase;
use vmcp_core::time::Tick;

use super::*;
use crate::discovery::desired::{Blocked, Desired, DesiredBackend};
use crate::gateway::port::Observation;
use crate::metrics::Durations;
use crate::snapshot::{Admission, Endpoint};

/// A state with its time and everything that it asked for.
struct World {
    state: State,
    now: Tick,
    effects: Vec<Effect>,
}

impl World {
    fn new() -> Self {
        let state = State::new(Publication::default());
        Self {
            state,
            now: Tick(1_000_000),
            effects: Vec::new(),
        }
    }

    fn with(backends: &[DesiredBackend]) -> Self {
        let mut world = Self::new();
        world.discover(backends);
        world
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            jitter: Jitter::NONE,
        }
    }

    fn step(&mut self, event: Event) {
        self.state.step(event, self.moment(), &mut self.effects);
    }

    fn discover(&mut self, backends: &[DesiredBackend]) {
        self.step(Event::Discovered(Box::new(desired(backends))));
    }

    fn probe(&mut self, generation: u64, outcome: Outcome, tools: &[&str]) {
        self.probe_of("one", generation, outcome, tools);
    }

    fn probe_of(&mut self, name: &str, generation: u64, outcome: Outcome, tools: &[&str]) {
        let listed = matches!(
            outcome,
            Outcome::Healthy {
                listed: Listed::Yes,
                ..
            }
        );
        let probed = Probed {
            id: id(name),
            generation: Generation(generation),
            outcome,
            catalog: listed.then(|| catalog(tools)),
            durations: Durations::default(),
        };
        self.step(Event::Probed(Box::new(probed)));
    }

    fn call(&mut self, generation: u64, outcome: CallOutcome) {
        let seen = Observation {
            id: id("one"),
            generation: Generation(generation),
            outcome,
        };
        self.state.observe(&seen, self.moment(), &mut self.effects);
    }

    fn snapshot(&mut self) -> Snapshot {
        self.state.snapshot(self.now)
    }

    fn health(&mut self) -> Health {
        self.snapshot().backends[0].observed.state
    }

    fn advance(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn last_plan(&self) -> Plan {
        let plans = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Plan { plan, .. } | Effect::Attach { plan, .. } => Some(*plan),
            Effect::Detach { .. } => None,
        });
        plans.expect("a plan")
    }
}

fn id(name: &str) -> BackendId {
    BackendId::new(name, &format!("uid-{name}"))
}

fn endpoint(url: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint::plain(url))
}

fn backend(name: &str) -> DesiredBackend {
    let url = format!("http://{name}.test/mcp");
    DesiredBackend {
        id: id(name),
        key: url.clone(),
        prefix: None,
        target: Ok(endpoint(&url)),
        policy: Policy::default(),
        catalog_policy: CatalogPolicy::Keep,
        tools: ToolRules::default(),
        uri_prefixes: Vec::new(),
        service: Some(format!("svc-{name}").into()),
    }
}

fn desired(backends: &[DesiredBackend]) -> Desired {
    Desired {
        name: "all".into(),
        uid: "uid-all".into(),
        observed_generation: 1,
        backends: backends.to_vec(),
        conflict_policy: ConflictPolicy::default(),
        tools: ToolRules::default(),
        admission: Admission::default(),
        min_ready: 1,
        problems: Vec::new(),
    }
}

fn catalog(tools: &[&str]) -> Catalog {
    let entry = |name: &&str| Entry {
        name: (*name).into(),
        raw: tool(name).into(),
    };
    Catalog::new(tools.iter().map(entry).collect())
}

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

fn healthy() -> Outcome {
    Outcome::Healthy {
        latency: Duration::from_millis(3),
        dialect: Dialect {
            era: Era::Legacy,
            version: ProtocolVersion::LATEST_LEGACY,
            wire: Wire::StreamableHttp,
            sessions: SessionMode::Stateful,
        },
        server: None,
        listed: Listed::Yes,
    }
}

fn refused() -> Outcome {
    Outcome::Failed(failure(ProbeReason::ConnectRefused, Step::Connect))
}

fn failure(reason: ProbeReason, step: Step) -> ProbeFailure {
    ProbeFailure {
        reason,
        step,
        http_status: None,
        message: "no".to_owned(),
    }
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot
        .backends
        .iter()
        .map(|view| view.id.name.to_string())
        .collect()
}

fn tools(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<String> = snapshot
        .lists
        .routes
        .iter(Kind::Tools)
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort();
    names
}
