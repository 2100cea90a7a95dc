//! What health was told last of the calls to a backend.
//!
//! Owns the silence about what health knows already: each word wakes the registry, and a backend
//! that answers ten thousand calls a second would say "well" as often. A failure is always told, and
//! so is the first success after it. Judges nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::health::CallOutcome;

/// So long a success speaks for those that follow it; far less than the shortest check interval.
const SPEAKS_FOR: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Told {
    last: Mutex<Option<(Success, Instant)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Success {
    Ok,
    ToolError,
}

impl Told {
    /// Is this worth telling? If so, it counts as told.
    #[must_use]
    pub fn is_news(&self, outcome: &CallOutcome) -> bool {
        let success = match outcome {
            CallOutcome::Ok => Some(Success::Ok),
            CallOutcome::ToolError => Some(Success::ToolError),
            CallOutcome::Failed(_) => None,
            CallOutcome::Cancelled => return true,
        };
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.is_some_and(|(told, at)| {
            Some(told) == success && now.saturating_duration_since(at) < SPEAKS_FOR
        });
        if !known {
            *last = success.map(|success| (success, now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use vmcp_core::health::{ProbeFailure, ProbeReason, Step};

    use super::*;

    fn failed() -> CallOutcome {
        CallOutcome::Failed(ProbeFailure {
            reason: ProbeReason::ConnectionLost,
            step: Step::Call,
            http_status: None,
            message: String::new(),
        })
    }

    /// R4.9: what changes the picture is told at once, what repeats it is not.
    #[tokio::test(start_paused = true)]
    async fn only_what_repeats_the_last_word_is_kept_back() {
        let told = Told::default();
        assert!(told.is_news(&CallOutcome::Ok));
        assert!(!told.is_news(&CallOutcome::Ok));

        assert!(told.is_news(&failed()), "a failure");
        assert!(told.is_news(&failed()), "each failure counts");
        assert!(told.is_news(&CallOutcome::Ok), "the end of the trouble");
        assert!(!told.is_news(&CallOutcome::Ok));
        assert!(told.is_news(&CallOutcome::ToolError), "another kind");
        assert!(told.is_news(&CallOutcome::Cancelled));
        assert!(!told.is_news(&CallOutcome::ToolError));

        tokio::time::advance(SPEAKS_FOR).await;
        assert!(told.is_news(&CallOutcome::ToolError), "it was long ago");
    }
}
