//! When a catalogue is read, kept, and shown.

use std::time::Duration;

use vmcp_core::catalog::{
    Catalog, CatalogAge, CatalogPolicy, Hint, NEGATIVE_TTL, POSITIVE_TTL, published, should_refresh,
};
use vmcp_core::health::{Observed, State};
use vmcp_core::limits;
use vmcp_core::mcp::{Kind, ListPage, PerKind, RawEntry, parse_page};
use vmcp_core::time::Tick;

const NOW: Tick = Tick(1_000_000);

fn due(age: &CatalogAge, after: Duration, state: State, hint: Hint) -> bool {
    should_refresh(age, NOW.after(after), state, hint)
}

/// R1.12: a good list is good for its time to live, the backend's own where it is shorter.
#[test]
fn a_good_list_is_read_again_after_its_time_to_live() {
    let mut age = CatalogAge::default();
    assert!(due(&age, Duration::ZERO, State::Ready, Hint::Routine));

    age.read(NOW, None);
    assert!(!due(
        &age,
        POSITIVE_TTL - Duration::from_millis(1),
        State::Ready,
        Hint::Routine
    ));
    assert!(due(&age, POSITIVE_TTL, State::Degraded, Hint::Routine));

    age.read(NOW, Some(Duration::from_secs(7)));
    assert!(!due(
        &age,
        Duration::from_secs(6),
        State::Ready,
        Hint::Routine
    ));
    assert!(due(
        &age,
        Duration::from_secs(7),
        State::Ready,
        Hint::Routine
    ));

    age.read(NOW, Some(Duration::from_secs(86_400)));
    assert!(due(&age, POSITIVE_TTL, State::Ready, Hint::Routine));
}

/// R1.12, T5: a failed list is left alone for a while, and never longer than until the recovery.
#[test]
fn a_failed_list_waits_but_never_outlives_a_recovery() {
    let mut age = CatalogAge::default();
    age.read(NOW, None);
    age.read_failed(NOW);

    assert!(!due(
        &age,
        NEGATIVE_TTL - Duration::from_millis(1),
        State::Degraded,
        Hint::Routine
    ));
    assert!(due(&age, NEGATIVE_TTL, State::Degraded, Hint::Routine));
    for hint in [Hint::Recovered, Hint::Added, Hint::ListChanged] {
        assert!(due(&age, Duration::ZERO, State::Ready, hint), "{hint:?}");
    }
    age.invalidate();
    assert!(due(&age, Duration::ZERO, State::Ready, Hint::Routine));
}

/// R2.1: the first good check after an outage brings the tools along.
#[test]
fn a_backend_that_does_not_serve_is_asked_for_its_tools_each_time() {
    let mut age = CatalogAge::default();
    age.read(NOW, None);

    for state in [State::Pending, State::Unhealthy, State::AuthRequired] {
        assert!(due(&age, Duration::ZERO, state, Hint::Routine), "{state}");
    }
}

/// R4.5, T3: last-good stays by default; only Unhealthy hides, and only where the policy says so.
#[test]
fn a_catalogue_is_hidden_by_policy_and_only_while_unhealthy() {
    let keep_for = CatalogPolicy::KeepFor(Duration::from_secs(60));
    let shown = |policy, state, after| {
        let observed = Observed {
            state,
            since: NOW,
            ..Observed::default()
        };
        published(policy, &observed, NOW.after(Duration::from_secs(after)))
    };

    for policy in [CatalogPolicy::Keep, keep_for, CatalogPolicy::Hide] {
        for state in [
            State::Pending,
            State::Ready,
            State::Degraded,
            State::AuthRequired,
        ] {
            assert!(shown(policy, state, 1_000_000), "{policy:?} {state}");
        }
    }
    assert!(shown(CatalogPolicy::Keep, State::Unhealthy, 1_000_000));
    assert!(shown(keep_for, State::Unhealthy, 59));
    assert!(!shown(keep_for, State::Unhealthy, 60));
    assert!(!shown(CatalogPolicy::Hide, State::Unhealthy, 0));
}

fn tools(pages: Vec<ListPage>) -> PerKind<Vec<ListPage>> {
    PerKind {
        tools: pages,
        ..PerKind::default()
    }
}

fn entry(name: &str, raw: &str) -> RawEntry {
    RawEntry {
        name: name.into(),
        raw: raw.into(),
    }
}

/// T14: what cannot be offered is left out with a warning, and nothing else with it.
#[test]
fn a_bad_entry_costs_no_good_one() {
    let fat = format!(
        r#"{{"name":"fat","description":"{}"}}"#,
        "d".repeat(limits::DESCRIPTION)
    );
    let long = "n".repeat(limits::NAME_MAX + 1);
    let pages = [
        ListPage {
            entries: vec![entry("good", "{}"), entry("", "{}"), entry("a\nb", "{}")],
            nameless: 2,
            ..ListPage::default()
        },
        ListPage {
            entries: vec![
                entry("fat", &fat),
                entry(&long, "{}"),
                entry("two", r#"{"name":"two","n\u0061me":"another"}"#),
                entry("good", r#"{"again":1}"#),
                entry("name with spaces/é", "{}"),
            ],
            ..ListPage::default()
        },
    ];

    let (catalog, warnings) = Catalog::from_pages(tools(pages.into()));

    let names: Vec<_> = catalog.tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["good", "name with spaces/é"]);
    assert_eq!(&*catalog.tools[0].raw, "{}");
    assert_eq!(warnings.len(), 7, "{warnings:#?}");
}

/// The limit on entries is enforced, with one warning for all of the rest.
#[test]
fn entries_above_the_limit_are_left_out() {
    let many: Vec<_> = (0..limits::CATALOG_ENTRIES + 3)
        .map(|n| entry(&format!("t{n}"), "{}"))
        .collect();

    let (catalog, warnings) = Catalog::from_pages(tools(vec![ListPage {
        entries: many,
        ..ListPage::default()
    }]));

    assert_eq!(catalog.tools.len(), limits::CATALOG_ENTRIES);
    assert_eq!(warnings, ["3 tools above the limit of 10000 are left out"]);
}

/// T22, T21: entries are kept as they are spelled; the cursor is handed on; an empty one ends.
#[test]
fn a_page_is_read_as_it_is_spelled() {
    let raw =
        r#"{"tools":[ {"x" : 1.50 ,"name":"\u0061"}, 7, {"title":"no name"}],"nextCursor":"n"}"#;

    let page = parse_page(Kind::Tools, raw).unwrap();

    assert_eq!(
        page.entries,
        [entry("a", r#"{"x" : 1.50 ,"name":"\u0061"}"#)]
    );
    assert_eq!((page.nameless, page.next_cursor.as_deref()), (2, Some("n")));
    let last = parse_page(Kind::Tools, r#"{"tools":[],"nextCursor":"","ttlMs":5}"#).unwrap();
    assert_eq!((last.next_cursor, last.ttl_ms), (None, Some(5)));
}

/// T11: what is no list is an error, never an empty list.
#[test]
fn what_is_no_list_is_never_an_empty_list() {
    for raw in [
        "{}",
        "null",
        "[]",
        r#"{"tools":null}"#,
        r#"{"tools":{}}"#,
        "",
        "<html>",
        r#"{"content":[]}"#,
    ] {
        assert!(parse_page(Kind::Tools, raw).is_err(), "{raw}");
    }
}
