//! Step 2: what an MCPServer means. `ValidatedServer` is the only input of the builders.
//! Pure.

use vmcp_crds::MCPServer;
use vmcp_crds::discover::{Problem, discover};
use vmcp_crds::labels::RESTARTED_AT;
use vmcp_crds::mcpserver::Workload;
use vmcp_crds::reason::Reason;
use vmcp_crds::virtualmcpserver::{BackendRef, VirtualMCPServerSpec};

use crate::owner::{Owner, OwnerKind};

/// An MCPServer of which everything is known that its spec says.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedServer {
    pub owner: Owner,
    pub generation: i64,
    /// Where gateways reach it, or why that is not known.
    pub url: Result<String, Problem>,
    /// What to run; `None` for a Service or a remote.
    pub workload: Option<ValidatedWorkload>,
}

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedWorkload {
    pub spec: Workload,
    /// Value of the annotation that rolls the pods.
    pub restarted_at: Option<String>,
}

impl ValidatedServer {
    /// Whether it is a workload that shall not run.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.workload
            .as_ref()
            .is_some_and(|workload| workload.spec.replicas == 0)
    }
}

/// `None` for an object that no API server returned: without a name, namespace or UID.
#[must_use]
pub fn validate(server: &MCPServer) -> Option<ValidatedServer> {
    let owner = Owner::of(OwnerKind::McpServer, &server.metadata)?;
    let workload = server.spec.workload.as_ref().map(|spec| ValidatedWorkload {
        spec: spec.clone(),
        restarted_at: restarted_at(server),
    });
    Some(ValidatedServer {
        generation: server.metadata.generation.unwrap_or_default(),
        url: url(server, &owner),
        workload,
        owner,
    })
}

fn restarted_at(server: &MCPServer) -> Option<String> {
    server
        .metadata
        .annotations
        .as_ref()?
        .get(RESTARTED_AT)
        .cloned()
}

/// The URL as gateways see it: by the same function, so that nobody can disagree.
fn url(server: &MCPServer, owner: &Owner) -> Result<String, Problem> {
    let mut only_this = VirtualMCPServerSpec::default();
    only_this.backends.refs = vec![BackendRef {
        name: owner.name.clone(),
        prefix: None,
    }];
    let found = discover(&only_this, &owner.namespace, [server]);
    match found.backends.into_iter().next() {
        Some(backend) => backend.url.map(|url| url.to_string()),
        None => Err(Problem {
            backend: Some(owner.name.clone()),
            reason: Reason::InvalidSpec,
            field: "metadata.name".to_owned(),
            message: "the name is no name of a server".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vmcp_crds::MCPServer;
    use vmcp_crds::reason::Reason;

    use super::validate;

    fn server(spec: Value) -> MCPServer {
        serde_json::from_value(json!({
            "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
            "metadata": {"name": "git", "namespace": "team", "uid": "1", "generation": 4},
            "spec": spec,
        }))
        .unwrap()
    }

    /// Build 4: each of the three places has the URL that gateways use.
    #[test]
    fn workload_service_and_remote_have_their_urls() {
        let cases = [
            (
                json!({"workload": {"image": "x", "port": 3000}}),
                "http://mcp-git.team.svc:3000/mcp",
            ),
            (
                json!({"service": {"name": "other", "port": 80}, "transport": "sse"}),
                "http://other.team.svc/sse",
            ),
            (
                json!({"remote": {"url": "https://mcp.example.com/v2"}}),
                "https://mcp.example.com/v2",
            ),
        ];
        for (spec, url) in cases {
            let valid = validate(&server(spec)).unwrap();
            assert_eq!(valid.url.as_deref(), Ok(url));
            assert_eq!(valid.generation, 4);
        }
    }

    /// Build 8: a URL that does not parse has a reason, a field and a fix.
    #[test]
    fn a_url_that_does_not_parse_is_a_problem_with_reason_and_field() {
        let valid = validate(&server(json!({"remote": {"url": "https://"}}))).unwrap();

        let problem = valid.url.unwrap_err();
        assert_eq!(problem.reason, Reason::InvalidUrl);
        assert_eq!(problem.field, "spec.remote.url");
    }

    /// Build 4: an object without a UID owns nothing.
    #[test]
    fn an_object_that_no_server_returned_is_refused() {
        let mut unnamed = server(json!({"remote": {"url": "https://a"}}));
        unnamed.metadata.uid = None;

        assert_eq!(validate(&unnamed), None);
    }
}
