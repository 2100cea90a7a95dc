//! The objects of one watch, as last seen.
//!
//! Owns the bookkeeping of a watch stream: what exists now, and whether all of it was seen once.
//! An object that cannot be decoded is reported and skipped; where an earlier version of the same
//! object is known, that one stays. Never touches the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// Objects by name.
#[derive(Clone, Debug)]
pub struct Cache<K> {
    objects: BTreeMap<String, Arc<K>>,
    /// The list that is being received; replaces the rest when it is complete.
    incoming: Option<BTreeMap<String, Arc<K>>>,
    synced: bool,
}

/// What one event did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that a reader would see.
    None,
    /// Objects came, went or changed.
    Changed,
    /// This object cannot be decoded.
    Undecodable { name: String, error: String },
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            incoming: None,
            synced: false,
        }
    }
}

impl<K: Resource> Cache<K> {
    /// The whole list was seen at least once.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.synced
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<K>> {
        self.objects.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &K> + Clone {
        self.objects.values().map(AsRef::as_ref)
    }

    /// Takes one event of the watch.
    pub fn take(&mut self, event: Event<DeserializeGuard<K>>) -> Change {
        match event {
            Event::Init => {
                self.incoming = Some(BTreeMap::new());
                Change::None
            }
            Event::InitApply(guard) => self.put(guard),
            Event::InitDone => {
                if let Some(incoming) = self.incoming.take() {
                    self.objects = incoming;
                }
                self.synced = true;
                Change::Changed
            }
            Event::Apply(guard) => self.put(guard),
            Event::Delete(guard) => {
                self.objects
                    .remove(guard.meta().name.as_deref().unwrap_or_default());
                Change::Changed
            }
        }
    }

    fn put(&mut self, guard: DeserializeGuard<K>) -> Change {
        let name = guard.meta().name.clone().unwrap_or_default();
        let uid = guard.meta().uid.clone();
        let (object, change) = match guard.0 {
            Ok(object) => (Some(Arc::new(object)), Change::Changed),
            Err(invalid) => {
                let earlier = self
                    .objects
                    .get(&name)
                    .filter(|old| old.uid() == uid)
                    .cloned();
                (
                    earlier,
                    Change::Undecodable {
                        name: name.clone(),
                        error: invalid.error,
                    },
                )
            }
        };
        let listing = self.incoming.is_some();
        let objects = self.incoming.as_mut().unwrap_or(&mut self.objects);
        match object {
            Some(object) => drop(objects.insert(name, object)),
            None => drop(objects.remove(&name)),
        }
        match change {
            Change::Changed if listing => Change::None,
            change => change,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn guard(name: &str, data: serde_json::Value) -> DeserializeGuard<ConfigMap> {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": "u"}, "data": data}))
            .unwrap()
    }

    fn names(cache: &Cache<ConfigMap>) -> Vec<String> {
        cache.iter().map(ResourceExt::name_any).collect()
    }

    #[test]
    fn a_cache_is_synced_only_after_the_whole_list() {
        let mut cache = Cache::default();

        cache.take(Event::Init);
        cache.take(Event::InitApply(guard("a", json!({}))));
        assert!(!cache.synced() && names(&cache).is_empty());
        cache.take(Event::InitDone);

        assert!(cache.synced());
        assert_eq!(names(&cache), ["a"]);
    }

    /// R2.8: what vanished while the watch was away is gone after the next list.
    #[test]
    fn an_object_that_the_next_list_lacks_is_gone() {
        let mut cache = Cache::default();
        cache.take(Event::Apply(guard("old", json!({}))));

        cache.take(Event::Init);
        cache.take(Event::InitApply(guard("new", json!({}))));
        cache.take(Event::InitDone);

        assert_eq!(names(&cache), ["new"]);
    }

    #[test]
    fn an_undecodable_object_is_reported_and_its_last_good_version_stays() {
        let mut cache = Cache::default();
        cache.take(Event::Apply(guard("a", json!({"k": "v"}))));

        let change = cache.take(Event::Apply(guard("a", json!("no map"))));
        let other = cache.take(Event::Apply(guard("b", json!("no map"))));

        assert!(matches!(change, Change::Undecodable { name, .. } if name == "a"));
        assert!(matches!(other, Change::Undecodable { name, .. } if name == "b"));
        assert_eq!(names(&cache), ["a"]);
    }
}
