//! When a client is to be told that a list has changed.
//!
//! Owns the comparison of what a listener could have seen with what is published. Speaks only when
//! the content hash of a list differs (R4.11, T15), whatever else a snapshot changes; bursts are
//! already one snapshot. Says it twice only where the listener may have got the old list from
//! another replica in between.

use vmcp_core::catalog::{Kind, KindHashes};
use vmcp_core::mcp::method;

use super::cue::Cues;
use super::message::EndpointPath;
use crate::snapshot::Snapshot;

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

/// Who serves what a listener asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The replica that owns its session.
    ByOne,
    /// Any replica: it hears of a change again once all of them show it.
    ByAny,
}

/// The changes of the lists of one endpoint, from now on.
#[derive(Debug)]
pub(super) struct Changes {
    cues: Cues,
    path: EndpointPath,
    interest: Interest,
    served: Served,
    /// What the listener was told of.
    seen: KindHashes,
    /// What it may still get from another replica.
    oldest: KindHashes,
    agreed: u64,
}

impl Changes {
    pub(super) fn new(cues: Cues, path: EndpointPath, interest: Interest, served: Served) -> Self {
        let mut cues = cues;
        let now = cues.now();
        Self {
            seen: hashes(&now.told, &path).unwrap_or_default(),
            oldest: hashes(now.oldest(), &path).unwrap_or_default(),
            agreed: now.agreed,
            cues,
            path,
            interest,
            served,
        }
    }

    /// Waits for the next change; the notifications to send. `None` when there will be none any
    /// more.
    pub(super) async fn next(&mut self) -> Option<Vec<&'static str>> {
        if self.interest.is_empty() {
            return None;
        }
        loop {
            let cue = self.cues.next().await?;
            // An endpoint whose backend was removed keeps what it had until somebody asks again.
            let Some(now) = hashes(&cue.told, &self.path) else {
                continue;
            };
            let mut told = notifications(&self.seen, &now, self.interest);
            self.seen = now;
            if self.agreed != cue.agreed && self.served == Served::ByAny {
                let again = notifications(&self.oldest, &now, self.interest);
                let again = again.into_iter().filter(|method| !told.contains(method));
                told.extend(again.collect::<Vec<_>>());
            }
            self.agreed = cue.agreed;
            self.oldest = hashes(cue.oldest(), &self.path).unwrap_or(now);
            if !told.is_empty() {
                return Some(told);
            }
        }
    }
}

fn hashes(snapshot: &Snapshot, path: &EndpointPath) -> Option<KindHashes> {
    snapshot.lists_of(path).map(|lists| lists.hashes)
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
    use std::sync::Arc;

    use futures::FutureExt as _;
    use tokio::sync::watch;
    use vmcp_core::catalog::CatalogHash;

    use super::super::cue::Cue;
    use super::*;
    use crate::clock::Clock;
    use crate::registry::Registry;
    use crate::snapshot::Lists;

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

    /// A snapshot whose tools are these.
    fn showing(tools: &str) -> Arc<Snapshot> {
        let (_registry, doors) = Registry::new(Clock::start());
        let mut snapshot = (*doors.snapshots.load()).clone();
        let lists = (*snapshot.lists).clone();
        let hashes = hashes(tools, "", "");
        snapshot.lists = Arc::new(Lists { hashes, ..lists });
        snapshot.into()
    }

    fn listener(cues: &watch::Sender<Cue>, served: Served) -> Changes {
        let cues = Cues::given(cues.subscribe());
        Changes::new(cues, EndpointPath::All, Interest::ALL, served)
    }

    /// What the listener is told now.
    fn told(changes: &mut Changes) -> usize {
        let told = changes.next().now_or_never();
        told.flatten().map_or(0, |told| told.len())
    }

    /// T15: a modern client may have got the old list from another replica after it was told; a
    /// session asks its owner, and hears of it once.
    #[test]
    fn a_change_is_told_again_once_all_replicas_show_it() {
        let (old, new) = (showing("a"), showing("b"));
        let (cues, _) = watch::channel(Cue::new(Arc::clone(&old)));
        let mut modern = listener(&cues, Served::ByAny);
        let mut session = listener(&cues, Served::ByOne);

        cues.send_modify(|cue| {
            cue.told = Arc::clone(&new);
            cue.before = Some(Arc::clone(&old));
        });
        let mut late = listener(&cues, Served::ByAny);
        let first = [told(&mut modern), told(&mut session), told(&mut late)];
        cues.send_modify(|cue| {
            cue.before = None;
            cue.agreed += 1;
        });
        let again = [told(&mut modern), told(&mut session), told(&mut late)];
        cues.send_modify(|cue| cue.agreed += 1);

        assert_eq!(first, [1, 1, 0]);
        assert_eq!(again, [1, 0, 1], "the last one came in between");
        assert_eq!([told(&mut modern), told(&mut late)], [0, 0]);
    }

    #[test]
    fn what_all_replicas_show_when_it_is_told_is_told_once() {
        let (old, new) = (showing("a"), showing("b"));
        let (cues, _) = watch::channel(Cue::new(old));
        let mut modern = listener(&cues, Served::ByAny);

        cues.send_modify(|cue| {
            cue.told = new;
            cue.agreed += 1;
        });

        assert_eq!([told(&mut modern), told(&mut modern)], [1, 0]);
    }

    /// A list that changed again before all replicas showed it.
    #[test]
    fn what_is_given_up_is_not_told_again_and_what_goes_on_is() {
        let (old, new, newer) = (showing("a"), showing("b"), showing("c"));
        let (cues, _) = watch::channel(Cue::new(Arc::clone(&old)));
        let mut modern = listener(&cues, Served::ByAny);
        let next = |told: &Arc<Snapshot>, before: Option<&Arc<Snapshot>>, agreed| {
            cues.send_replace(Cue {
                told: Arc::clone(told),
                before: before.cloned(),
                agreed,
            });
        };

        next(&new, Some(&old), 0);
        assert_eq!(told(&mut modern), 1);
        next(&old, Some(&old), 0);
        assert_eq!(told(&mut modern), 1, "back again");
        next(&old, None, 1);
        assert_eq!(told(&mut modern), 0, "nobody can have got another");
        next(&new, Some(&old), 1);
        assert_eq!(told(&mut modern), 1);
        next(&newer, Some(&old), 1);
        assert_eq!(told(&mut modern), 1);
        next(&newer, None, 2);
        assert_eq!(told(&mut modern), 1);
        next(&new, Some(&newer), 2);
        assert_eq!(told(&mut modern), 1);
        next(&new, None, 2);
        assert_eq!(told(&mut modern), 0, "given up");
        next(&new, None, 3);
        assert_eq!(told(&mut modern), 0);
    }
}
