//! How long a control plane that others use stays: until nobody has used it for a while.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::OwnedControlPlane;
use super::shared::{MeetingPlace, unused};
use super::state::replace;

/// How often the servers and the users are looked after.
const LOOK: Duration = Duration::from_millis(500);

/// When a control plane that others use ends.
#[derive(Debug)]
pub struct IdleExit {
    after: Option<Duration>,
    place: Option<MeetingPlace>,
}

impl IdleExit {
    /// Ends after this time without a user, or never; announced to those who look in `place`.
    #[must_use]
    pub fn new(after: Option<Duration>, place: Option<PathBuf>) -> Self {
        Self {
            after,
            place: place.map(MeetingPlace::at),
        }
    }
}

/// Returns when nobody has used the control plane for long enough.
///
/// # Errors
/// A server ended by itself.
pub async fn serve_until_idle(plane: &OwnedControlPlane, idle: &IdleExit) -> Result<()> {
    if let Some(place) = &idle.place {
        let folder = plane.directory().to_string_lossy().into_owned();
        replace(&place.current(), folder.as_bytes())?;
    }
    let mut last_use = Instant::now();
    loop {
        sleep(LOOK).await;
        if let Some(casualty) = plane.casualty() {
            plane.keep_logs();
            bail!("a server ended by itself: {casualty}");
        }
        let Some(after) = idle.after else { continue };
        if unused(plane.directory())?.is_none() {
            last_use = Instant::now();
        } else if last_use.elapsed() >= after && leave(plane, idle)? {
            return Ok(());
        }
    }
}

/// Whether nobody came in the last moment. Whoever comes now finds no announcement.
fn leave(plane: &OwnedControlPlane, idle: &IdleExit) -> Result<bool> {
    let Some(place) = &idle.place else {
        return Ok(true);
    };
    // The order is that of those who come: first the place, then the lease.
    let Some(_held) = place.try_lock()? else {
        return Ok(false);
    };
    if unused(plane.directory())?.is_none() {
        return Ok(false);
    }
    fs::remove_file(place.current()).context("taking the announcement back")?;
    Ok(true)
}
