//! The only writer of objects and statuses ("How the operator writes" in the
//! architecture). Both controllers hand it what they built; it looks at the live object
//! first, and writes only what differs.
//!
//! Guarantees: a stranger's object is never written; what is written carries the resource
//! version that was looked at, so that a write on an old view fails; every write is
//! counted, and the guard expects to see it.

use std::fmt::{self, Debug};
use std::sync::Arc;

use json_patch::Patch as JsonPatch;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use vmcp_crds::labels::FIELD_MANAGER_OPERATOR;

use crate::cache::{Cache, Watched};
use crate::client::{CallError, patiently};
use crate::ensured::Ensured;
use crate::fields;
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::owner::{Owner, Standing, controller};
use crate::patch::{replace, test};
use crate::settled::Settled;

/// A kind that we build.
pub trait Built: Watched + Serialize + Resource<Scope = NamespaceResourceScope> {}

impl<K> Built for K where K: Watched + Serialize + Resource<Scope = NamespaceResourceScope> {}

/// See the module.
pub struct Writer {
    client: Client,
    metrics: Metrics,
    guard: Arc<Guard>,
    settled: Settled,
}

impl Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    #[must_use]
    pub fn new(client: Client, metrics: Metrics, guard: Arc<Guard>) -> Self {
        Self {
            client,
            metrics,
            guard,
            settled: Settled::default(),
        }
    }

    /// Makes the object stand there as wanted, if the name is free or ours.
    ///
    /// # Errors
    /// The API server cannot be reached, or somebody was faster.
    pub async fn ensure<K: Built>(
        &self,
        owner: &Owner,
        wanted: &K,
        cache: &Cache<K>,
    ) -> Result<Ensured, CallError> {
        let name = wanted.name_any();
        let api: Api<K> = Api::namespaced(self.client.clone(), &owner.namespace);
        let live = match cache.get(&owner.namespace, &name) {
            Some(cached) => Some(cached),
            // The cache holds what carries our label only; a stranger's object may not.
            None => patiently(|| api.get_opt(&name)).await?.map(Arc::new),
        };
        let done = match live {
            None => self.create(&api, wanted).await,
            Some(live) => match owner.standing(live.meta()) {
                Standing::Strangers => return Ok(Ensured::Stranger),
                Standing::Predecessors | Standing::Leaving => return Ok(Ensured::Leaving),
                Standing::Ours => self.update(&api, wanted, &live).await,
            },
        };
        match done {
            Ok((ensured, Some(written))) => {
                self.guard.expect_written(&owner.uid, cache, written.meta());
                Ok(ensured)
            }
            Ok((ensured, None)) => Ok(ensured),
            Err(CallError::Refused { code, message }) => Ok(Ensured::Refused { code, message }),
            Err(error) => Err(error),
        }
    }

    /// Makes a Secret, if its name is free. The only thing that we may do with Secrets.
    ///
    /// # Errors
    /// `AlreadyExists`; else as for [`Writer::ensure`].
    pub async fn mint(&self, namespace: &str, secret: &Secret) -> Result<(), CallError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER_OPERATOR.to_owned()),
            ..PostParams::default()
        };
        patiently(|| api.create(&params, secret)).await?;
        self.wrote::<Secret>("create");
        Ok(())
    }

    async fn create<K: Built>(
        &self,
        api: &Api<K>,
        wanted: &K,
    ) -> Result<(Ensured, Option<K>), CallError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER_OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let written = patiently(|| api.create(&params, wanted)).await?;
        self.wrote::<K>("create");
        Ok((Ensured::Created, Some(written)))
    }

    async fn update<K: Built>(
        &self,
        api: &Api<K>,
        wanted: &K,
        live: &K,
    ) -> Result<(Ensured, Option<K>), CallError> {
        let mut body = serde_json::to_value(wanted)?;
        let found = serde_json::to_value(live)?;
        let meta = live.meta();
        let same = fields::contains(&found, &body)
            && !fields::owns_more(meta, (FIELD_MANAGER_OPERATOR, ""), &found, &body)
            && fields::owns_all(meta, FIELD_MANAGER_OPERATOR, &body);
        let uid = live.uid().unwrap_or_default();
        if same || self.settled.is_what_we_got(&uid, &body, &found) {
            return Ok((Ensured::Unchanged, None));
        }
        let wanted = body.clone();
        let version = match fields::position_of_update(meta, FIELD_MANAGER_OPERATOR) {
            Some(position) => self.adopt(api, live, position).await?,
            None => live.resource_version(),
        };
        body["metadata"]["resourceVersion"] = json!(version);
        let params = PatchParams::apply(FIELD_MANAGER_OPERATOR).force();
        let name = live.name_any();
        let patch = Patch::Apply(&body);
        let written = patiently(|| api.patch(&name, &params, &patch)).await?;
        self.wrote::<K>("apply");
        let got = serde_json::to_value(&written)?;
        self.settled.note(uid, &wanted, &got);
        // Taking fields over and other words for the same value roll nothing out.
        let changed = written.meta().generation != meta.generation;
        let ensured = if changed {
            Ensured::Updated
        } else {
            Ensured::Unchanged
        };
        Ok((ensured, Some(written)))
    }

    /// Turns the entry that our POST left in `managedFields` into one of an apply: an apply
    /// removes only what an earlier apply owned. Returns the new resource version. The
    /// apply that follows lets go of the defaults that a POST owns as well.
    async fn adopt<K: Built>(
        &self,
        api: &Api<K>,
        live: &K,
        position: usize,
    ) -> Result<Option<String>, CallError> {
        let operation = format!("/metadata/managedFields/{position}/operation");
        let patch = JsonPatch(vec![
            test("/metadata/resourceVersion", json!(live.resource_version())),
            replace(&operation, json!(fields::APPLY)),
        ]);
        let name = live.name_any();
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER_OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        let body = Patch::Json::<()>(patch.clone());
        let written = match patiently(|| api.patch(&name, &params, &body)).await {
            Ok(written) => written,
            Err(error) => return Err(self.moved_on(live, &patch, error).await),
        };
        self.wrote::<K>("patch");
        Ok(written.resource_version())
    }

    /// Deletes every object of the kind that this owner controls and that is not `kept`.
    ///
    /// # Errors
    /// As for [`Writer::ensure`].
    pub async fn collect<K: Built>(
        &self,
        owner: &Owner,
        kept: Option<&K>,
        cache: &Cache<K>,
    ) -> Result<usize, CallError> {
        let kept = kept.map(ResourceExt::name_any);
        let mut deleted = 0;
        for object in cache.list(&owner.namespace) {
            let ours = controller(object.meta()).is_some_and(|by| by.uid == owner.uid);
            let going = object.meta().deletion_timestamp.is_some();
            if ours && !going && Some(object.name_any()) != kept {
                self.delete(owner, object.as_ref(), cache).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Deletes exactly this object in exactly this version.
    ///
    /// # Errors
    /// As for [`Writer::ensure`].
    pub async fn delete<K: Built>(
        &self,
        owner: &Owner,
        object: &K,
        cache: &Cache<K>,
    ) -> Result<(), CallError> {
        let api: Api<K> = Api::namespaced(self.client.clone(), &owner.namespace);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        });
        let name = object.name_any();
        match patiently(|| api.delete(&name, &params)).await {
            Ok(_) => self.wrote::<K>("delete"),
            Err(CallError::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.guard.expect_deleted(&owner.uid, cache, object.meta());
        Ok(())
    }

    /// Applies our whole group of status fields, if it differs from what stands there.
    ///
    /// # Errors
    /// As for [`Writer::ensure`].
    pub async fn status<K, C>(
        &self,
        object: &K,
        status: &Value,
        cache: &Cache<C>,
    ) -> Result<Ensured, CallError>
    where
        K: Built,
        C: Watched,
    {
        let found = serde_json::to_value(object)?;
        let wanted = json!({ "status": status });
        let meta = object.meta();
        let same = fields::contains(&found, &wanted)
            && !fields::owns_more(meta, (FIELD_MANAGER_OPERATOR, "status"), &found, &wanted);
        if same {
            return Ok(Ensured::Unchanged);
        }
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {
                "name": name,
                "namespace": namespace,
                "resourceVersion": object.resource_version(),
            },
            "status": status,
        });
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams::apply(FIELD_MANAGER_OPERATOR).force();
        let patch = Patch::Apply(&body);
        let written = patiently(|| api.patch_status(&name, &params, &patch)).await?;
        self.wrote::<K>("apply_status");
        let uid = object.uid().unwrap_or_default();
        self.guard.expect_written(&uid, cache, written.meta());
        Ok(Ensured::Updated)
    }

    /// Applies a JSON patch to the status; its `test` operations are the precondition.
    ///
    /// # Errors
    /// `Conflict` where a test failed; else as for [`Writer::ensure`].
    pub async fn patch_status<K, C>(
        &self,
        object: &K,
        patch: JsonPatch,
        cache: &Cache<C>,
    ) -> Result<(), CallError>
    where
        K: Built,
        C: Watched,
    {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER_OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        let body = Patch::Json::<()>(patch.clone());
        let written = match patiently(|| api.patch_status(&name, &params, &body)).await {
            Ok(written) => written,
            Err(error) => {
                return Err(self.moved_on(object, &patch, error).await);
            }
        };
        self.wrote::<K>("patch_status");
        let uid = object.uid().unwrap_or_default();
        self.guard.expect_written(&uid, cache, written.meta());
        Ok(())
    }

    /// The status as the server holds it, for patches that test it to the letter.
    ///
    /// # Errors
    /// As for [`Writer::ensure`]; `NotFound` where another object has the name by now.
    pub async fn raw_status<K: Built>(&self, object: &K) -> Result<Value, CallError> {
        let mut found = self.raw(object).await?;
        if found.metadata.uid != object.meta().uid {
            return Err(CallError::NotFound);
        }
        Ok(found.data["status"].take())
    }

    async fn raw<K: Built>(&self, object: &K) -> Result<DynamicObject, CallError> {
        let resource = ApiResource::erase::<K>(&());
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &resource);
        let name = object.name_any();
        patiently(|| api.get(&name)).await
    }

    /// The API server answers 422 to a patch whose `test` failed, and also to one that the
    /// schema refuses: only the first is a race, the second would be one for ever.
    async fn moved_on<K: Built>(
        &self,
        object: &K,
        patch: &JsonPatch,
        error: CallError,
    ) -> CallError {
        if !matches!(error, CallError::Refused { code: 422, .. }) {
            return error;
        }
        let found = match self.raw(object).await {
            Ok(found) => found,
            Err(error) => return error,
        };
        match serde_json::to_value(&found) {
            Ok(found) if fits(&found, patch) => error,
            Ok(_) => CallError::Conflict,
            Err(error) => error.into(),
        }
    }

    fn wrote<K: Resource<DynamicType = ()>>(&self, verb: &str) {
        self.metrics.wrote(&K::kind(&()), verb);
    }
}

/// Whether the object is still what the patch tests for.
fn fits(object: &Value, patch: &JsonPatch) -> bool {
    json_patch::patch(&mut object.clone(), patch).is_ok()
}

#[cfg(test)]
mod tests {
    use json_patch::Patch;
    use serde_json::json;

    use super::fits;
    use crate::patch::{remove, test};

    /// Decision 7: a failed test means that the object must be read again; a patch that still
    /// fits was refused for itself.
    #[test]
    fn a_patch_fits_as_long_as_its_tests_hold() {
        let object = json!({"metadata": {"uid": "1"}, "status": {"entries": ["a"]}});
        let of = |uid: &str, entry: &str| {
            Patch(vec![
                test("/metadata/uid", json!(uid)),
                test("/status/entries/0", json!(entry)),
                remove("/status/entries/0"),
            ])
        };

        assert!(fits(&object, &of("1", "a")));
        assert!(!fits(&object, &of("2", "a")));
        assert!(!fits(&object, &of("1", "b")));
    }
}
