//! What health was told last of the calls to a backend.
//!
//! Owns the silence about what health knows already: each word wakes the registry, and a backend
//! that answers ten thousand calls a second would say "well" as often. A failure is always told, and
//! so is the first success after it. Judges nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use vmcp_core::health::CallOutcome;

/// So long a success speaks for those that follow it; far less than the shortest check interval.
const SPEAKS_FOR: Duration = Duration::from_millis(100);

/// Neither: a failure, or nothing so far.
const NOTHING: u64 = 0;
const OK: u64 = 1;
const TOOL_ERROR: u64 = 2;

/// Kinds of a word.
const KINDS: u64 = 3;

#[derive(Debug)]
pub struct Told {
    since: Instant,
    /// The last word, and the microseconds at which it was said: most calls only look at it, which
    /// costs no other lane anything.
    last: AtomicU64,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(NOTHING),
        }
    }
}

impl Told {
    /// Is this worth telling? If so, it counts as told.
    #[must_use]
    pub fn is_news(&self, outcome: &CallOutcome) -> bool {
        let word = match outcome {
            CallOutcome::Ok => OK,
            CallOutcome::ToolError => TOOL_ERROR,
            CallOutcome::Failed(_) => NOTHING,
            CallOutcome::Cancelled => return true,
        };
        let now = self.since.elapsed();
        let last = self.last.load(Ordering::Acquire);
        let at = Duration::from_micros(last / KINDS);
        if word != NOTHING && word == last % KINDS && now.saturating_sub(at) < SPEAKS_FOR {
            return false;
        }
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX / KINDS);
        let said = micros.saturating_mul(KINDS).saturating_add(word);
        if word == NOTHING {
            self.last.store(said, Ordering::Release);
        } else {
            // A failure that was noted meanwhile stays the last word: what follows it is told.
            let _ = self
                .last
                .compare_exchange(last, said, Ordering::AcqRel, Ordering::Relaxed);
        }
        true
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
