//! Step 4: the writes of a visit, in order. What does not belong to the spec any longer
//! is deleted; a name that a stranger holds stops the rest of the chain.

use super::build::Objects;
use super::validate::ValidatedServer;
use crate::client::CallError;
use crate::ensured::{Ensured, Hindrance};
use crate::events::Emission;
use crate::world::World;

/// What the writes came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The first thing in the way.
    pub hindrance: Option<Hindrance>,
}

/// Makes the cluster hold exactly `objects`.
///
/// # Errors
/// The API server cannot be reached, or somebody was faster.
pub async fn apply(
    world: &World,
    server: &ValidatedServer,
    objects: &Objects,
) -> Result<Applied, CallError> {
    collect(world, server, objects).await?;
    let (owner, writer, caches) = (&server.owner, &world.writer, &world.caches);
    let name = owner.child_name();
    let mut hindrance = None;
    if let Some(account) = &objects.service_account {
        let done = writer
            .ensure(owner, account, &caches.service_accounts)
            .await?;
        hindrance = Hindrance::of("ServiceAccount", &name, &done);
    }
    if let (None, Some(service)) = (&hindrance, &objects.service) {
        let done = writer.ensure(owner, service, &caches.services).await?;
        hindrance = Hindrance::of("Service", &name, &done);
    }
    if let (None, Some(deployment)) = (&hindrance, &objects.deployment) {
        let done = writer
            .ensure(owner, deployment, &caches.deployments)
            .await?;
        hindrance = Hindrance::of("Deployment", &name, &done);
        if matches!(done, Ensured::Created | Ensured::Updated) {
            world.events.emit(Emission::rollout_started(owner, &name));
        }
    }
    Ok(Applied { hindrance })
}

async fn collect(
    world: &World,
    server: &ValidatedServer,
    objects: &Objects,
) -> Result<(), CallError> {
    let (owner, writer, caches) = (&server.owner, &world.writer, &world.caches);
    writer
        .collect(owner, objects.deployment.as_ref(), &caches.deployments)
        .await?;
    writer
        .collect(owner, objects.service.as_ref(), &caches.services)
        .await?;
    writer
        .collect(
            owner,
            objects.service_account.as_ref(),
            &caches.service_accounts,
        )
        .await?;
    Ok(())
}
