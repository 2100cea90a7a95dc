//! One backend with every setting resolved: defaults applied, durations parsed, URL
//! taken apart. What stands here is all that a gateway needs to know of an MCPServer.

use std::fmt::Write as _;
use std::time::Duration;

use super::problem::Problem;
use super::url::{BackendUrl, Scheme};
use crate::health::HealthCheck;
use crate::mcpserver::{self, MCPServer, MCPServerSpec, Protocol, SessionLoss, Transport};
use crate::names;
use crate::reason::Reason;
use crate::tools::Tools;
use crate::virtualmcpserver::{ConflictResolution, VirtualMCPServerSpec};

/// One backend of one VirtualMCPServer.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Name of the MCPServer.
    pub name: String,
    /// UID of the MCPServer; empty where it was not found or came from a file.
    pub uid: String,
    /// Prefix of its ref; `None` means `prefixFormat`.
    pub prefix: Option<String>,
    /// Where it is, or why that is not known.
    pub url: Result<BackendUrl, Problem>,
    pub transport: Transport,
    pub protocol: Protocol,
    pub host_header: Option<String>,
    pub session_loss: SessionLoss,
    pub health: HealthCheck,
    pub timeouts: Timeouts,
    pub catalog_policy: CatalogPolicy,
    pub tools: Tools,
    pub resource_uri_prefixes: Vec<String>,
    /// `metadata.generation` of the MCPServer; 0 where it has none.
    pub generation: i64,
    pub state: Presence,
}

/// Whether there is an MCPServer behind the name, and whether it is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    Found,
    /// Its workload has no replicas on purpose.
    Stopped,
    NotFound,
}

/// Deadlines of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub call: Duration,
}

/// What clients see of a backend that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatalogPolicy {
    #[default]
    Keep,
    KeepFor(Duration),
    Hide,
}

impl Backend {
    pub(super) fn found(
        gateway: &VirtualMCPServerSpec,
        namespace: &str,
        server: &MCPServer,
        prefix: Option<String>,
    ) -> Self {
        let meta = &server.metadata;
        let spec = &server.spec;
        let name = meta.name.clone().unwrap_or_default();
        let stopped = spec
            .workload
            .as_ref()
            .is_some_and(|workload| workload.replicas == 0);
        Self {
            url: url_of(&name, namespace, spec),
            uid: meta.uid.clone().unwrap_or_default(),
            prefix,
            transport: spec.transport,
            protocol: spec.protocol,
            host_header: spec.host_header.clone(),
            session_loss: spec.session_loss,
            health: HealthCheck::resolve(spec.health_check.as_ref(), gateway.health_check.as_ref()),
            timeouts: Timeouts::from(&spec.timeouts),
            catalog_policy: CatalogPolicy::from(&spec.catalog),
            tools: spec.tools.clone().unwrap_or_default(),
            resource_uri_prefixes: spec.resource_uri_prefixes.clone(),
            generation: meta.generation.unwrap_or_default(),
            state: if stopped {
                Presence::Stopped
            } else {
                Presence::Found
            },
            name,
        }
    }

    pub(super) fn not_found(name: &str, position: usize, prefix: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            uid: String::new(),
            prefix,
            url: Err(Problem::backend_not_found(name, position)),
            transport: Transport::default(),
            protocol: Protocol::default(),
            host_header: None,
            session_loss: SessionLoss::default(),
            health: HealthCheck::default(),
            timeouts: Timeouts::default(),
            catalog_policy: CatalogPolicy::default(),
            tools: Tools::default(),
            resource_uri_prefixes: Vec::new(),
            generation: 0,
            state: Presence::NotFound,
        }
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        match (&self.url, self.state) {
            (Err(problem), _) => Some(problem.clone()),
            (Ok(_), Presence::Stopped) => Some(Problem::stopped(&self.name)),
            (Ok(_), _) => None,
        }
    }

    /// The reason why it cannot be served now, known without any check.
    #[must_use]
    pub fn blocked(&self) -> Option<Reason> {
        self.problem().map(|problem| problem.reason)
    }
}

/// The prefix of a backend's exposed names under `prefix_format`.
#[must_use]
pub fn effective_prefix(backend: &Backend, prefix_format: &str) -> String {
    backend
        .prefix
        .clone()
        .unwrap_or_else(|| prefix_format.replace(ConflictResolution::PLACEHOLDER, &backend.name))
}

/// Two equal keys may share one live runtime (connections, sessions, capabilities);
/// two different ones must not. Settings that a runtime reads anew for each use
/// (health, timeouts, catalogue policy, prefix) are left out on purpose.
#[must_use]
pub fn generation_key(backend: &Backend) -> String {
    let mut key = String::new();
    let url = backend
        .url
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let parts = [
        backend.uid.as_str(),
        url.as_str(),
        backend.transport.as_str(),
        backend.protocol.as_str(),
        backend.host_header.as_deref().unwrap_or_default(),
    ];
    for part in parts {
        // Length first: no two different lists of parts make one key.
        let _ = write!(key, "{}:{part};", part.len());
    }
    key
}

impl From<&mcpserver::Timeouts> for Timeouts {
    fn from(spec: &mcpserver::Timeouts) -> Self {
        Self {
            connect: seconds(spec.connect_seconds),
            call: seconds(spec.call_seconds),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::from(&mcpserver::Timeouts::default())
    }
}

impl From<&mcpserver::Catalog> for CatalogPolicy {
    fn from(spec: &mcpserver::Catalog) -> Self {
        match (spec.policy, spec.keep_for_seconds) {
            (mcpserver::CatalogPolicy::Keep, _) => Self::Keep,
            (mcpserver::CatalogPolicy::Hide, _) => Self::Hide,
            (mcpserver::CatalogPolicy::KeepFor, keep) => {
                Self::KeepFor(seconds(keep.unwrap_or_default()))
            }
        }
    }
}

/// Whole seconds; at least one, because a deadline of none would fail every call.
fn seconds(value: i32) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or_default().max(1))
}

fn url_of(name: &str, namespace: &str, spec: &MCPServerSpec) -> Result<BackendUrl, Problem> {
    match (&spec.workload, &spec.service, &spec.remote) {
        (Some(workload), None, None) => {
            let service = names::owned_by_mcp_server(name);
            let field = "spec.workload.port";
            in_cluster(
                name,
                &names::service_host(&service, namespace),
                workload.port,
                field,
                spec,
            )
        }
        (None, Some(service), None) => {
            let host = names::service_host(&service.name, namespace);
            in_cluster(name, &host, service.port, "spec.service.port", spec)
        }
        (None, None, Some(remote)) => BackendUrl::parse_remote(remote, spec)
            .map_err(|cause| Problem::invalid_url(name, &remote.url, cause)),
        _ => Err(Problem::not_exactly_one_kind(name)),
    }
}

fn in_cluster(
    name: &str,
    host: &str,
    port: i32,
    field: &'static str,
    spec: &MCPServerSpec,
) -> Result<BackendUrl, Problem> {
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Problem::invalid_port(name, field, port))?;
    Ok(BackendUrl {
        scheme: Scheme::Http,
        host: host.to_owned(),
        port,
        path: spec.effective_path().to_owned(),
    })
}
