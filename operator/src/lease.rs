//! Whether a gateway is alive: its Lease moves. Judged on our own clock alone, because
//! the times in a Lease are another machine's.
//!
//! Pure: observations and `now` come in. A Lease seen for the first time counts as
//! moved just then, so that a restart of the operator takes nothing over too early.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;

use crate::owner::{OwnerKind, controller};

/// What a Lease without a duration of its own means.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Longest duration that we believe: a Lease cannot keep us out for ever.
const MAX_DURATION: Duration = Duration::from_secs(60);

/// Whether somebody holds a Lease, as far as we can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// There is none, or nobody ever held it.
    Absent,
    /// It moved less than its duration ago; it is stale at that instant unless it moves.
    Fresh { until: Instant },
    /// Somebody held it and did not renew it.
    Stale,
}

impl Freshness {
    #[must_use]
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh { .. })
    }
}

/// What was last seen of each Lease, and when it last moved.
#[derive(Debug, Default)]
pub struct LeaseBook {
    seen: HashMap<(String, String), Seen>,
}

#[derive(Debug)]
struct Seen {
    owner_uid: Option<String>,
    known: bool,
    duration: Duration,
    fingerprint: Fingerprint,
    moved: Instant,
}

/// Another value means that the holder lives.
type Fingerprint = (Option<String>, Option<i128>, Option<i32>);

impl LeaseBook {
    /// Takes note of a Lease as it is now. Says whether somebody new holds it or the
    /// holder let go: whether its owner should look again.
    pub fn observe(&mut self, lease: &Lease, now: Instant) -> bool {
        let Some(key) = key_of(lease) else {
            return false;
        };
        let fresh_before = self.freshness_of(&key, now);
        let spec = lease.spec.clone().unwrap_or_default();
        let fingerprint = (
            spec.holder_identity.clone(),
            spec.renew_time.as_ref().map(|time| time.0.as_nanosecond()),
            spec.lease_transitions,
        );
        let owner_uid = controller_uid(lease);
        let moved = match self.seen.get(&key) {
            Some(old) if old.fingerprint == fingerprint && old.owner_uid == owner_uid => old.moved,
            _ => now,
        };
        let held = spec
            .holder_identity
            .is_some_and(|holder| !holder.is_empty());
        let seen = Seen {
            owner_uid,
            known: held || spec.renew_time.is_some(),
            // One that was let go keeps the full time: at a roll the next gateway takes it
            // within seconds, and nothing may flap in between.
            duration: if held {
                duration(spec.lease_duration_seconds)
            } else {
                DEFAULT_DURATION
            },
            fingerprint,
            moved,
        };
        self.seen.insert(key.clone(), seen);
        fresh_before.is_fresh() != self.freshness_of(&key, now).is_fresh()
    }

    /// Forgets a Lease that was deleted.
    pub fn forget(&mut self, lease: &Lease) {
        if let Some(key) = key_of(lease) {
            self.seen.remove(&key);
        }
    }

    /// Whether the owner with this UID holds the Lease of this name.
    #[must_use]
    pub fn freshness(
        &self,
        namespace: &str,
        name: &str,
        owner_uid: &str,
        now: Instant,
    ) -> Freshness {
        let key = (namespace.to_owned(), name.to_owned());
        let belongs = self
            .seen
            .get(&key)
            .is_some_and(|seen| seen.owner_uid.as_deref() == Some(owner_uid));
        if belongs {
            self.freshness_of(&key, now)
        } else {
            Freshness::Absent
        }
    }

    fn freshness_of(&self, key: &(String, String), now: Instant) -> Freshness {
        match self.seen.get(key) {
            Some(seen) if seen.known => {
                let until = seen.moved + seen.duration;
                if now < until {
                    Freshness::Fresh { until }
                } else {
                    Freshness::Stale
                }
            }
            _ => Freshness::Absent,
        }
    }
}

fn key_of(lease: &Lease) -> Option<(String, String)> {
    let meta = &lease.metadata;
    Some((meta.namespace.clone()?, meta.name.clone()?))
}

/// UID of the VirtualMCPServer that the Lease belongs to, whether as controller or not.
fn controller_uid(lease: &Lease) -> Option<String> {
    let meta = &lease.metadata;
    let any = || {
        let kind = OwnerKind::VirtualMcpServer.as_str();
        let mut owners = meta.owner_references.iter().flatten();
        owners.find(|reference| reference.kind == kind)
    };
    controller(meta)
        .or_else(any)
        .map(|reference| reference.uid.clone())
}

fn duration(seconds: Option<i32>) -> Duration {
    seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(DEFAULT_DURATION, Duration::from_secs)
        .min(MAX_DURATION)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use jiff::Timestamp;
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};

    use super::{Freshness, LeaseBook};

    fn lease(holder: &str, renewed: i64) -> Lease {
        Lease {
            metadata: ObjectMeta {
                namespace: Some("team".to_owned()),
                name: Some("vmcp-all".to_owned()),
                owner_references: Some(vec![OwnerReference {
                    kind: "VirtualMCPServer".to_owned(),
                    uid: "1".to_owned(),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(10),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn freshness(book: &LeaseBook, now: Instant) -> Freshness {
        book.freshness("team", "vmcp-all", "1", now)
    }

    /// Decision 7: stale is what has not moved for one leaseDuration on our own clock,
    /// whatever the times in the Lease say.
    #[test]
    fn a_lease_is_fresh_while_it_moves_and_stale_one_duration_after_it_stopped() {
        let start = Instant::now();
        let mut book = LeaseBook::default();
        assert_eq!(freshness(&book, start), Freshness::Absent);

        assert!(book.observe(&lease("pod-a", 1_000), start));
        assert!(!book.observe(&lease("pod-a", 1_003), at(start, 3)));
        assert!(!book.observe(&lease("pod-a", 1_003), at(start, 6)));

        let until = at(start, 13);
        assert_eq!(freshness(&book, at(start, 12)), Freshness::Fresh { until });
        assert_eq!(freshness(&book, at(start, 13)), Freshness::Stale);
        assert!(book.observe(&lease("pod-b", 900), at(start, 20)));
        assert!(freshness(&book, at(start, 29)).is_fresh());
    }

    /// Decision 7: at a roll the old gateway lets its Lease go and the new one takes it;
    /// in between nobody takes over.
    #[test]
    fn a_released_lease_is_given_the_time_in_which_another_gateway_takes_it() {
        let start = Instant::now();
        let mut book = LeaseBook::default();
        book.observe(&lease("pod-a", 1), start);

        let mut released = lease("", 2);
        if let Some(spec) = released.spec.as_mut() {
            spec.lease_duration_seconds = Some(1);
        }
        assert!(!book.observe(&released, at(start, 1)));

        assert!(freshness(&book, at(start, 10)).is_fresh());
        assert_eq!(freshness(&book, at(start, 11)), Freshness::Stale);
    }

    /// R2.8: a Lease that a deleted VirtualMCPServer of the same name left says nothing.
    #[test]
    fn a_lease_of_another_owner_counts_as_absent() {
        let start = Instant::now();
        let mut book = LeaseBook::default();
        book.observe(&lease("pod-a", 1), start);

        let other = book.freshness("team", "vmcp-all", "2", start);

        assert_eq!(other, Freshness::Absent);
        book.forget(&lease("pod-a", 1));
        assert_eq!(freshness(&book, start), Freshness::Absent);
    }
}
