//! A gateway in this process over backends that a test plays itself.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which stop at the first wrong value"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use vmcp::clock::Clock;
use vmcp::discovery::desired::{Desired, DesiredBackend};
use vmcp::gateway::Gateway;
use vmcp::gateway::message::{Accepts, Answer, EndpointPath, Facts};
use vmcp::gateway::meter::NoMeter;
use vmcp::gateway::port::{
    BackendPort, HandedUpstream, UpstreamError, UpstreamEvent, UpstreamEvents, UpstreamListen,
    UpstreamRequest, UpstreamStream,
};
use vmcp::gateway::seal::{KEY_LEN, Sealer};
use vmcp::gateway::session::Sessions;
use vmcp::metrics::Durations;
use vmcp::registry::{Effect, Event, Probed, Registry, Runtime};
use vmcp::snapshot::{Admission, Endpoint, ProtocolChoice, SessionLoss, SnapshotReader, Transport};
use vmcp_core::catalog::{Catalog, CatalogPolicy, ConflictPolicy, ToolRules};
use vmcp_core::health::{Dialect, Listed, Outcome, Policy, SessionMode, Wire};
use vmcp_core::id::{BackendId, Generation};
use vmcp_core::jsonrpc::RpcError;
use vmcp_core::mcp::{Era, ProtocolVersion};
use vmcp_core::session::Owner;

/// What the gateway asked of its backends, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// With these resources.
    Listen(Vec<String>),
    Send(String),
    End,
}

type Sender = mpsc::Sender<Result<UpstreamEvent, UpstreamError>>;

/// Backends that do what a test says.
#[derive(Debug)]
pub struct Port {
    said: Mutex<Vec<Said>>,
    /// Standing streams, oldest first.
    streams: Mutex<Vec<Sender>>,
    /// Each answer takes one.
    pub sends: Arc<Semaphore>,
    pub listens: Arc<Semaphore>,
    pub ends: Arc<Semaphore>,
    /// Answers with this instead of a result, one after the other.
    pub refusals: Mutex<VecDeque<RpcError>>,
}

impl Default for Port {
    /// Everything is answered at once.
    fn default() -> Self {
        let open = || Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self {
            said: Mutex::default(),
            streams: Mutex::default(),
            sends: open(),
            listens: open(),
            ends: open(),
            refusals: Mutex::default(),
        }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing more is answered until a permit is added.
pub fn shut(gate: &Semaphore) {
    gate.forget_permits(Semaphore::MAX_PERMITS);
}

async fn pass(gate: Arc<Semaphore>) {
    gate.acquire_owned().await.expect("never closed").forget();
}

impl Port {
    pub fn said(&self) -> Vec<Said> {
        lock(&self.said).clone()
    }

    pub fn count(&self, what: &Said) -> usize {
        self.said().iter().filter(|said| *said == what).count()
    }

    /// Breaks every standing stream.
    pub fn break_streams(&self) {
        lock(&self.streams).clear();
    }

    fn note(&self, said: Said) {
        lock(&self.said).push(said);
    }
}

impl BackendPort for Port {
    fn send(
        &self,
        request: Arc<UpstreamRequest>,
    ) -> BoxFuture<'static, Result<UpstreamEvents, UpstreamError>> {
        self.note(Said::Send(request.method.to_string()));
        let gate = Arc::clone(&self.sends);
        let refusal = lock(&self.refusals).pop_front();
        Box::pin(async move {
            pass(gate).await;
            let (sender, events) = mpsc::channel(1);
            let answer = refusal.map_or_else(|| Ok("{}".into()), Err);
            let _ = sender.try_send(Ok(UpstreamEvent::Response(answer)));
            Ok(events.into())
        })
    }

    fn listen(
        &self,
        listen: UpstreamListen,
    ) -> BoxFuture<'static, Result<UpstreamStream, UpstreamError>> {
        let wanted = listen.resources.iter().map(ToString::to_string);
        self.note(Said::Listen(wanted.collect()));
        let (sender, events) = mpsc::channel(1);
        lock(&self.streams).push(sender);
        let gate = Arc::clone(&self.listens);
        Box::pin(async move {
            pass(gate).await;
            Ok(UpstreamStream {
                events: events.into(),
                taken: listen.resources.into_iter().collect(),
            })
        })
    }

    fn export_sessions(&self, _session: &str) -> HandedUpstream {
        HandedUpstream::default()
    }

    fn import_sessions(&self, _session: Arc<str>, _handed: HandedUpstream) -> bool {
        true
    }

    fn sessions_lost(&self, _session: Arc<str>) {}

    fn notify(&self, _session: &str, _method: &str, _params: Option<&str>) {}

    fn end_session(&self, _session: Arc<str>) -> BoxFuture<'static, ()> {
        self.note(Said::End);
        Box::pin(pass(Arc::clone(&self.ends)))
    }
}

/// Checks nothing: outcomes are a test's own.
struct Idle;

impl Runtime for Idle {
    fn apply(&mut self, _effect: Effect) {}
}

/// A gateway with at most one backend, `one`, which serves every `x:` resource.
pub struct World {
    pub gateway: Arc<Gateway>,
    pub port: Arc<Port>,
    pub stopping: CancellationToken,
    events: vmcp::registry::Events,
    snapshots: SnapshotReader,
    generation: u64,
    _registry: DropGuard,
}

impl World {
    pub async fn new(era: Era) -> Self {
        Self::with(era, |sessions| sessions).await
    }

    pub async fn with(era: Era, sessions: impl FnOnce(Sessions) -> Sessions) -> Self {
        let sealer = Sealer::random().expect("randomness");
        let table = sessions(Sessions::new(Arc::new(sealer), Owner::default()));
        Self::of(era, table).await
    }

    /// One replica of several.
    pub async fn replica(pod: &str, sessions: impl FnOnce(Sessions) -> Sessions) -> Self {
        let sealer = Sealer::new(&[[7; KEY_LEN]]).expect("a key");
        let owner = Owner {
            pod: pod.into(),
            boot: pod.into(),
        };
        let table = sessions(Sessions::new(Arc::new(sealer), owner));
        Self::of(Era::Legacy, table).await
    }

    async fn of(era: Era, table: Sessions) -> Self {
        let (registry, doors) = Registry::new(Clock::start());
        let (port, stopping, stop) = (
            Arc::new(Port::default()),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        tokio::spawn(registry.run(Idle, stop.clone()));
        let gateway = Gateway::new(
            doors.snapshots.clone(),
            Arc::clone(&port) as Arc<dyn BackendPort>,
            table,
            Arc::new(NoMeter),
            stopping.clone(),
        );
        let mut world = Self {
            gateway: Arc::new(gateway),
            port,
            stopping,
            events: doors.events,
            snapshots: doors.snapshots,
            generation: 0,
            _registry: stop.drop_guard(),
        };
        world.add(era).await;
        world
    }

    /// A backend `one` that is new and well.
    pub async fn add(&mut self, era: Era) {
        self.generation += 1;
        let uid = format!("uid-{}", self.generation);
        let id = BackendId::new("one", &uid);
        self.tell(Event::Discovered(Box::new(desired(vec![backend(&id)]))))
            .await;
        let (version, sessions) = match era {
            Era::Legacy => (ProtocolVersion::LATEST_LEGACY, SessionMode::Stateful),
            Era::Modern => (ProtocolVersion::LATEST_MODERN, SessionMode::Stateless),
        };
        let probed = Probed {
            id,
            generation: Generation(self.generation),
            outcome: Outcome::Healthy {
                latency: Duration::from_millis(1),
                dialect: Dialect {
                    era,
                    version,
                    wire: Wire::StreamableHttp,
                    sessions,
                },
                server: None,
                listed: Listed::Yes,
            },
            catalog: Some(Catalog::new(Vec::new())),
            durations: Durations::default(),
        };
        self.tell(Event::Probed(Box::new(probed))).await;
    }

    pub async fn remove(&mut self) {
        self.tell(Event::Discovered(Box::new(desired(Vec::new()))))
            .await;
    }

    /// Returns when it is published.
    async fn tell(&mut self, event: Event) {
        let before = self.snapshots.load().revision;
        self.events.send(event).await.expect("a registry");
        let published = self.snapshots.changed.wait_for(|now| *now > before);
        drop(published.await.expect("a registry"));
    }

    /// A session of a legacy client.
    pub async fn client(&self) -> Client {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let body = request(0, "initialize", &params);
        match self.gateway.post(&facts(None), &body).await {
            Answer::Json {
                session: Some(session),
                ..
            } => Client {
                gateway: Arc::clone(&self.gateway),
                session,
            },
            other => panic!("no session: {other:?}"),
        }
    }
}

/// A legacy client.
#[derive(Clone, Debug)]
pub struct Client {
    gateway: Arc<Gateway>,
    pub session: Box<str>,
}

impl Client {
    /// The same, at another replica.
    pub fn at(&self, world: &World) -> Self {
        Self {
            gateway: Arc::clone(&world.gateway),
            session: self.session.clone(),
        }
    }

    pub async fn request(&self, method: &str, params: &Value) -> Answer {
        let body = request(1, method, params);
        self.gateway.post(&facts(Some(&self.session)), &body).await
    }

    pub async fn subscribe(&self, uri: &str) -> Answer {
        self.request("resources/subscribe", &json!({ "uri": uri }))
            .await
    }

    pub async fn delete(&self) -> Answer {
        self.gateway.delete(&facts(Some(&self.session))).await
    }

    pub fn listen(&self) -> Answer {
        self.gateway.get(&facts(Some(&self.session)))
    }
}

pub fn request(id: u64, method: &str, params: &Value) -> Bytes {
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    body.to_string().into()
}

pub fn facts(session: Option<&str>) -> Facts<'_> {
    Facts {
        session: session.map(Into::into),
        protocol_version: None,
        method: None,
        name: None,
        accepts: Accepts::JsonOrEvents,
        last_event_id: None,
        param_headers: Vec::new(),
        path: EndpointPath::All,
    }
}

fn backend(id: &BackendId) -> DesiredBackend {
    let url = "http://one.test/mcp";
    DesiredBackend {
        id: id.clone(),
        key: url.to_owned(),
        prefix: None,
        target: Ok(Arc::new(Endpoint {
            url: url.parse().expect("a URL"),
            host_header: None,
            transport: Transport::StreamableHttp,
            protocol: ProtocolChoice::Auto,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(300),
            session_loss: SessionLoss::default(),
            pods: vmcp::pods::Pods::default(),
        })),
        policy: Policy::default(),
        catalog_policy: CatalogPolicy::Keep,
        tools: ToolRules::default(),
        uri_prefixes: vec!["x:".to_owned()],
        service: None,
    }
}

fn desired(backends: Vec<DesiredBackend>) -> Desired {
    Desired {
        name: "all".into(),
        uid: "uid-all".into(),
        observed_generation: 1,
        backends,
        conflict_policy: ConflictPolicy::default(),
        tools: ToolRules::default(),
        admission: Admission::default(),
        min_ready: 1,
        problems: Vec::new(),
    }
}
