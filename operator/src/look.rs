//! Live looks at the API server, where a cache may not be trusted: before the operator
//! takes over from a gateway, and before it removes what a gateway wrote.
//!
//! Reads only. Exists because two watches may lag differently behind the same cluster.

use std::fmt;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use vmcp_crds::MCPServer;

use crate::client::{CallError, patiently};

/// Reads single objects.
#[derive(Clone)]
pub struct Reader {
    client: Client,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The Lease of this name as it is now.
    ///
    /// # Errors
    /// The API server cannot be reached or refuses.
    pub async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, CallError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        patiently(|| api.get_opt(name)).await
    }

    /// Whether the MCPServer of this name and UID exists and nobody deletes it, whatever
    /// else it holds.
    ///
    /// # Errors
    /// The API server cannot be reached or refuses.
    pub async fn is_alive(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<bool, CallError> {
        let api: Api<MCPServer> = Api::namespaced(self.client.clone(), namespace);
        let found = patiently(|| api.get_metadata_opt(name)).await?;
        Ok(found.is_some_and(|object| {
            object.metadata.uid.as_deref() == Some(uid)
                && object.metadata.deletion_timestamp.is_none()
        }))
    }
}
