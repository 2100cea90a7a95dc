//! What the registry publishes and everybody else reads.
//!
//! Owns the immutable view of all backends at one moment. Readers take one `Arc<Snapshot>` and
//! finish on it; only the registry makes a new one, whole (R4.6). Nothing here connects, locks or
//! waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use url::Url;

use vmcp_core::catalog::{Catalog, CatalogHash, Conflict, ConflictPolicy, Kind, KindHashes};
use vmcp_core::health::{Dialect, Observed, Policy, Transition};
use vmcp_core::id::{BackendId, BackendName, Generation};
use vmcp_core::report::Report;
use vmcp_core::route::RouteTable;
use vmcp_core::time::Tick;
use vmcp_crds::discover::Problem;

use crate::gateway::message::EndpointPath;
use crate::gateway::port::Target;
use crate::metrics::BackendMeter;
use crate::near::Spread;
use crate::pods::Pods;

/// How a backend wants to be spoken to, from its spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolChoice {
    Auto,
    Modern,
    Legacy,
}

/// The transport that the spec names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    StreamableHttp,
    Sse,
}

impl Transport {
    /// The word of the spec.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable-http",
            Self::Sse => "sse",
        }
    }
}

/// What a client sees when the backend forgot its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionLoss {
    /// A new one takes its place, and the first result says so.
    #[default]
    Reinitialize,
    /// Its own session is over too.
    Fail,
}

/// Where a backend is and how to speak to it. Resolved once per generation, looked up in DNS anew
/// by each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub url: Url,
    pub host_header: Option<Box<str>>,
    pub transport: Transport,
    pub protocol: ProtocolChoice,
    pub connect_timeout: Duration,
    pub call_timeout: Duration,
    pub session_loss: SessionLoss,
    /// Those behind the Service that it stands behind, if it does.
    pub pods: Pods,
}

#[cfg(test)]
impl Endpoint {
    /// One of a test, with nothing special about it.
    pub(crate) fn plain(url: &str) -> Self {
        Self {
            url: url.parse().unwrap(),
            host_header: None,
            transport: Transport::StreamableHttp,
            protocol: ProtocolChoice::Auto,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(300),
            session_loss: SessionLoss::default(),
            pods: Pods::default(),
        }
    }
}

/// One backend as seen at the moment of the snapshot.
#[derive(Clone, Debug)]
pub struct BackendView {
    pub id: BackendId,
    pub generation: Generation,
    /// `None` where the spec names no usable address (`observed` says why).
    pub endpoint: Option<Arc<Endpoint>>,
    /// The same, for calls.
    pub target: Option<Spread<Target>>,
    pub policy: Policy,
    pub observed: Observed,
    /// Last good one, also while the backend is away (R4.5).
    pub dialect: Option<Dialect>,
    pub tools: usize,
    pub catalog_hash: Option<CatalogHash>,
    /// Its last good lists, whether clients see them or not.
    pub catalog: Option<Catalog>,
    /// Calls fail at once: only when `Reachable` is false (R4.13).
    pub fails_fast: bool,
    /// Time until the next check, for `retryAfterMs`, as of the snapshot.
    pub next_probe_in: Duration,
    /// The last transitions, oldest first (R1.13).
    pub history: Arc<[Transition]>,
    /// Counters that go on while the snapshot stands.
    pub meter: Arc<BackendMeter>,
}

/// What is to be said about the configuration itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// Why the newest configuration is not the one that is served.
    pub error: Option<Arc<str>>,
}

/// The pages of one list, each written to the client as it is.
#[derive(Clone, Debug)]
pub struct ListPages {
    /// Results (the `result` member) by page; there is always a first page.
    pub legacy: Arc<[Bytes]>,
    pub modern: Arc<[Bytes]>,
    /// Cursor of the page at the same index + 1.
    pub cursors: Arc<[Box<str>]>,
    /// Exposed names in order, for cursors of other lists than this.
    pub order: Arc<[Arc<str>]>,
}

/// What can be listed, and where each entry leads.
#[derive(Clone, Debug)]
pub struct Lists {
    pub routes: RouteTable,
    pub tools: ListPages,
    pub prompts: ListPages,
    pub resources: ListPages,
    pub templates: ListPages,
    /// Those who listen are told of a list only when its own hash moved (T15).
    pub hashes: KindHashes,
    pub tool_count: usize,
}

impl Lists {
    #[must_use]
    pub const fn pages(&self, kind: Kind) -> &ListPages {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }
}

/// One backend alone, under its own names. Made when it is first asked for.
pub struct Alone {
    made: OnceLock<Arc<Lists>>,
    make: Box<dyn Fn() -> Lists + Send + Sync>,
}

impl Alone {
    pub fn new(make: impl Fn() -> Lists + Send + Sync + 'static) -> Self {
        Self {
            made: OnceLock::new(),
            make: Box::new(make),
        }
    }

    fn lists(&self) -> &Arc<Lists> {
        self.made.get_or_init(|| Arc::new((self.make)()))
    }
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alone").field(&self.made).finish()
    }
}

/// Hosts and origins that may reach the gateway, already parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Lower-case host names; a port is not part of it ("every form and port").
    pub hosts: Vec<Box<str>>,
    /// Serialised origins, lower case: `https://app.example.com`.
    pub origins: Vec<Box<str>>,
}

/// Everything that a reader needs, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one at each publication.
    pub revision: u64,
    /// Name of the VirtualMCPServer.
    pub name: Arc<str>,
    pub uid: Arc<str>,
    /// `metadata.generation` of the VirtualMCPServer that this was made from.
    pub observed_generation: i64,
    /// In the order of the spec: refs, then name.
    pub backends: Arc<[Spread<BackendView>]>,
    pub by_name: Arc<HashMap<BackendName, usize>>,
    /// Of all backends together.
    pub lists: Arc<Lists>,
    /// Of each backend for itself.
    pub alone: Arc<HashMap<BackendName, Alone>>,
    pub conflicts: Arc<[Conflict]>,
    pub conflict_policy: Arc<ConflictPolicy>,
    pub admission: Arc<Admission>,
    pub config: ConfigState,
    /// What is wrong with the spec although its schema accepts it.
    pub problems: Arc<[Problem]>,
    /// What the merge left out or renamed, and why.
    pub warnings: Arc<[String]>,
    /// The one truth of every output (T6).
    pub report: Arc<Report>,
    /// When this was published.
    pub at: Tick,
    pub min_ready: u32,
    /// A first health round is done: each backend has a verdict or used up its deadline.
    pub first_round_done: bool,
    /// A configuration was seen at all.
    pub configured: bool,
}

impl Snapshot {
    #[must_use]
    pub fn backend(&self, name: &BackendName) -> Option<&Spread<BackendView>> {
        self.by_name.get(name).and_then(|&at| self.backends.get(at))
    }

    /// Is there such an endpoint?
    #[must_use]
    pub fn has(&self, path: &EndpointPath) -> bool {
        match path {
            EndpointPath::All => true,
            EndpointPath::Backend(name) => self.alone.contains_key(name),
        }
    }

    /// What is listed at one of our endpoints; `None` where it names no backend of ours.
    #[must_use]
    pub fn lists_of(&self, path: &EndpointPath) -> Option<&Arc<Lists>> {
        match path {
            EndpointPath::All => Some(&self.lists),
            EndpointPath::Backend(name) => self.alone.get(name).map(Alone::lists),
        }
    }
}

/// The reading side of the publication.
#[derive(Clone, Debug)]
pub struct SnapshotReader {
    pub current: Arc<ArcSwap<Snapshot>>,
    /// Carries the revision of the newest snapshot; for those that must react.
    pub changed: tokio::sync::watch::Receiver<u64>,
}

impl SnapshotReader {
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}
