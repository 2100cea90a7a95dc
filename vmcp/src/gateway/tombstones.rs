//! Which sessions were deleted.
//!
//! Owns the memory of deleted ids until they would have expired. Never keeps the id itself: ids are
//! long and made by anonymous clients. Bounded, whatever clients do.

use std::collections::{HashSet, VecDeque};

use ring::aead::NONCE_LEN;
use serde::{Deserialize, Serialize};

/// Characters of an id that hold its nonce: 12 bytes in base64.
const NONCE_TEXT: usize = NONCE_LEN / 3 * 4;

/// Deleted ids that are remembered: a day of one deletion a second.
const MAX_TOMBSTONES: usize = 86_400;

/// What is remembered of a deleted id: its nonce, which is drawn anew for each.
type Nonce64 = [u8; NONCE_TEXT];

/// A deleted session as replicas tell each other: the beginning of its id, and when the id expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grave(pub(super) String, pub(super) u64);

/// Deleted ids until they would have expired. Bounded: the oldest goes first, and an id that was
/// forgotten opens an empty session again, nothing else.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    known: HashSet<Nonce64>,
    by_age: VecDeque<(Nonce64, u64)>,
}

impl Tombstones {
    pub(super) fn bury(&mut self, id: &str, expires: u64) {
        let Some(key) = nonce_of(id) else { return };
        if self.known.insert(key) {
            self.by_age.push_back((key, expires));
        }
        if self.by_age.len() > MAX_TOMBSTONES
            && let Some((oldest, _)) = self.by_age.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// All that is remembered, the oldest first.
    pub(super) fn all(&self) -> Vec<Grave> {
        let text = |key: &Nonce64| String::from_utf8_lossy(key).into_owned();
        let all = self.by_age.iter();
        all.map(|(key, expires)| Grave(text(key), *expires))
            .collect()
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        nonce_of(id).is_some_and(|key| self.known.contains(&key))
    }

    /// In the order of their deletion: one that was deleted after an id that lives longer waits for
    /// that one, a day at most.
    pub(super) fn clear_expired(&mut self, now: u64) {
        while let Some((key, _)) = self.by_age.pop_front_if(|(_, expires)| *expires <= now) {
            self.known.remove(&key);
        }
    }
}

fn nonce_of(id: &str) -> Option<Nonce64> {
    id.as_bytes().first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// A replica that is told all of it knows all of it.
    #[test]
    fn what_is_remembered_can_be_told() {
        let (mut here, mut there) = (Tombstones::default(), Tombstones::default());
        here.bury("one-of-two-dead-ids", NOW + 10);
        here.bury("two-of-two-dead-ids", NOW + 20);

        let told = serde_json::to_vec(&here.all()).unwrap();
        for Grave(id, expires) in serde_json::from_slice::<Vec<Grave>>(&told).unwrap() {
            there.bury(&id, expires);
        }

        assert_eq!(there.all(), here.all());
        assert!(there.holds("two-of-two-dead-ids"));
        there.clear_expired(NOW + 10);
        assert!(!there.holds("one-of-two-dead-ids"));
    }

    /// Deleting costs bounded memory, however often it is done.
    #[test]
    fn the_memory_of_deleted_sessions_is_bounded() {
        let mut tombstones = Tombstones::default();
        for number in 0..=MAX_TOMBSTONES {
            tombstones.bury(&format!("{number:016}-and-the-rest"), NOW + 10);
        }

        assert_eq!(tombstones.by_age.len(), MAX_TOMBSTONES);
        assert_eq!(tombstones.known.len(), MAX_TOMBSTONES);
        assert!(
            !tombstones.holds("0000000000000000"),
            "the oldest is forgotten"
        );
        assert!(tombstones.holds("0000000000000001"));
        tombstones.clear_expired(NOW + 10);
        assert!(tombstones.known.is_empty() && tombstones.by_age.is_empty());
    }
}
