//! A namespace for one test.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace as Resource, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::eventually::eventually;
use crate::process::Launch;

use super::ControlPlane;
use super::access::timed;
use super::ports::random;

/// Milliseconds on a free machine; many tests may make theirs at once.
const ACCOUNT_MADE: Duration = Duration::from_secs(60);

/// A namespace with a unique name, deleted when this is dropped; nobody waits for its end.
#[derive(Debug)]
pub struct Namespace {
    /// `PREFIX-XXXXXXXX`
    pub name: String,
    plane: ControlPlane,
    deleted: bool,
}

impl ControlPlane {
    /// A new namespace whose default ServiceAccount is there.
    ///
    /// # Errors
    /// The API server refuses the name, or the controllers do not work.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let client = self.admin().await?;
        let name = format!("{prefix}-{:08x}", random() & 0xffff_ffff);
        let wanted = Resource {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Resource::default()
        };
        let namespaces: Api<Resource> = Api::all(client.clone());
        timed(
            "creating a namespace",
            namespaces.create(&PostParams::default(), &wanted),
        )
        .await?;
        let made = Namespace {
            name,
            plane: self.clone(),
            deleted: false,
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &made.name);
        eventually("the default ServiceAccount", ACCOUNT_MADE, || async {
            accounts.get("default").await.context("not yet")
        })
        .await?;
        Ok(made)
    }
}

impl Namespace {
    /// Deletes it; returns once that is accepted.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn finish(mut self) -> Result<()> {
        let namespaces: Api<Resource> = Api::all(self.plane.admin().await?);
        timed(
            "deleting a namespace",
            namespaces.delete(&self.name, &DeleteParams::default()),
        )
        .await?;
        self.deleted = true;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.deleted || !self.plane.admin_kubeconfig().exists() {
            return;
        }
        // A destructor cannot wait for an answer, and its runtime may be gone already.
        let kubectl = Launch::new(self.plane.kubectl())
            .arg("--kubeconfig")
            .arg(self.plane.admin_kubeconfig())
            .args(["delete", "namespace", &self.name])
            .args([
                "--wait=false",
                "--ignore-not-found",
                "--request-timeout=20s",
            ]);
        // The control plane goes away anyway: what is left goes with it.
        let _left = kubectl.start_detached(std::path::Path::new("/dev/null"));
    }
}
