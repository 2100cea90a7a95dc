//! Which backends a VirtualMCPServer has: the pure function that operator and gateway
//! share, so that they cannot disagree about membership, URLs or settings.
//!
//! Never opens a connection and never fails as a whole: what is wrong with one backend
//! is a [`Problem`] beside it, and every other backend is as if it were not there.

mod backend;
mod problem;
mod select;
mod url;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use backend::{Backend, CatalogPolicy, Presence, Timeouts, effective_prefix, generation_key};
pub use problem::Problem;
pub use url::{BackendUrl, Scheme};

use crate::virtualmcpserver::{BackendRef, ConflictStrategy};
use crate::{MCPServer, VirtualMCPServerSpec};

/// Most backends of one VirtualMCPServer: `status.discoveredBackends` must stay well
/// below the size that etcd accepts (1.5 MiB).
pub const MAX_BACKENDS: usize = 1000;

/// What a spec means among the MCPServers that exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// Refs in their order, then by name.
    pub backends: Vec<Backend>,
    /// What is wrong, with field and fix; sorted by backend, those of the spec first.
    pub problems: Vec<Problem>,
}

/// The backends of `spec` among `servers`.
///
/// Guarantees: deterministic and independent of the order of `servers`; no two
/// backends of one name; an MCPServer that is being deleted, or of another namespace,
/// is no backend; selector and refs are a union.
#[must_use]
pub fn discover<'a>(
    spec: &VirtualMCPServerSpec,
    namespace: &str,
    servers: impl IntoIterator<Item = &'a MCPServer>,
) -> Discovery {
    let living = living_by_name(namespace, servers);
    let mut problems = Vec::new();
    let selected = match select::selected(spec.backends.selector.as_ref(), &living) {
        Ok(names) => names,
        Err(problem) => {
            problems.push(problem);
            BTreeSet::new()
        }
    };
    let mut members = members(spec, selected);
    if members.len() > MAX_BACKENDS {
        problems.push(Problem::too_many_backends(members.len()));
        members.truncate(MAX_BACKENDS);
    }
    let backends: Vec<Backend> = members
        .into_iter()
        .map(|member| match living.get(member.name) {
            Some(server) => Backend::found(spec, namespace, server, member.prefix()),
            None => Backend::not_found(member.name, member.position, member.prefix()),
        })
        .collect();
    problems.extend(backends.iter().filter_map(Backend::problem));
    problems.extend(equal_prefixes(spec, &backends));
    problems.sort();
    Discovery { backends, problems }
}

/// One place in the list of backends: a ref, or a name that the selector found.
struct Member<'a> {
    name: &'a str,
    position: usize,
    reference: Option<&'a BackendRef>,
}

impl Member<'_> {
    fn prefix(&self) -> Option<String> {
        self.reference
            .and_then(|reference| reference.prefix.clone())
    }
}

fn living_by_name<'a>(
    namespace: &str,
    servers: impl IntoIterator<Item = &'a MCPServer>,
) -> BTreeMap<&'a str, &'a MCPServer> {
    servers
        .into_iter()
        .filter(|server| server.metadata.deletion_timestamp.is_none())
        .filter(|server| {
            server
                .metadata
                .namespace
                .as_deref()
                .is_none_or(|own| own == namespace)
        })
        .filter_map(|server| Some((server.metadata.name.as_deref()?, server)))
        .collect()
}

/// Refs first, in their order and each once, then what only the selector found.
fn members<'a>(spec: &'a VirtualMCPServerSpec, mut selected: BTreeSet<&'a str>) -> Vec<Member<'a>> {
    let mut seen = BTreeSet::new();
    let mut members = Vec::new();
    for (position, reference) in spec.backends.refs.iter().enumerate() {
        let name = reference.name.as_str();
        selected.remove(name);
        if seen.insert(name) {
            members.push(Member {
                name,
                position,
                reference: Some(reference),
            });
        }
    }
    members.extend(selected.into_iter().map(|name| Member {
        name,
        position: 0,
        reference: None,
    }));
    members
}

fn equal_prefixes(spec: &VirtualMCPServerSpec, backends: &[Backend]) -> Vec<Problem> {
    let resolution = &spec.aggregation.conflict_resolution;
    let prefixes_matter = matches!(
        resolution.strategy,
        ConflictStrategy::Prefix | ConflictStrategy::PrefixOnConflict
    );
    if !prefixes_matter {
        return Vec::new();
    }
    let mut users: BTreeMap<String, Vec<&Backend>> = BTreeMap::new();
    for backend in backends {
        users
            .entry(effective_prefix(backend, &resolution.prefix_format))
            .or_default()
            .push(backend);
    }
    users
        .into_iter()
        .filter(|(_, sharers)| sharers.len() > 1)
        .flat_map(|(prefix, sharers)| {
            let names: Vec<&str> = sharers
                .iter()
                .map(|backend| backend.name.as_str())
                .collect();
            let problems: Vec<Problem> = sharers
                .iter()
                .map(|backend| Problem::duplicate_prefix(&backend.name, &prefix, &names))
                .collect();
            problems
        })
        .collect()
}
