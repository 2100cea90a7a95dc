//! What the watches have seen: one reflector per kind and watched namespace, and a hook
//! that hears of each change with the object before and after.
//!
//! Never writes to the cluster and never decides. It exists beside kube's `Controller`,
//! because a deletion, a re-list and an object that cannot be decoded must all reach the
//! queues, and because several controllers share one watch.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{WATCH_RETRY_MAX, WATCH_RETRY_MIN, WATCH_TIMEOUT_SECONDS};

/// What a watch needs of a type.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

/// One object before and after; at least one of them is there.
#[derive(Debug)]
pub struct Change<K> {
    pub before: Option<Arc<K>>,
    pub after: Option<Arc<K>>,
}

impl<K: Resource> Change<K> {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Option<(String, String)> {
        let object = self.after.as_ref().or(self.before.as_ref())?;
        Some((object.namespace()?, object.name_any()))
    }
}

/// Hears of each change after the cache shows it.
pub type Hook<K> = Arc<dyn Fn(&Change<K>) + Send + Sync>;

/// The objects of one kind in all watched namespaces.
#[derive(Debug)]
pub struct Cache<K: Watched> {
    stores: Arc<Vec<Store<K>>>,
    unsynced: Arc<AtomicUsize>,
}

impl<K: Watched> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            stores: Arc::clone(&self.stores),
            unsynced: Arc::clone(&self.unsynced),
        }
    }
}

impl<K: Watched> Cache<K> {
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = ObjectRef::new(name).within(namespace);
        self.stores.iter().find_map(|store| store.get(&key))
    }

    /// The objects of a namespace, in no order.
    #[must_use]
    pub fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        let here = |object: &K| object.meta().namespace.as_deref() == Some(namespace);
        self.stores
            .iter()
            .flat_map(|store| store.state_filter(here))
            .collect()
    }

    /// Whether each watch has listed once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.unsynced.load(Ordering::Acquire) == 0
    }

    /// Returns when each watch has listed once; `false` where one ended before.
    pub async fn synced(&self) -> bool {
        for store in self.stores.iter() {
            if store.wait_until_ready().await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Where to watch: the whole cluster, or a list of namespaces.
#[derive(Clone, Debug)]
pub enum Scope {
    Cluster,
    Namespaces(Vec<String>),
}

/// Starts watches; they end with the token.
#[derive(Clone)]
pub struct Feeder {
    pub client: Client,
    pub scope: Scope,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Debug for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeder")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// A cache that exists before its watch runs, because hooks look into it.
#[derive(Debug)]
pub struct Prepared<K: Watched> {
    pub cache: Cache<K>,
    writers: Vec<Writer<K>>,
}

impl Feeder {
    /// The empty cache of a kind.
    #[must_use]
    pub fn prepare<K: Watched>(&self) -> Prepared<K> {
        let places = match &self.scope {
            Scope::Cluster => 1,
            Scope::Namespaces(names) => names.len(),
        };
        let writers: Vec<Writer<K>> = (0..places).map(|_| Writer::default()).collect();
        let stores = writers.iter().map(Writer::as_reader).collect();
        Prepared {
            cache: Cache {
                stores: Arc::new(stores),
                unsynced: Arc::new(AtomicUsize::new(places)),
            },
            writers,
        }
    }

    /// Fills a cache from now on.
    pub fn run<K>(&self, prepared: Prepared<K>, config: &watcher::Config, hook: &Hook<K>)
    where
        K: Watched + Resource<Scope = kube::core::NamespaceResourceScope>,
    {
        let apis: Vec<Api<K>> = match &self.scope {
            Scope::Cluster => vec![Api::all(self.client.clone())],
            Scope::Namespaces(names) => names
                .iter()
                .map(|name| Api::namespaced(self.client.clone(), name))
                .collect(),
        };
        let config = config.clone().timeout(WATCH_TIMEOUT_SECONDS);
        for (api, writer) in apis.into_iter().zip(prepared.writers) {
            let feed = Feed {
                writer,
                unsynced: Some(Arc::clone(&prepared.cache.unsynced)),
                hook: Arc::clone(hook),
            };
            self.tasks
                .spawn(feed.run(api, config.clone(), self.stop.clone()));
        }
    }
}

/// Waits after interruptions; back at the start with the first good event.
struct Retry(Duration);

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = (wait * 2).min(WATCH_RETRY_MAX);
        Some(wait)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.0 = WATCH_RETRY_MIN;
    }
}

struct Feed<K: Watched> {
    writer: Writer<K>,
    /// Taken at the first complete list.
    unsynced: Option<Arc<AtomicUsize>>,
    hook: Hook<K>,
}

impl<K: Watched> Feed<K> {
    async fn run(mut self, api: Api<K>, config: watcher::Config, stop: CancellationToken) {
        let kind = K::kind(&()).into_owned();
        let mut events = pin!(watch(api, config).backoff(Retry(WATCH_RETRY_MIN)));
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => self.take(&event),
                Some(Err(error)) => tracing::warn!(%kind, %error, "watch failed, trying again"),
                None => return,
            }
        }
    }

    fn take(&mut self, event: &Event<K>) {
        let store = self.writer.as_reader();
        let before: HashMap<ObjectRef<K>, Arc<K>> = match event {
            Event::Apply(object) | Event::Delete(object) => {
                let key = ObjectRef::from_obj(object);
                store.get(&key).map(|old| (key, old)).into_iter().collect()
            }
            Event::InitDone => by_ref(store.state()),
            Event::Init | Event::InitApply(_) => HashMap::new(),
        };
        self.writer.apply_watcher_event(event);
        let after = match event {
            Event::Apply(object) | Event::Delete(object) => {
                let key = ObjectRef::from_obj(object);
                store.get(&key).map(|new| (key, new)).into_iter().collect()
            }
            Event::InitDone => by_ref(store.state()),
            Event::Init | Event::InitApply(_) => HashMap::new(),
        };
        if matches!(event, Event::InitDone)
            && let Some(unsynced) = self.unsynced.take()
        {
            unsynced.fetch_sub(1, Ordering::AcqRel);
        }
        for change in changes(before, after) {
            (self.hook)(&change);
        }
    }
}

fn by_ref<K: Watched>(objects: Vec<Arc<K>>) -> HashMap<ObjectRef<K>, Arc<K>> {
    objects
        .into_iter()
        .map(|object| (ObjectRef::from_obj(object.as_ref()), object))
        .collect()
}

/// What differs between two looks; an object of the same version is no change.
fn changes<R: Eq + Hash, K: Resource>(
    mut before: HashMap<R, Arc<K>>,
    after: HashMap<R, Arc<K>>,
) -> Vec<Change<K>> {
    let mut found = Vec::new();
    for (key, new) in after {
        let old = before.remove(&key);
        let same = old.as_ref().is_some_and(|old| {
            old.meta().uid == new.meta().uid
                && old.meta().resource_version == new.meta().resource_version
        });
        if !same {
            found.push(Change {
                before: old,
                after: Some(new),
            });
        }
    }
    found.extend(before.into_values().map(|old| Change {
        before: Some(old),
        after: None,
    }));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::changes;

    fn service(version: &str) -> Arc<Service> {
        Arc::new(Service {
            metadata: ObjectMeta {
                name: Some("a".to_owned()),
                namespace: Some("team".to_owned()),
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..Service::default()
        })
    }

    /// R2.8: an object that vanished while no watch ran is noticed at the next list.
    #[test]
    fn a_list_tells_what_came_what_went_and_what_changed_and_nothing_else() {
        let before = HashMap::from([
            ("same", service("1")),
            ("gone", service("2")),
            ("changed", service("3")),
        ]);
        let after = HashMap::from([
            ("same", service("1")),
            ("new", service("5")),
            ("changed", service("4")),
        ]);

        let found = changes(before, after);

        let count = |before: bool, after: bool| {
            found
                .iter()
                .filter(|change| {
                    change.before.is_some() == before && change.after.is_some() == after
                })
                .count()
        };
        assert_eq!(
            (count(true, false), count(false, true), count(true, true)),
            (1, 1, 1)
        );
        assert_eq!(found[0].key(), Some(("team".to_owned(), "a".to_owned())));
    }
}
