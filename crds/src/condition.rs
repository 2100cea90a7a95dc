//! Conditions: their types, and the one function that changes a list of them.
//!
//! Guarantees of [`set`]: at most one condition per type, sorted by type,
//! `lastTransitionTime` changes if and only if `status` does, no message too long for
//! the schema. Time comes in as an argument.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reason::Reason;

pub const READY: &str = "Ready";
pub const RECONCILING: &str = "Reconciling";
pub const STALLED: &str = "Stalled";
pub const GATEWAY_AVAILABLE: &str = "GatewayAvailable";
pub const BACKENDS_READY: &str = "BackendsReady";
pub const BACKENDS_DISCOVERED: &str = "BackendsDiscovered";
pub const CONFLICTS_RESOLVED: &str = "ConflictsResolved";
pub const WORKLOAD_AVAILABLE: &str = "WorkloadAvailable";
pub const REFERENCES_RESOLVED: &str = "ReferencesResolved";
pub const REACHABLE: &str = "Reachable";
pub const AUTHENTICATED: &str = "Authenticated";

/// Every type that a VirtualMCPServer has.
pub const VIRTUAL_TYPES: &[&str] = &[
    READY,
    RECONCILING,
    STALLED,
    GATEWAY_AVAILABLE,
    BACKENDS_READY,
    BACKENDS_DISCOVERED,
    CONFLICTS_RESOLVED,
];

/// Those of a VirtualMCPServer that whoever serves it writes.
pub const VIRTUAL_SERVED_TYPES: &[&str] = &[
    READY,
    BACKENDS_READY,
    BACKENDS_DISCOVERED,
    CONFLICTS_RESOLVED,
];

/// Every type that an MCPServer has.
pub const MCP_SERVER_TYPES: &[&str] = &[
    READY,
    RECONCILING,
    STALLED,
    WORKLOAD_AVAILABLE,
    REFERENCES_RESOLVED,
    REACHABLE,
    AUTHENTICATED,
];

/// Longest message that the schema accepts, in characters. Messages are cut to it: a
/// long error text must never make a whole status write fail.
pub const MAX_MESSAGE: usize = 2048;

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition shall say; the time of its last transition follows from the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionDraft {
    pub type_: &'static str,
    pub status: ConditionStatus,
    pub reason: Reason,
    pub message: String,
    pub observed_generation: i64,
}

/// The list with `new` in it.
#[must_use]
pub fn set(conditions: &[Condition], new: ConditionDraft, now: Time) -> Vec<Condition> {
    let status = new.status.as_str();
    let since = find(conditions, new.type_)
        .filter(|old| old.status == status)
        .map_or(now, |old| old.last_transition_time.clone());
    let mut result = normalised(conditions);
    result.retain(|condition| condition.type_ != new.type_);
    result.push(Condition {
        type_: new.type_.to_owned(),
        status: status.to_owned(),
        reason: new.reason.as_str().to_owned(),
        message: clip(&new.message, MAX_MESSAGE),
        observed_generation: Some(new.observed_generation),
        last_transition_time: since,
    });
    result.sort_by(|a, b| a.type_.cmp(&b.type_));
    result
}

/// The list with all of `new` in it, in any order.
#[must_use]
pub fn set_all(
    conditions: &[Condition],
    new: impl IntoIterator<Item = ConditionDraft>,
    now: &Time,
) -> Vec<Condition> {
    new.into_iter().fold(normalised(conditions), |list, draft| {
        set(&list, draft, now.clone())
    })
}

/// The condition of this type; the first one, should a stranger have written two.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type says this.
#[must_use]
pub fn is(conditions: &[Condition], type_: &str, status: ConditionStatus) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == status.as_str())
}

/// At most `max` characters of a text, with an ellipsis where some were cut off.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    if max > 0 {
        cut.push('…');
    }
    cut
}

fn normalised(conditions: &[Condition]) -> Vec<Condition> {
    let mut result: Vec<Condition> = Vec::with_capacity(conditions.len() + 1);
    for condition in conditions {
        if find(&result, &condition.type_).is_none() {
            result.push(condition.clone());
        }
    }
    result.sort_by(|a, b| a.type_.cmp(&b.type_));
    result
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use proptest::prelude::*;

    use super::{ConditionDraft, ConditionStatus, MAX_MESSAGE, VIRTUAL_TYPES, clip, find, is, set};
    use crate::reason::Reason;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn draft(type_: &'static str, status: ConditionStatus, message: &str) -> ConditionDraft {
        ConditionDraft {
            type_,
            status,
            reason: Reason::Pending,
            message: message.to_owned(),
            observed_generation: 3,
        }
    }

    /// API: a condition carries the generation that it speaks of.
    #[test]
    fn a_new_condition_is_inserted_in_order_of_types() {
        let list = set(&[], draft("Stalled", ConditionStatus::False, ""), at(1));
        let list = set(
            &list,
            draft("Ready", ConditionStatus::Unknown, "wait"),
            at(2),
        );

        assert_eq!(list[0].type_, "Ready");
        assert_eq!(list[0].observed_generation, Some(3));
        assert_eq!(list[0].last_transition_time, at(2));
        assert!(is(&list, "Stalled", ConditionStatus::False));
        assert!(!is(&list, "Absent", ConditionStatus::False));
    }

    /// R3.4: a text of any length leaves the status writable.
    #[test]
    fn a_message_is_cut_to_what_the_schema_accepts() {
        let list = set(
            &[],
            draft("Ready", ConditionStatus::True, &"ä".repeat(5000)),
            at(1),
        );

        assert_eq!(list[0].message.chars().count(), MAX_MESSAGE);
        assert!(list[0].message.ends_with('…'));
        assert_eq!(clip("short", 5), "short");
        assert_eq!(clip("longer", 0), "");
    }

    fn any_status() -> impl Strategy<Value = ConditionStatus> {
        prop_oneof![
            Just(ConditionStatus::True),
            Just(ConditionStatus::False),
            Just(ConditionStatus::Unknown),
        ]
    }

    fn any_draft() -> impl Strategy<Value = ConditionDraft> {
        let type_ = (0..VIRTUAL_TYPES.len()).prop_map(|index| VIRTUAL_TYPES[index]);
        (
            type_,
            any_status(),
            0..Reason::ALL.len(),
            "[a-c]{0,2}",
            0..3_i64,
        )
            .prop_map(|(type_, status, reason, message, observed_generation)| {
                ConditionDraft {
                    type_,
                    status,
                    reason: Reason::ALL[reason],
                    message,
                    observed_generation,
                }
            })
    }

    /// What a stranger may have left behind: any order, types twice.
    fn any_list() -> impl Strategy<Value = Vec<Condition>> {
        let one = (any_draft(), 0..50_i64)
            .prop_map(|(draft, second)| set(&[], draft, at(second)).remove(0));
        proptest::collection::vec(one, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Architecture, pure units: at most one per type; lastTransitionTime changes iff
        /// status changes.
        #[test]
        fn a_list_has_each_type_once_and_the_time_changes_with_the_status_alone(
            old in any_list(),
            new in any_draft(),
            second in 100..200_i64,
        ) {
            let list = set(&old, new.clone(), at(second));

            let mut types: Vec<&str> = list.iter().map(|c| c.type_.as_str()).collect();
            prop_assert!(types.is_sorted());
            types.dedup();
            prop_assert_eq!(types.len(), list.len());
            let written = find(&list, new.type_).unwrap();
            prop_assert_eq!(&written.status, new.status.as_str());
            prop_assert_eq!(&written.message, &new.message);
            let before = find(&old, new.type_);
            let same = before.is_some_and(|c| c.status == new.status.as_str());
            let expected = if same {
                before.map(|c| c.last_transition_time.clone()).unwrap()
            } else {
                at(second)
            };
            prop_assert_eq!(&written.last_transition_time, &expected);
            for other in old.iter().filter(|c| c.type_ != new.type_) {
                prop_assert_eq!(find(&list, &other.type_), find(&old, &other.type_));
            }
            prop_assert_eq!(&set(&list, new, at(second + 1)), &list);
        }
    }
}
