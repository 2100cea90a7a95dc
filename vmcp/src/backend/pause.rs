//! The pause before a stream that ended is taken up again.
//!
//! Owns the bounds of it: a server may name the time, and may not make us knock without end. Knows
//! no stream.

use std::time::Duration;

/// Unless the server names a time.
const USUAL: Duration = Duration::from_secs(1);

/// Whatever the server says; each try is a new connection.
const LEAST: Duration = Duration::from_millis(250);

/// Doublings of the least pause while nothing comes: up to 4 s, for a server that closes its streams
/// on purpose (SEP-1699) still wants its next word to be heard soon.
const DOUBLINGS: u32 = 4;

/// The longest, whatever the server says.
pub const LONGEST: Duration = Duration::from_secs(30);

/// `named` by the server; `barren` streams in a row brought no message.
#[must_use]
pub fn before_next(named: Option<Duration>, barren: u32) -> Duration {
    let least = LEAST * (1 << barren.min(DOUBLINGS));
    named.unwrap_or(USUAL).clamp(least, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says `retry: 0` is asked a few times a second at most, and ever more seldom.
    #[test]
    fn no_server_makes_us_knock_without_end() {
        let zero = Some(Duration::ZERO);
        let asked: Vec<_> = (0..6).map(|n| before_next(zero, n).as_millis()).collect();

        assert_eq!(asked, [250, 500, 1000, 2000, 4000, 4000]);
        assert_eq!(before_next(zero, u32::MAX), Duration::from_secs(4));
        assert_eq!(before_next(Some(Duration::MAX), 0), LONGEST);
        assert_eq!(before_next(None, 0), USUAL);
        let named = Duration::from_secs(5);
        assert_eq!(before_next(Some(named), 9), named);
    }
}
