//! When a client is to be told that a list has changed.
//!
//! Owns the comparison of what a listener could have seen with what is published. Speaks only when
//! the content hash of a list differs (R4.11, T15), whatever else a snapshot changes; bursts are
//! already one snapshot.

use vmcp_core::catalog::{Kind, KindHashes};
use vmcp_core::mcp::method;

use super::message::EndpointPath;
use crate::snapshot::SnapshotReader;

/// Which lists a listener wants to hear of. Templates are told as resources: they have no
/// notification of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
}

impl Interest {
    pub(super) const ALL: Self = Self {
        tools: true,
        prompts: true,
        resources: true,
    };

    pub(super) const fn is_empty(self) -> bool {
        !(self.tools || self.prompts || self.resources)
    }

    const fn wants(self, kind: Kind) -> bool {
        match kind {
            Kind::Tools => self.tools,
            Kind::Prompts => self.prompts,
            Kind::Resources | Kind::Templates => self.resources,
        }
    }
}

/// The changes of the lists of one endpoint, from now on.
#[derive(Debug)]
pub(super) struct Changes {
    snapshots: SnapshotReader,
    path: EndpointPath,
    interest: Interest,
    seen: KindHashes,
}

impl Changes {
    pub(super) fn new(snapshots: SnapshotReader, path: EndpointPath, interest: Interest) -> Self {
        let mut snapshots = snapshots;
        snapshots.changed.mark_unchanged();
        let lists = snapshots.load().lists_of(&path);
        Self {
            seen: lists.map(|lists| lists.hashes).unwrap_or_default(),
            snapshots,
            path,
            interest,
        }
    }

    /// Waits for the next change; the notifications to send. `None` when there will be none any
    /// more.
    pub(super) async fn next(&mut self) -> Option<Vec<&'static str>> {
        if self.interest.is_empty() {
            return None;
        }
        loop {
            self.snapshots.changed.changed().await.ok()?;
            // An endpoint whose backend was removed keeps what it had until somebody asks again.
            let Some(lists) = self.snapshots.load().lists_of(&self.path) else {
                continue;
            };
            let told = notifications(&self.seen, &lists.hashes, self.interest);
            self.seen = lists.hashes;
            if !told.is_empty() {
                return Some(told);
            }
        }
    }
}

fn notifications(seen: &KindHashes, now: &KindHashes, interest: Interest) -> Vec<&'static str> {
    let mut told = Vec::new();
    for kind in Kind::ALL {
        let method = match kind {
            Kind::Tools => method::NOTIFICATION_TOOLS_LIST_CHANGED,
            Kind::Prompts => method::NOTIFICATION_PROMPTS_LIST_CHANGED,
            Kind::Resources | Kind::Templates => method::NOTIFICATION_RESOURCES_LIST_CHANGED,
        };
        let differs = seen.get(kind) != now.get(kind);
        if differs && interest.wants(kind) && !told.contains(&method) {
            told.push(method);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use vmcp_core::catalog::CatalogHash;

    use super::*;

    fn hashes(tools: &str, resources: &str, templates: &str) -> KindHashes {
        let hash = |name: &str| CatalogHash::of([(name, "{}")]);
        KindHashes {
            tools: hash(tools),
            resources: hash(resources),
            templates: hash(templates),
            ..KindHashes::default()
        }
    }

    /// T15: each list for itself.
    #[test]
    fn only_the_lists_that_differ_are_told_and_each_once() {
        let before = hashes("a", "a", "a");

        let told = notifications(&before, &hashes("a", "b", "b"), Interest::ALL);
        assert_eq!(told, [method::NOTIFICATION_RESOURCES_LIST_CHANGED]);
        let told = notifications(&before, &hashes("b", "a", "b"), Interest::ALL);
        assert_eq!(
            told,
            [
                method::NOTIFICATION_TOOLS_LIST_CHANGED,
                method::NOTIFICATION_RESOURCES_LIST_CHANGED
            ]
        );
        assert!(notifications(&before, &before, Interest::ALL).is_empty());
    }

    #[test]
    fn what_nobody_asked_for_is_not_told() {
        let interest = Interest {
            prompts: true,
            ..Interest::default()
        };

        let told = notifications(&hashes("a", "a", "a"), &hashes("b", "b", "b"), interest);

        assert!(told.is_empty());
    }
}
