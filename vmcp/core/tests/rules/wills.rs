//! What is kept of sessions elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use vmcp_core::id::BackendName;
use vmcp_core::limits;
use vmcp_core::session::{Bequest, Subscribed, Will, Wills, next_revision};

use crate::support::{SOME, cases};

const NOW: u64 = 1_800_000_000;

fn subscribed(uris: impl IntoIterator<Item = String>) -> Subscribed {
    let uris: BTreeSet<Arc<str>> = uris.into_iter().map(Into::into).collect();
    BTreeMap::from([(BackendName("a".into()), uris)])
}

fn will(id: &str, revision: u64) -> Will {
    let level = Some(format!("\"{revision}\"").into());
    Will::new(id.into(), revision, level, Subscribed::new())
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// Decision 8: in whatever order they come, the newest of each session is kept.
    #[test]
    fn the_newest_is_kept_in_whatever_order_they_come(
        told in proptest::collection::vec((0_u64..4, 0_u64..50), 1..60)
    ) {
        let mut wills = Wills::default();
        let mut newest = BTreeMap::<u64, u64>::new();
        for (id, revision) in &told {
            wills.keep(will(&id.to_string(), *revision), NOW);
            let known = newest.entry(*id).or_default();
            *known = (*known).max(*revision);
        }

        prop_assert_eq!(wills.len(), newest.len());
        for (id, revision) in newest {
            let id = id.to_string();
            prop_assert_eq!(wills.take(&id), Some(will(&id, revision)));
        }
        prop_assert!(wills.is_empty());
    }
}

/// An older one does not come to life again behind one that wants nothing any more.
#[test]
fn one_that_wants_nothing_is_remembered_too() {
    let mut wills = Wills::default();
    let nothing = Will::new("id".into(), 2, None, Subscribed::new());

    wills.keep(nothing.clone(), NOW);
    wills.keep(will("id", 1), NOW);

    assert_eq!(wills.take("id"), Some(nothing));
}

/// What a replica that is behind says of a session's end takes nothing away that is newer.
#[test]
fn an_end_takes_only_what_was_said_before_it() {
    let mut wills = Wills::default();
    wills.keep(will("id", 5), NOW);

    wills.over("id", 4);
    assert_eq!(wills.get("id"), Some(&will("id", 5)));
    wills.over("id", 5);
    assert!(wills.is_empty());
}

/// A session that was forgotten and comes back is newer than all that was known of it.
#[test]
fn what_is_said_anew_is_newer_than_what_was_forgotten() {
    let first = next_revision(0, 1_000);
    assert!(next_revision(first, 1_000) > first, "in the same moment");
    assert!(next_revision(first, 0) > first, "whatever the clock says");
    let long_ago = next_revision(first, 1_001);
    assert!(next_revision(0, 1_002) > long_ago, "after it was forgotten");
}

#[test]
fn a_will_is_forgotten_with_its_id() {
    let mut wills = Wills::default();
    wills.keep(will("short", 1), NOW);
    wills.keep(will("long", 1), NOW + 1);

    wills.sweep(NOW);

    assert_eq!(wills.len(), 1);
    assert!(wills.take("long").is_some());
}

/// One session costs the others no more than this, however much it wants.
#[test]
fn what_is_kept_of_one_session_is_bounded() {
    // Text that is longer as it is written.
    let long = |at: usize| format!("{at:04}{}", "\u{1}".repeat(100));
    let all = subscribed((0..limits::SUBSCRIPTIONS).map(long));
    let level: Arc<str> = "\"debug\"".into();

    let will = Will::new("id".into(), 1, Some(Arc::clone(&level)), all.clone());

    assert_eq!(will.log_level, Some(level));
    let kept = will.subscribed.values().next().expect("some are kept");
    let first: BTreeSet<_> = all.values().flatten().take(kept.len()).cloned().collect();
    assert_eq!(*kept, first, "the last ones are left out");
    let written = serde_json::to_vec(&Bequest::Wants(will)).expect("it can be written");
    let bound = limits::WILL..limits::WILL + limits::URI;
    assert!(written.len() <= bound.end && written.len() > bound.start / 2);
}

/// Nor do all of them together; the one that was told longest ago goes first.
#[test]
fn what_is_kept_of_all_is_bounded() {
    let mut wills = Wills::default();
    let large = |at: usize| {
        let uris = (0..30).map(|uri| format!("{uri}{}", "x".repeat(1_000)));
        Will::new(at.to_string().into(), 1, None, subscribed(uris))
    };
    let fit = limits::WILLS / (30 * 1_000);
    for at in 0..fit {
        wills.keep(large(at), NOW);
        // Told again all the time.
        wills.keep(large(0), NOW);
    }

    assert!(wills.len() < fit, "{} of {fit}", wills.len());
    assert!(wills.len() > fit / 2, "{} of {fit}", wills.len());
    assert!(wills.take("0").is_some() && wills.take(&(fit - 1).to_string()).is_some());
    assert!(wills.take("1").is_none());
}
