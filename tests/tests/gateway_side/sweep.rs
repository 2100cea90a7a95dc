//! The end of sessions that nobody uses.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::timeout;

use vmcp_core::mcp::Era;
use vmcp_tests::eventually::eventually;

use crate::kit::{Said, World, shut};

const SOON: Duration = Duration::from_secs(10);

/// R4.8: a backend that does not answer the end of a session holds up no other, and not the clock:
/// the process still stops.
#[tokio::test(start_paused = true)]
async fn a_hung_backend_does_not_hold_up_the_sweep() -> Result<()> {
    let world = World::with(Era::Legacy, |sessions| {
        sessions.with_max_age(Duration::ZERO)
    })
    .await;
    shut(&world.port.ends);
    let gateway = world.gateway.clone();
    let sweep = tokio::spawn(async move { gateway.sweep().await });

    for expected in 1..=3 {
        world.client().await;
        eventually("its end is told", SOON, || async {
            let ends = world.port.count(&Said::End);
            ensure!(ends == expected, "{ends} of {expected}");
            Ok(())
        })
        .await?;
    }
    world.stopping.cancel();

    timeout(SOON, sweep).await??;
    Ok(())
}

/// Memory is bounded, however many sessions a hung backend keeps from their end.
#[tokio::test(start_paused = true)]
async fn so_many_end_at_a_time_and_the_rest_waits_its_turn() -> Result<()> {
    let world = World::with(Era::Legacy, |sessions| {
        sessions.with_max_age(Duration::ZERO)
    })
    .await;
    shut(&world.port.ends);
    for _ in 0..200 {
        world.client().await;
    }
    let gateway = world.gateway.clone();
    let sweep = tokio::spawn(async move { gateway.sweep().await });
    let told = |expected: usize| {
        let port = &world.port;
        eventually("so many are told", SOON, move || async move {
            let ends = port.count(&Said::End);
            ensure!(ends == expected, "{ends} of {expected}");
            Ok(())
        })
    };

    told(64).await?;
    world.port.ends.add_permits(10);
    told(74).await?;
    world.port.ends.add_permits(200);
    told(200).await?;
    sweep.abort();
    Ok(())
}
