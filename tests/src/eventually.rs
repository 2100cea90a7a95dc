//! Waiting for something that another process will bring about.
//!
//! Owns the one way in which tests wait: ask again every [`POLL`] until the answer is good or the
//! deadline has passed, and then say what was waited for and what the last answer was. It must
//! never be replaced by a sleep: a sleep is too short on a busy machine and too long on a free one.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// Pause between two tries: far below what a person notices, far above what a try costs.
pub const POLL: Duration = Duration::from_millis(50);

/// Calls `f` until it answers `Ok`, for at most `within`; a try that hangs counts as a failed one.
///
/// # Errors
/// The deadline has passed; the error names `what` and carries the error of the last try.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut f: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + within;
    let mut last = None;
    loop {
        match timeout_at(deadline, f()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_elapsed) => {
                let hung = anyhow!("the last try was still running at the deadline");
                return Err(last
                    .map_or(hung, |error| {
                        error.context("the last try hung; the error of the one before")
                    })
                    .context(format!("not within {within:?}: {what}")));
            }
        }
        if Instant::now() + POLL >= deadline {
            return Err(last
                .unwrap_or_else(|| anyhow!("never tried"))
                .context(format!("not within {within:?}: {what}")));
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::ensure;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_again_until_the_answer_is_good() {
        let tries = Cell::new(0);

        let answer = eventually("third try", Duration::from_secs(1), || async {
            tries.set(tries.get() + 1);
            ensure!(tries.get() >= 3, "try {}", tries.get());
            Ok(tries.get())
        })
        .await;

        assert_eq!(answer.expect("an answer"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_at_the_deadline_and_says_what_the_last_try_said() {
        let started = Instant::now();

        let error = eventually("pigs fly", Duration::from_secs(2), || async {
            Err::<(), _>(anyhow!("still on the ground"))
        })
        .await
        .expect_err("a deadline");

        assert_eq!(
            format!("{error:#}"),
            "not within 2s: pigs fly: still on the ground"
        );
        assert!(started.elapsed() <= Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_hangs_does_not_outlive_the_deadline() {
        let error = eventually("an answer", Duration::from_secs(2), || async {
            std::future::pending::<Result<()>>().await
        })
        .await
        .expect_err("a deadline");

        assert!(format!("{error:#}").contains("still running"));
    }
}
