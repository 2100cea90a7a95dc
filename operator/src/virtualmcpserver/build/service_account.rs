//! The ServiceAccount of a gateway: it reads our kinds and writes its own status.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::virtualmcpserver::validate::ValidatedGateway;

/// The token is mounted by the pod that says so, not by every pod that names the account.
#[must_use]
pub fn service_account(gateway: &ValidatedGateway) -> ServiceAccount {
    ServiceAccount {
        metadata: gateway.owner.child_meta(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
