//! The pods behind a Service, as discovery last saw them.
//!
//! Owns the one value that passes from whoever watches EndpointSlices to whoever connects, beside
//! the configuration: pods come and go without changing what a backend is (R4.2). Connects to
//! nothing, and watches nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

/// Which HTTP is spoken without encryption. With it, both sides agree on one (ALPN).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    #[default]
    One,
    /// The port says `appProtocol: kubernetes.io/h2c`.
    Two,
}

/// The pods of a Service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodList {
    /// Those that take new sessions.
    pub ready: Vec<SocketAddr>,
    /// All that are there, ready or not: what was begun in one goes on there.
    pub known: BTreeSet<SocketAddr>,
    pub http: Http,
}

/// Where a session was opened, and where it lives therefore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pin {
    /// A pod of the Service: the session ends when it leaves.
    Pod(SocketAddr),
    /// An address of the URL's host. Another one may know the session, too: its own word counts.
    Address(SocketAddr),
}

impl Pin {
    #[must_use]
    pub const fn address(self) -> SocketAddr {
        match self {
            Self::Pod(address) | Self::Address(address) => address,
        }
    }
}

/// A handle on the list of one Service; an empty one for a backend without.
#[derive(Clone, Default)]
pub struct Pods(Option<Arc<Watched>>);

#[derive(Default)]
struct Watched {
    list: ArcSwapOption<PodList>,
    /// New sessions so far.
    turns: AtomicUsize,
}

impl Pods {
    /// A handle on a list that is yet to be published.
    #[must_use]
    pub fn unseen() -> Self {
        Self(Some(Arc::default()))
    }

    /// A handle on this list.
    #[must_use]
    pub fn of(list: PodList) -> Self {
        let pods = Self::unseen();
        pods.publish(Some(list));
        pods
    }

    /// What is known now. `None`: nothing, so that the URL is all there is.
    #[must_use]
    pub fn now(&self) -> Option<Arc<PodList>> {
        self.0.as_ref()?.list.load_full()
    }

    /// Replaces the list for everybody who has the handle. `true`: another HTTP is spoken now.
    pub fn publish(&self, list: Option<PodList>) -> bool {
        let Some(watched) = &self.0 else {
            return false;
        };
        let http = |list: Option<&PodList>| list.map(|list| list.http).unwrap_or_default();
        let new = http(list.as_ref());
        let old = watched.list.swap(list.map(Arc::new));
        http(old.as_deref()) != new
    }

    /// Which HTTP is spoken without encryption.
    #[must_use]
    pub fn http(&self) -> Http {
        let list = self.0.as_ref().map(|watched| watched.list.load());
        let list = list.as_ref().and_then(|list| list.as_deref());
        list.map(|list| list.http).unwrap_or_default()
    }

    /// The ready pods, another one first each time.
    #[must_use]
    pub fn in_turn(&self) -> Vec<SocketAddr> {
        let (Some(watched), Some(list)) = (&self.0, self.now()) else {
            return Vec::new();
        };
        let mut pods = list.ready.clone();
        if !pods.is_empty() {
            let first = watched.turns.fetch_add(1, Ordering::Relaxed) % pods.len();
            pods.rotate_left(first);
        }
        pods
    }

    /// Has the pod that keeps a session left?
    #[must_use]
    pub fn has_left(&self, pin: Pin) -> bool {
        match (pin, self.now()) {
            (Pin::Pod(address), Some(list)) => !list.known.contains(&address),
            (Pin::Pod(_), None) | (Pin::Address(_), _) => false,
        }
    }

    /// Could a session be opened in another pod than this?
    #[must_use]
    pub fn has_other(&self, address: SocketAddr) -> bool {
        let others = |list: Arc<PodList>| list.ready.iter().any(|ready| *ready != address);
        self.now().is_some_and(others)
    }
}

/// The same list, not an equal one.
impl PartialEq for Pods {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Pods {}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pods").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn list(ready: &[&str], known: &[&str]) -> PodList {
        PodList {
            ready: ready.iter().map(|text| address(text)).collect(),
            known: known.iter().map(|text| address(text)).collect(),
            http: Http::One,
        }
    }

    /// Architecture 8: a session lives as long as its pod is there, ready or not; where no list is
    /// known nothing has left.
    #[test]
    fn a_pod_has_left_when_its_service_does_not_name_it_any_more() {
        let (a, b) = ("10.0.0.1:80", "10.0.0.2:80");
        let pods = Pods::unseen();
        let pin = Pin::Pod(address(a));
        assert!(!pods.has_left(pin) && !Pods::default().has_left(pin));

        pods.publish(Some(list(&[b], &[a, b])));
        assert!(!pods.has_left(pin) && pods.has_other(pin.address()));
        assert!(!pods.has_other(address(b)));

        pods.publish(Some(list(&[b], &[b])));
        assert!(pods.has_left(pin));
        assert!(
            !pods.has_left(Pin::Address(address(a))),
            "no pod of the Service"
        );

        pods.publish(None);
        assert!(!pods.has_left(pin));
    }

    /// Everybody who has the handle sees the same list; two lists are never the same one.
    #[test]
    fn a_handle_shares_its_list() {
        let pods = Pods::unseen();
        let copy = pods.clone();

        let two = PodList {
            http: Http::Two,
            ..PodList::default()
        };
        assert!(pods.publish(Some(two.clone())), "another HTTP");
        assert!(!pods.publish(Some(two)));

        assert_eq!(copy.http(), Http::Two);
        assert_eq!(pods, copy);
        assert_ne!(pods, Pods::unseen());
        assert!(
            !Pods::default().publish(None),
            "nobody has an empty handle's list"
        );
    }
}
