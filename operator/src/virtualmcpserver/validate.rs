//! Step 2: what a VirtualMCPServer means among the servers that exist.
//! `ValidatedGateway` is the only input of the builders. Pure.

use std::sync::Arc;

use vmcp_crds::discover::{Discovery, Problem, discover};
use vmcp_crds::labels::{RESTARTED_AT, ROTATE_SESSION_KEYS};
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::VirtualMCPServerSpec;
use vmcp_crds::{MCPServer, VirtualMCPServer, names};

use super::keys::SessionKeys;
use crate::owner::{Owner, OwnerKind};

/// What the operator was started with and the builders need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of the gateways.
    pub gateway_image: String,
    /// Where the role of the gateways stands.
    pub gateway_role: GatewayRole,
}

/// Kind of the role `vmcp-gateway`: whoever installed us chose with our own scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayRole {
    ClusterRole,
    Role,
}

impl GatewayRole {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterRole => "ClusterRole",
            Self::Role => "Role",
        }
    }
}

/// A VirtualMCPServer of which everything is known that its spec says.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedGateway {
    pub owner: Owner,
    pub generation: i64,
    pub spec: VirtualMCPServerSpec,
    pub settings: Settings,
    pub discovery: Discovery,
    /// Where clients reach it.
    pub url: String,
    /// Value of the annotation that rolls the pods.
    pub restarted_at: Option<String>,
    /// Value of the annotation that asks for new session keys.
    pub rotate_keys: Option<String>,
    /// What its pods mount; none until the Deployment is built.
    pub keys: SessionKeys,
}

impl ValidatedGateway {
    /// A problem that makes the whole spec unusable.
    #[must_use]
    pub fn nonsense(&self) -> Option<&Problem> {
        let mut problems = self.discovery.problems.iter();
        problems.find(|problem| problem.reason == Reason::InvalidSelector)
    }
}

/// `None` for an object that no API server returned: without a name, namespace or UID.
#[must_use]
pub fn validate(
    gateway: &VirtualMCPServer,
    servers: &[Arc<MCPServer>],
    settings: &Settings,
) -> Option<ValidatedGateway> {
    let owner = Owner::of(OwnerKind::VirtualMcpServer, &gateway.metadata)?;
    let servers = servers.iter().map(AsRef::as_ref);
    Some(ValidatedGateway {
        generation: gateway.metadata.generation.unwrap_or_default(),
        discovery: discover(&gateway.spec, &owner.namespace, servers),
        url: url(&gateway.spec, &owner),
        restarted_at: annotation(gateway, RESTARTED_AT),
        rotate_keys: annotation(gateway, ROTATE_SESSION_KEYS),
        keys: SessionKeys::default(),
        spec: gateway.spec.clone(),
        settings: settings.clone(),
        owner,
    })
}

fn annotation(gateway: &VirtualMCPServer, key: &str) -> Option<String> {
    let annotations = gateway.metadata.annotations.as_ref()?;
    annotations.get(key).cloned()
}

fn url(spec: &VirtualMCPServerSpec, owner: &Owner) -> String {
    if let Some(public) = &spec.public_url {
        return public.clone();
    }
    let host = names::service_host(&owner.child_name(), &owner.namespace);
    match spec.service.port {
        80 => format!("http://{host}/mcp"),
        port => format!("http://{host}:{port}/mcp"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use vmcp_crds::reason::Reason;
    use vmcp_crds::{MCPServer, VirtualMCPServer};

    use super::{GatewayRole, Settings, ValidatedGateway, validate};

    fn valid(spec: Value) -> ValidatedGateway {
        let gateway: VirtualMCPServer = serde_json::from_value(json!({
            "apiVersion": "vmcp.dev/v1alpha1", "kind": "VirtualMCPServer",
            "metadata": {"name": "all", "namespace": "team", "uid": "1", "generation": 2},
            "spec": spec,
        }))
        .unwrap();
        let server: MCPServer = serde_json::from_value(json!({
            "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
            "metadata": {"name": "git", "namespace": "team", "uid": "2"},
            "spec": {"remote": {"url": "https://git.example.com"}},
        }))
        .unwrap();
        let settings = Settings {
            gateway_image: "vmcp:1".to_owned(),
            gateway_role: GatewayRole::ClusterRole,
        };
        validate(&gateway, &[Arc::new(server)], &settings).unwrap()
    }

    /// API: `status.url` is publicURL, or the Service's.
    #[test]
    fn the_url_is_the_public_one_or_that_of_the_service() {
        let everything = json!({"selector": {}});
        let own = valid(json!({"backends": everything}));
        let port = valid(json!({"backends": everything, "service": {"port": 80}}));
        let public = valid(json!({"backends": everything, "publicURL": "https://a.example/mcp"}));

        assert_eq!(own.url, "http://vmcp-all.team.svc:8080/mcp");
        assert_eq!(port.url, "http://vmcp-all.team.svc/mcp");
        assert_eq!(public.url, "https://a.example/mcp");
    }

    /// Build 8: an unknown ref is a problem of that backend; a selector that means nothing is
    /// one of the whole.
    #[test]
    fn only_what_no_gateway_could_serve_is_nonsense() {
        let unknown = valid(json!({"backends": {"refs": [{"name": "git"}, {"name": "nobody"}]}}));
        let broken = valid(json!({"backends": {"selector": {"matchExpressions": [
            {"key": "a", "operator": "In"}]}}}));

        assert_eq!(unknown.nonsense(), None);
        assert_eq!(unknown.discovery.backends.len(), 2);
        assert_eq!(broken.nonsense().unwrap().reason, Reason::InvalidSelector);
    }
}
