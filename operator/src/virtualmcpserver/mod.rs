//! The VirtualMCPServer controller: five steps and the driver that joins them.
//!
//! Writes control facts always and served facts only while no gateway holds the Lease
//! (architecture, decision 7); removes entries of deleted servers that nobody else does.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod facts;
pub mod keys;
mod mint;
pub mod prune;
pub mod status;
pub mod validate;

use std::time::{Duration, Instant};

use crate::client::CallError;
use crate::limits::GUARD_DELAY;
use crate::queue::{Key, Next};
use crate::world::World;

/// One visit.
///
/// # Errors
/// The API server cannot be reached, or somebody was faster than we.
pub async fn reconcile(world: &World, key: &Key) -> Result<Next, CallError> {
    let Some(mut seen) = dereference::dereference(world, key) else {
        world.forget(key);
        return Ok(Next::OnEvent);
    };
    let Some(mut gateway) = validate::validate(&seen.gateway, &seen.servers, &world.settings)
    else {
        return Ok(Next::OnEvent);
    };
    if !world.is_settled(&gateway.owner.uid) {
        return Ok(Next::After(GUARD_DELAY));
    }
    dereference::confirm(world, &mut seen).await?;
    let objects = build::objects(&gateway);
    let applied = apply::apply(world, &mut gateway, &seen, objects).await?;
    let facts = facts::gather(&gateway, &seen, applied.hindrance.as_ref());
    let pruned = apply::prune(world, key, &facts, &seen).await?;
    if pruned.wrote {
        return Ok(Next::After(GUARD_DELAY));
    }
    let body = status::group(&facts, &seen.gateway, world.now())?;
    let cache = &world.caches.virtual_servers;
    world
        .writer
        .status(seen.gateway.as_ref(), &body, cache)
        .await?;
    world.announce(key, &seen.gateway, seen.freshness);
    let look_again = facts.hindrance.map(|hindrance| hindrance.look_again);
    let stale_at = facts
        .stale_at
        .map(|at| at.saturating_duration_since(Instant::now()));
    Ok(soonest([
        look_again,
        stale_at,
        pruned.wait,
        applied.keys_due,
    ]))
}

/// The next visit that is due without any event.
fn soonest(delays: [Option<Duration>; 4]) -> Next {
    let delay = delays.into_iter().flatten().min();
    delay.map_or(Next::OnEvent, Next::After)
}
