//! What these tests share: addresses, a prober with a memory, a caller with a deadline.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which stop at the first wrong value"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::sync::mpsc;

use vmcp::backend::Upstream;
use vmcp::backend::announce::Announcer;
use vmcp::backend::probe::{self, CheckReport, ProbeMemory, ProbeTarget, Want};
use vmcp::gateway::port::{
    BackendPort, KnownMeta, Observation, Origin, Repeat, SessionScope, Target, UpstreamError,
    UpstreamEvent, UpstreamEvents, UpstreamRequest,
};
use vmcp::near::Near;
use vmcp::snapshot::{Endpoint, ProtocolChoice, SessionLoss, Transport};
use vmcp_core::health::{Dialect, Outcome, ProbeFailure};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::mcp::ProtocolVersion;
use vmcp_tests::backend::Backend;
use vmcp_tests::eventually::eventually;

/// Longer than anything here takes; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Before a stream is taken up again, whatever the server says.
pub const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// The default deadline of a check.
pub const CHECK: Duration = Duration::from_secs(5);

pub fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.parse().expect("a URL"),
        host_header: None,
        transport: Transport::StreamableHttp,
        protocol: ProtocolChoice::Auto,
        connect_timeout: Duration::from_secs(5),
        call_timeout: Duration::from_secs(30),
        session_loss: SessionLoss::default(),
        pods: vmcp::pods::Pods::default(),
    }
}

/// What the gateway's prober is to one backend: a target and a memory.
#[derive(Debug)]
pub struct Prober {
    pub target: ProbeTarget,
    pub memory: ProbeMemory,
}

impl Prober {
    pub fn new(url: &str) -> Self {
        Self::at(endpoint(url))
    }

    pub fn at(endpoint: Endpoint) -> Self {
        let target = ProbeTarget {
            endpoint: Arc::new(endpoint),
        };
        Self {
            target,
            memory: ProbeMemory::default(),
        }
    }

    pub async fn cycle(&mut self, want: Want) -> CheckReport {
        self.cycle_within(want, CHECK).await
    }

    pub async fn cycle_within(&mut self, want: Want, deadline: Duration) -> CheckReport {
        let memory = std::mem::take(&mut self.memory);
        let mut report = probe::check(&self.target, memory, want, deadline).await;
        self.memory = std::mem::take(&mut report.memory);
        report
    }

    pub async fn end(&mut self) {
        probe::end(&self.target, std::mem::take(&mut self.memory)).await;
    }
}

pub fn dialect(outcome: &Outcome) -> Dialect {
    match outcome {
        Outcome::Healthy { dialect, .. } => *dialect,
        other => panic!("not healthy: {other:?}"),
    }
}

pub fn failure(outcome: &Outcome) -> &ProbeFailure {
    match outcome {
        Outcome::Failed(failure)
        | Outcome::AuthRequired(failure)
        | Outcome::AuthFailed(failure)
        | Outcome::ListFailed { failure, .. } => failure,
        other => panic!("no failure: {other:?}"),
    }
}

pub fn tool_names(report: &CheckReport) -> Vec<String> {
    let Some(catalog) = &report.catalog else {
        panic!("no catalogue: {:?}", report.outcome)
    };
    catalog
        .tools
        .iter()
        .map(|tool| tool.name.to_string())
        .collect()
}

/// Waits until no connection is open at the backend.
pub async fn all_closed(backend: &Backend) -> Result<()> {
    eventually("every connection closed", PATIENCE, || async {
        let open = backend.connections_open();
        ensure!(open == 0, "{open} connections open");
        Ok(())
    })
    .await
}

/// Waits until exactly `expected` sessions are open at the backend.
pub async fn sessions(backend: &Backend, expected: usize) -> Result<()> {
    eventually("the number of open sessions", PATIENCE, || async {
        let open = backend.sessions_open();
        ensure!(open == expected, "{open} sessions open, not {expected}");
        Ok(())
    })
    .await
}

/// What the gateway is to one backend.
#[derive(Debug)]
pub struct Caller {
    pub upstream: Upstream,
    pub target: Target,
    pub observations: mpsc::Receiver<Observation>,
    /// One for each time that a list was said to have changed.
    pub announced: mpsc::Receiver<Generation>,
}

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub tool: &'a str,
    pub arguments: &'a str,
    pub scope: SessionScope,
    pub repeat: Repeat,
    pub deadline: Duration,
}

impl<'a> Ask<'a> {
    pub fn tool(tool: &'a str, arguments: &'a str) -> Self {
        Self {
            tool,
            arguments,
            scope: SessionScope::Client("client-a".into()),
            repeat: Repeat::IfUnsent,
            deadline: PATIENCE,
        }
    }

    pub fn echo() -> Self {
        Self::tool("echo", r#"{"text":"hi"}"#)
    }

    pub fn by(self, client: &str) -> Self {
        Self {
            scope: SessionScope::Client(client.into()),
            ..self
        }
    }

    pub fn leased(self) -> Self {
        Self {
            scope: SessionScope::Lease,
            ..self
        }
    }

    pub fn freely(self) -> Self {
        Self {
            repeat: Repeat::Freely,
            ..self
        }
    }

    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

impl Caller {
    /// Probes the backend first, as the gateway does.
    pub async fn new(backend: &Backend) -> Self {
        let mut prober = Prober::new(&backend.url());
        let report = prober.cycle(Want::Liveness).await;
        let dialect = dialect(&report.outcome);
        prober.end().await;
        backend.clear_log();
        Self::with(prober.target.endpoint, Some(dialect))
    }

    pub fn with(endpoint: Arc<Endpoint>, dialect: Option<Dialect>) -> Self {
        let (sender, observations) = mpsc::channel(1024);
        let (announce, announced) = mpsc::channel(1024);
        let announcer = Announcer::new(move |_, generation| {
            announce.try_send(generation).expect("room");
        });
        let target = Target {
            id: BackendId::new("b", "uid-b"),
            generation: Generation(1),
            endpoint,
            dialect,
        };
        Self {
            upstream: Upstream::new(sender, announcer),
            target,
            observations,
            announced,
        }
    }

    pub fn request(&self, ask: &Ask<'_>) -> UpstreamRequest {
        let params = format!(r#"{{"name":"{}","arguments":{}}}"#, ask.tool, ask.arguments);
        UpstreamRequest {
            target: Near::of(self.target.clone()),
            scope: ask.scope.clone(),
            origin: Origin::Client,
            method: "tools/call".into(),
            params: Some(params.into()),
            known_meta: KnownMeta::Unread,
            name: Some(ask.tool.into()),
            client_capabilities: None,
            client_info: None,
            client_version: ProtocolVersion::LATEST_LEGACY,
            log_level: None,
            param_headers: Vec::new(),
            repeat: ask.repeat,
            principal: None,
            deadline: Instant::now() + ask.deadline,
        }
    }

    pub async fn send(&self, ask: &Ask<'_>) -> Result<UpstreamEvents, UpstreamError> {
        self.upstream.send(Arc::new(self.request(ask))).await
    }

    /// The whole call: notifications, then the raw result.
    pub async fn call(&self, ask: &Ask<'_>) -> Result<(Vec<String>, String)> {
        let mut events = self.send(ask).await?;
        let mut notifications = Vec::new();
        while let Some(event) = events.recv().await {
            match event? {
                UpstreamEvent::Notification(text) => notifications.push(text.to_string()),
                // Dropped without an answer.
                UpstreamEvent::Request(_) => {}
                UpstreamEvent::Response(Ok(result)) => {
                    return Ok((notifications, result.to_string()));
                }
                UpstreamEvent::Response(Err(error)) => return Err(error.into()),
            }
        }
        Err(anyhow!("the events ended without a response"))
    }

    pub async fn result(&self, ask: &Ask<'_>) -> String {
        self.call(ask).await.expect("a result").1
    }

    /// The error of a call that must not succeed.
    pub async fn error(&self, ask: &Ask<'_>) -> UpstreamError {
        let mut events = match self.send(ask).await {
            Ok(events) => events,
            Err(error) => return error,
        };
        loop {
            match events.recv().await {
                Some(Err(error)) => return error,
                Some(Ok(UpstreamEvent::Notification(_))) => {}
                other => panic!("an error was due: {other:?}"),
            }
        }
    }
}
