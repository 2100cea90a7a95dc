//! The ServiceAccount of the pods: of its own, so that no right that somebody gave to
//! `default` reaches them, and without a token.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::owner::Owner;

#[must_use]
pub fn service_account(owner: &Owner) -> ServiceAccount {
    ServiceAccount {
        metadata: owner.child_meta(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
