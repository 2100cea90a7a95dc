//! The whole desired state of one gateway, every setting resolved.
//!
//! Owns the one translation from `vmcp_crds::discover` to the gateway's own types, so that files
//! and Kubernetes cannot mean different things. Pure.

use std::sync::Arc;

use url::Url;

use vmcp_core::catalog::{self, CatalogPolicy, ConflictPolicy, Glob, ToolOverride, ToolRules};
use vmcp_core::health::{Policy, ProbeReason, State};
use vmcp_core::id::BackendId;
use vmcp_crds::discover::{self, Backend, Presence, Problem, discover};
use vmcp_crds::health::HealthCheck;
use vmcp_crds::mcpserver::{Protocol, SessionLoss as SpecSessionLoss, Transport as SpecTransport};
use vmcp_crds::reason::Reason;
use vmcp_crds::tools::{ToolAnnotations, Tools};
use vmcp_crds::virtualmcpserver::ConflictStrategy;
use vmcp_crds::{MCPServer, VirtualMCPServer, VirtualMCPServerSpec, names};

use crate::pods::Pods;
use crate::snapshot::{Admission, Endpoint, ProtocolChoice, SessionLoss, Transport};

/// Everything that the registry is told by discovery.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub name: Arc<str>,
    pub uid: Arc<str>,
    /// `metadata.generation` of the VirtualMCPServer.
    pub observed_generation: i64,
    /// Refs in their order, then by name.
    pub backends: Vec<DesiredBackend>,
    pub conflict_policy: ConflictPolicy,
    /// On exposed names.
    pub tools: ToolRules,
    pub admission: Admission,
    pub min_ready: u32,
    /// What is wrong although the schema accepts it; stops nothing.
    pub problems: Vec<Problem>,
}

/// One backend as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredBackend {
    pub id: BackendId,
    /// Two different keys must not share a live runtime (R4.2).
    pub key: String,
    /// `None`: the prefix format.
    pub prefix: Option<String>,
    pub target: Result<Arc<Endpoint>, Blocked>,
    pub policy: Policy,
    pub catalog_policy: CatalogPolicy,
    /// On its own names.
    pub tools: ToolRules,
    pub uri_prefixes: Vec<String>,
    /// The Service whose EndpointSlices wake it.
    pub service: Option<Box<str>>,
}

/// Why a backend cannot be checked at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub state: State,
    pub reason: ProbeReason,
    pub message: String,
}

/// Where the objects lie.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub namespace: &'a str,
    /// Hosts that the command line allows.
    pub allow_hosts: &'a [String],
}

/// What `gateway` means among `servers`.
#[must_use]
pub fn desired<'a>(
    gateway: &VirtualMCPServer,
    servers: impl IntoIterator<Item = &'a MCPServer>,
    site: Site<'_>,
) -> Desired {
    let spec = &gateway.spec;
    let servers: Vec<&MCPServer> = servers.into_iter().collect();
    let found = discover(spec, site.namespace, servers.iter().copied());
    let name = gateway.metadata.name.as_deref().unwrap_or_default();
    Desired {
        name: name.into(),
        uid: gateway.metadata.uid.as_deref().unwrap_or_default().into(),
        observed_generation: gateway.metadata.generation.unwrap_or_default(),
        backends: found
            .backends
            .iter()
            .map(|backend| one(backend, &servers, site.namespace))
            .collect(),
        conflict_policy: conflict_policy(spec),
        tools: spec
            .aggregation
            .tools
            .as_ref()
            .map(tool_rules)
            .unwrap_or_default(),
        admission: admission(name, spec, site),
        min_ready: u32::try_from(spec.min_ready_backends).unwrap_or_default(),
        problems: found.problems,
    }
}

fn one(backend: &Backend, servers: &[&MCPServer], namespace: &str) -> DesiredBackend {
    DesiredBackend {
        id: BackendId::new(&backend.name, &backend.uid),
        key: discover::generation_key(backend),
        prefix: backend.prefix.clone(),
        target: target(backend),
        policy: policy(&backend.health),
        catalog_policy: match backend.catalog_policy {
            discover::CatalogPolicy::Keep => CatalogPolicy::Keep,
            discover::CatalogPolicy::KeepFor(keep) => CatalogPolicy::KeepFor(keep),
            discover::CatalogPolicy::Hide => CatalogPolicy::Hide,
        },
        tools: tool_rules(&backend.tools),
        uri_prefixes: backend.resource_uri_prefixes.clone(),
        service: service(backend, servers, namespace),
    }
}

fn target(backend: &Backend) -> Result<Arc<Endpoint>, Blocked> {
    let url = backend.url.as_ref().map_err(blocked)?;
    if backend.state == Presence::Stopped {
        return Err(Blocked {
            state: State::Pending,
            reason: ProbeReason::Stopped,
            message: "stopped, because replicas is 0; set 1 or more to start it".to_owned(),
        });
    }
    let url = Url::parse(&url.to_string()).map_err(|error| Blocked {
        state: State::Unhealthy,
        reason: ProbeReason::InvalidUrl,
        message: format!("the URL cannot be parsed: {error}"),
    })?;
    Ok(Arc::new(Endpoint {
        url,
        host_header: backend.host_header.as_deref().map(Into::into),
        transport: match backend.transport {
            SpecTransport::StreamableHttp => Transport::StreamableHttp,
            SpecTransport::Sse => Transport::Sse,
        },
        protocol: match backend.protocol {
            Protocol::Auto => ProtocolChoice::Auto,
            Protocol::Modern => ProtocolChoice::Modern,
            Protocol::Legacy => ProtocolChoice::Legacy,
        },
        connect_timeout: backend.timeouts.connect,
        call_timeout: backend.timeouts.call,
        session_loss: match backend.session_loss {
            SpecSessionLoss::Reinitialize => SessionLoss::Reinitialize,
            SpecSessionLoss::Fail => SessionLoss::Fail,
        },
        pods: Pods::default(),
    }))
}

fn blocked(problem: &Problem) -> Blocked {
    let (state, reason) = match problem.reason {
        Reason::BackendNotFound => (State::Pending, ProbeReason::BackendNotFound),
        _ => (State::Unhealthy, ProbeReason::InvalidUrl),
    };
    Blocked {
        state,
        reason,
        message: problem.message.clone(),
    }
}

fn policy(health: &HealthCheck) -> Policy {
    Policy {
        period: health.period,
        timeout: health.timeout,
        failure_threshold: health.failure_threshold,
        success_threshold: health.success_threshold,
        degraded_above: health.degraded_above,
    }
}

fn service(backend: &Backend, servers: &[&MCPServer], namespace: &str) -> Option<Box<str>> {
    let server = servers.iter().find(|server| {
        server.metadata.name.as_deref() == Some(backend.name.as_str())
            && server
                .metadata
                .namespace
                .as_deref()
                .is_none_or(|own| own == namespace)
    })?;
    match (&server.spec.workload, &server.spec.service) {
        (Some(_), _) => Some(names::owned_by_mcp_server(&backend.name).into()),
        (None, Some(service)) => Some(service.name.as_str().into()),
        (None, None) => None,
    }
}

fn conflict_policy(spec: &VirtualMCPServerSpec) -> ConflictPolicy {
    let rule = &spec.aggregation.conflict_resolution;
    ConflictPolicy {
        strategy: match rule.strategy {
            ConflictStrategy::Prefix => catalog::ConflictStrategy::Prefix,
            ConflictStrategy::PrefixOnConflict => catalog::ConflictStrategy::PrefixOnConflict,
            ConflictStrategy::Priority => catalog::ConflictStrategy::Priority,
            ConflictStrategy::Manual => catalog::ConflictStrategy::Manual,
        },
        prefix_format: rule.prefix_format.clone(),
        priority_order: rule.priority_order.clone(),
    }
}

fn tool_rules(spec: &Tools) -> ToolRules {
    let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
    ToolRules {
        include: globs(&spec.include),
        exclude: globs(&spec.exclude),
        overrides: spec
            .overrides
            .iter()
            .map(|rule| ToolOverride {
                name: rule.name.clone(),
                rename: rule.rename.clone(),
                description: rule.description.clone(),
                annotations: rule.annotations.as_ref().map(members).unwrap_or_default(),
            })
            .collect(),
    }
}

/// Name and raw value of each annotation that is said.
fn members(annotations: &ToolAnnotations) -> Vec<(String, String)> {
    match serde_json::to_value(annotations) {
        Ok(serde_json::Value::Object(members)) => members
            .into_iter()
            .map(|(key, value)| (key, value.to_string()))
            .collect(),
        _ => Vec::new(),
    }
}

fn admission(name: &str, spec: &VirtualMCPServerSpec, site: Site<'_>) -> Admission {
    let service = names::owned_by_virtual_mcp_server(name);
    let namespace = site.namespace;
    let mut hosts: Vec<Box<str>> = vec![
        service.as_str().into(),
        format!("{service}.{namespace}").into(),
        format!("{service}.{namespace}.svc").into(),
        format!("{service}.{namespace}.svc.cluster.local").into(),
    ];
    let public = spec
        .public_url
        .as_deref()
        .and_then(|url| Url::parse(url).ok());
    hosts.extend(public.as_ref().and_then(Url::host_str).map(Into::into));
    let named = spec.allowed_hosts.iter().chain(site.allow_hosts);
    hosts.extend(named.map(|host| host_name(host).to_ascii_lowercase().into()));
    hosts.dedup();
    Admission {
        hosts,
        origins: spec
            .allowed_origins
            .iter()
            .map(|o| o.to_ascii_lowercase().into())
            .collect(),
    }
}

/// The name in `name`, `name:port`, `[v6]` or `[v6]:port`, without brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}
