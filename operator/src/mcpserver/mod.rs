//! The MCPServer controller: five steps and the driver that joins them.
//!
//! Opens no connection to the server: what is known of its health, gateways report.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod facts;
pub mod status;
pub mod validate;
mod verdict;

use crate::client::CallError;
use crate::limits::GUARD_DELAY;
use crate::queue::{Key, Next};
use crate::world::World;

/// One visit.
///
/// # Errors
/// The API server cannot be reached, or somebody was faster than we.
pub async fn reconcile(world: &World, key: &Key) -> Result<Next, CallError> {
    let Some(seen) = dereference::dereference(world, key) else {
        return Ok(Next::OnEvent);
    };
    let Some(server) = validate::validate(&seen.server) else {
        return Ok(Next::OnEvent);
    };
    if !world.is_settled(&server.owner.uid) {
        return Ok(Next::After(GUARD_DELAY));
    }
    let objects = build::objects(&server);
    let applied = apply::apply(world, &server, &objects).await?;
    let facts = facts::gather(&server, &seen, applied.hindrance.as_ref());
    let status = status::status(&facts, seen.server.status.as_ref(), world.now());
    let body = serde_json::to_value(&status)?;
    let cache = &world.caches.mcp_servers;
    world
        .writer
        .status(seen.server.as_ref(), &body, cache)
        .await?;
    Ok(applied
        .hindrance
        .map_or(Next::OnEvent, |hindrance| Next::After(hindrance.look_again)))
}
