//! Which replica serves a session whose owner is gone.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vmcp_core::session::{OwnedState, Owner, rendezvous, successor};

use crate::support::{SOME, cases};

fn pods() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("vmcp-all-[a-z0-9]{1,4}", 1..8)
        .prop_map(|pods| pods.into_iter().collect())
}

fn order(id: &str, pods: &[String]) -> Vec<String> {
    let order = rendezvous(id, pods.iter().map(String::as_str));
    order.into_iter().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// All replicas agree, in whatever order and however often they learnt of each pod.
    #[test]
    fn all_replicas_agree(id in ".{0,20}", pods in pods(), seed in any::<u64>()) {
        let mut other = pods.clone();
        other.extend(pods.iter().take(2).cloned());
        let by = usize::try_from(seed % 7).unwrap_or(0) % other.len();
        other.rotate_left(by);
        other.reverse();

        let expected = order(&id, &pods);
        prop_assert_eq!(&expected, &order(&id, &other));
        let first = successor(&id, other.iter().map(String::as_str));
        prop_assert_eq!(first, expected.first().map(String::as_str));
    }

    /// Every pod is in the order once.
    #[test]
    fn the_order_holds_every_pod_once(id in ".{0,20}", pods in pods()) {
        let found = order(&id, &pods);
        let unique: BTreeSet<&String> = found.iter().collect();

        prop_assert_eq!(found.len(), pods.len());
        prop_assert_eq!(unique, pods.iter().collect::<BTreeSet<_>>());
    }

    /// A pod that leaves moves its own sessions and nobody else's; one that comes takes only for
    /// itself.
    #[test]
    fn only_the_sessions_of_a_pod_move_with_it(
        id in ".{0,20}", pods in pods(), at in any::<prop::sample::Index>(),
    ) {
        let gone = pods[at.index(pods.len())].clone();
        let left: Vec<String> = pods.iter().filter(|pod| **pod != gone).cloned().collect();

        let mut expected = order(&id, &pods);
        expected.retain(|pod| *pod != gone);
        prop_assert_eq!(order(&id, &left), expected);
    }

    /// Bytes that name no owner name none, and never panic.
    #[test]
    fn hostile_states_have_no_owner(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(OwnedState::owner_of(&bytes), None);
    }
}

/// Sessions are spread evenly: over 5 pods none has half as much again as its share.
#[test]
fn sessions_are_spread_evenly() {
    let pods = ["a", "b", "c", "d", "e"];
    let mut counts = [0_usize; 5];
    for id in 0..10_000 {
        let chosen = successor(&id.to_string(), pods);
        let at = pods.iter().position(|pod| Some(*pod) == chosen).unwrap();
        counts[at] += 1;
    }

    assert!(
        counts.iter().all(|count| (1_500..2_500).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_state_names_its_owner_whatever_else_it_holds() {
    let owner = OwnedState::owner_of(br#"{"call":7,"o":{"p":"vmcp-all-1","b":"x"},"e":1}"#);

    let expected = Owner {
        pod: "vmcp-all-1".into(),
        boot: "x".into(),
    };
    assert_eq!(owner, Some(expected));
}

#[test]
fn without_pods_nobody_serves() {
    assert_eq!(successor("id", []), None);
    assert!(rendezvous("id", []).is_empty());
}
