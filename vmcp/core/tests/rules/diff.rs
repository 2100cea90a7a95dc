//! From one merged list to the next.

use proptest::prelude::*;
use vmcp_core::catalog::{ConflictPolicy, Exposed, Member, Merged, ToolRules, apply, diff, merge};
use vmcp_core::id::BackendId;

use crate::support::{MANY, arc, cases, catalog};

fn lists() -> impl Strategy<Value = Merged> {
    let tool = ("[a-f]", 0_u8..3);
    proptest::collection::vec(tool, 0..7).prop_map(|tools| {
        let mut seen = std::collections::HashSet::new();
        let tools = tools
            .into_iter()
            .filter(|(name, _)| seen.insert(name.clone()))
            .map(|(name, body)| Exposed {
                exposed: arc(&name),
                backend: BackendId::new("b", "u"),
                original: arc(&name),
                raw: arc(&format!(r#"{{"name":"{name}","v":{body}}}"#)),
            })
            .collect();
        Merged {
            tools,
            ..Merged::default()
        }
    })
}

proptest! {
    #![proptest_config(cases(MANY))]

    /// Applying the difference to the old list gives the new one, in its order.
    #[test]
    fn the_difference_leads_from_old_to_new(old in lists(), new in lists()) {
        let change = diff(&old.tools, &new.tools);

        prop_assert_eq!(apply(&old.tools, &change), new.tools);
    }

    /// R4.11: the difference is empty exactly where the lists are equal.
    #[test]
    fn the_difference_is_empty_exactly_where_nothing_changed(old in lists(), new in lists()) {
        prop_assert_eq!(diff(&old.tools, &new.tools).is_empty(), old.tools == new.tools);
        prop_assert!(diff(&new.tools, &new.tools.clone()).is_empty());
    }

    /// Each name is in one part of the difference at most.
    #[test]
    fn a_name_is_added_changed_or_removed(old in lists(), new in lists()) {
        let change = diff(&old.tools, &new.tools);
        let was = |name: &str| old.tools.iter().any(|tool| &*tool.exposed == name);
        let is = |name: &str| new.tools.iter().any(|tool| &*tool.exposed == name);

        prop_assert!(change.removed.iter().all(|name| was(name) && !is(name)));
        prop_assert!(change.added.iter().all(|tool| !was(&tool.exposed) && is(&tool.exposed)));
        prop_assert!(change.changed.iter().all(|tool| was(&tool.exposed) && is(&tool.exposed)));
    }
}

/// T13: a new schema under an old name is a change, and so is an old name at another backend.
#[test]
fn a_new_home_or_a_new_schema_is_a_change() {
    let (one, two) = (BackendId::new("a", "u1"), BackendId::new("a", "u2"));
    let catalog = catalog(&["x"]);
    let list = |id| {
        merge(
            &[Member::new(id, Some(&catalog))],
            &ConflictPolicy::default(),
            &ToolRules::default(),
        )
    };

    let change = diff(&list(&one).tools, &list(&two).tools);

    assert_eq!(change.changed.len(), 1);
    assert_eq!(
        (change.added.len(), change.removed.len(), change.order),
        (0, 0, None)
    );
}
