//! Who still has to hear what about which session.

use std::sync::Arc;

use vmcp_core::limits::MAX_SESSIONS;
use vmcp_core::session::{Attempt, News, Telling, Told};

const BOOT: &str = "one process";

fn none() -> Vec<Arc<str>> {
    Vec::new()
}

fn pods(pods: &[&str]) -> Vec<Box<str>> {
    pods.iter().copied().map(Into::into).collect()
}

/// With these as the others, and all of them have heard what there is.
fn among(others: &[&str]) -> Telling {
    let mut telling = Telling::default();
    telling.replicas(&pods(others), none);
    while let Some((attempt, _)) = telling.due() {
        telling.heard(&attempt, BOOT, none);
    }
    telling
}

fn wants(ids: &[&str]) -> Told {
    let ids = ids.iter().copied().map(Arc::from);
    ids.map(|id| (id, News::Wants)).collect()
}

/// What the only other replica is told now.
fn told(telling: &mut Telling) -> Option<(Attempt, Told)> {
    let due = telling.due();
    assert_eq!(telling.due(), None, "one message at a time");
    due
}

/// Whoever hears is waited for until it has heard.
#[test]
fn it_is_known_when_everybody_has_heard() {
    let mut telling = among(&["x", "y"]);
    assert!(telling.is_known("s"));

    telling.news(&"s".into(), News::Wants);

    let (first, told) = telling.due().expect("news");
    assert_eq!(told, wants(&["s"]));
    let (second, told) = telling.due().expect("for the other, too");
    assert_eq!(told, wants(&["s"]));
    assert_ne!(first.pod, second.pod);
    telling.heard(&first, BOOT, none);
    assert!(!telling.is_known("s"), "the other one has not heard");
    telling.heard(&second, BOOT, none);
    assert!(telling.is_known("s"));
}

/// One message at a time, so that none overtakes another; what became newer meanwhile is told next.
#[test]
fn what_changes_on_the_way_is_told_again() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let (attempt, _) = told(&mut telling).expect("news");

    telling.news(&"s".into(), News::Over(7));

    telling.heard(&attempt, BOOT, none);
    assert!(!telling.is_known("s"));
    let (_, again) = told(&mut telling).expect("more news");
    assert_eq!(again, Told::from([("s".into(), News::Over(7))]));
}

/// A hung replica holds up the first that waits, and nobody after it.
#[test]
fn one_that_does_not_hear_is_waited_for_once() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let (attempt, _) = told(&mut telling).expect("news");
    telling.deaf(&attempt);

    assert!(telling.is_known("s"), "nobody waits for it");
    telling.news(&"t".into(), News::Wants);
    assert!(telling.is_known("t"));
    assert_eq!(told(&mut telling), None, "not in this round");
    telling.round();
    let (attempt, all) = told(&mut telling).expect("in the next");
    assert_eq!(all, wants(&["s", "t"]));
    telling.heard(&attempt, BOOT, none);
    telling.news(&"s".into(), News::Wants);
    assert!(!telling.is_known("s"), "it is waited for again");
}

/// One that never hears is spoken to ever more seldom, within bounds.
#[test]
fn one_that_never_hears_is_left_alone_for_longer() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let mut rounds = Vec::new();
    for round in 0..8 {
        if let Some((attempt, _)) = told(&mut telling) {
            rounds.push(round);
            telling.deaf(&attempt);
        }
        telling.round();
    }
    assert_eq!(rounds, [0, 1, 3, 5, 7]);
}

/// A process that has come in another's place is told all, though nothing has happened since.
#[test]
fn a_new_process_under_an_old_name_is_told_all() {
    let mut telling = among(&["x"]);
    let greeted = (0..100).find_map(|_| {
        telling.round();
        told(&mut telling)
    });
    let (attempt, greeting) = greeted.expect("it is greeted");
    assert!(greeting.is_empty());
    telling.heard(&attempt, "another process", || vec!["s".into()]);
    let (attempt, all) = told(&mut telling).expect("all");
    assert_eq!(all, wants(&["s"]));
    telling.heard(&attempt, "another process", none);

    // It is spoken to at once where the roster says that something has changed.
    assert_eq!(told(&mut telling), None);
    telling.replicas(&pods(&["x"]), none);
    assert!(told(&mut telling).is_some());
}

/// What is heard of an attempt that belongs to the past says nothing of the present.
#[test]
fn a_late_answer_is_not_taken_for_a_new_one() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    let (late, _) = told(&mut telling).expect("news");
    telling.replicas(&[], none);
    telling.replicas(&pods(&["x"]), || vec!["s".into()]);
    let (attempt, _) = told(&mut telling).expect("it is new, and told all");

    telling.heard(&late, BOOT, none);
    assert!(!telling.is_known("s"));
    telling.deaf(&late);
    assert!(!telling.is_known("s"), "it is still waited for");

    telling.deaf(&attempt);
    telling.round();
    let (_, again) = told(&mut telling).expect("it did not hear");
    assert_eq!(again, wants(&["s"]));
}

/// What there was no room for is told with the next message.
#[test]
fn what_did_not_fit_is_told_next() {
    let mut telling = among(&["x"]);
    telling.news(&"s".into(), News::Wants);
    telling.news(&"t".into(), News::Wants);
    let (attempt, _) = told(&mut telling).expect("news");

    telling.postpone(&attempt, wants(&["t"]));

    telling.heard(&attempt, BOOT, none);
    assert!(telling.is_known("s") && !telling.is_known("t"));
    let (_, rest) = told(&mut telling).expect("the rest");
    assert_eq!(rest, wants(&["t"]));
}

/// A gateway of one replica keeps nothing for anybody.
#[test]
fn alone_there_is_nothing_to_tell() {
    let mut telling = Telling::default();
    telling.news(&"s".into(), News::Wants);
    assert!(telling.is_known("s"));
    assert_eq!(told(&mut telling), None);

    telling.replicas(&pods(&["x"]), none);
    let (_, greeting) = told(&mut telling).expect("it is greeted");
    assert!(greeting.is_empty());
}

/// Sessions without end that begin, say something and are over: news without end for a replica
/// that never hears.
#[test]
fn news_for_one_that_never_hears_is_bounded() {
    let mut telling = among(&["x"]);
    for at in 0..MAX_SESSIONS * 3 {
        let id = at.to_string().into();
        telling.news(&id, News::Wants);
        telling.news(&id, News::Over(1));
    }

    let mut all = 0;
    while let Some((attempt, some)) = told(&mut telling) {
        all += some.len();
        telling.heard(&attempt, BOOT, none);
    }
    assert!(all <= MAX_SESSIONS, "{all}");
}
