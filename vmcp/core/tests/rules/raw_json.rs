//! Surgery on raw JSON.

use proptest::prelude::*;
use serde_json::Value;
use vmcp_core::jsonrpc::raw::{
    Found, RawError, members, replace_top_level, set_members, top_level, with_members,
    without_members,
};

use crate::support::{SOME, cases};

/// Spaces that JSON allows.
const GAPS: [&str; 4] = ["", " ", "\n\t", "\r\n  "];
/// Keys, some of them the same key spelled otherwise.
const KEYS: [(&str, &str); 6] = [
    ("name", r#""name""#),
    ("name", r#""n\u0061me""#),
    ("_meta", r#""_meta""#),
    ("é\"", r#""é\"""#),
    ("", r#""""#),
    (
        "io.modelcontextprotocol/x",
        r#""io.modelcontextprotocol\/x""#,
    ),
];
const VALUES: [&str; 9] = [
    "1.10",
    "1e400",
    "null",
    r#""}{,:\"\\""#,
    r#"{"name":"inner" , "_meta":{"name":1}}"#,
    "[ {\"name\":[]} ,2]",
    "{}",
    "true",
    r#""é\u00e9""#,
];

/// An object as a list of its parts, so that a test knows what must stay.
#[derive(Clone, Debug)]
struct Parts {
    lead: &'static str,
    members: Vec<(usize, usize, &'static str, &'static str)>,
    trail: &'static str,
}

impl Parts {
    fn text(&self) -> String {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|member| self.member(member, None))
            .collect();
        self.wrap(&members)
    }

    fn member(
        &self,
        (key, value, left, right): &(usize, usize, &str, &str),
        new: Option<&str>,
    ) -> String {
        format!(
            "{left}{}{right}:{left}{}",
            KEYS[*key].1,
            new.unwrap_or(VALUES[*value])
        )
    }

    fn wrap(&self, members: &[String]) -> String {
        format!(
            "{}{{{}{}}}{}",
            self.lead,
            members.join(","),
            self.trail,
            self.trail
        )
    }

    fn first(&self, key: &str) -> Option<usize> {
        self.members
            .iter()
            .position(|member| KEYS[member.0].0 == key)
    }
}

fn gap() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&GAPS[..])
}

fn objects() -> impl Strategy<Value = Parts> {
    let member = (0..KEYS.len(), 0..VALUES.len(), gap(), gap());
    (gap(), proptest::collection::vec(member, 0..5), gap()).prop_map(|(lead, members, trail)| {
        Parts {
            lead,
            members,
            trail,
        }
    })
}

fn keys() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "name",
        "_meta",
        "é\"",
        "",
        "io.modelcontextprotocol/x",
        "absent",
    ])
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// The first member of the name is found at the top level only, escapes or not.
    #[test]
    fn the_first_member_at_the_top_is_found(object in objects(), key in keys()) {
        let text = object.text();
        let expected = object.first(key).map(|at| VALUES[object.members[at].1]);

        prop_assert_eq!(top_level(&text, key), expected);
        prop_assert_eq!(members(&text).unwrap().len(), object.members.len());
    }

    /// T22: replacing changes one value and nothing else; later members of the same key are gone,
    /// so that no reader can see another value.
    #[test]
    fn replacing_changes_one_value_and_nothing_else(object in objects(), key in keys()) {
        let text = object.text();
        let replaced = replace_top_level(&text, key, "42.0");

        let Some(first) = object.first(key) else {
            prop_assert_eq!(replaced, Err(RawError::NoSuchMember));
            return Ok(());
        };
        let replaced = replaced.unwrap();
        prop_assert_eq!(top_level(&replaced, key), Some("42.0"));
        let same = |at: &usize| KEYS[object.members[*at].0].0 == key;
        let kept = (0..object.members.len()).filter(|at| *at == first || !same(at));
        let once = object.members.iter().filter(|m| KEYS[m.0].0 == key).count() == 1;
        let expected: Vec<_> = kept
            .map(|at| {
                let new = (at == first).then_some("42.0");
                object.member(&object.members[at], new)
            })
            .collect();
        if once {
            prop_assert_eq!(&replaced, &object.wrap(&expected));
        }
        prop_assert_eq!(members(&replaced).unwrap().len(), expected.len());
        let read: Value = serde_json::from_str(&replaced.replace("1e400", "1")).unwrap();
        prop_assert_eq!(&read[key], &Value::from(42.0));
    }

    /// T22: adding leaves every byte of the object where it was, and never adds a key twice.
    #[test]
    fn adding_keeps_every_byte(object in objects(), key in keys(), other in keys()) {
        let text = object.text();
        let added = with_members(&text, &[(key, "1"), (other, "[2]"), (key, "3")]);

        let new: Vec<_> = [(key, "1"), (other, "[2]")]
            .into_iter()
            .enumerate()
            .filter(|(at, (name, _))| object.first(name).is_none() && (*at == 0 || key != other))
            .map(|(_, member)| member)
            .collect();
        let mut rest = added.clone();
        for (name, value) in new.iter().rev() {
            let member = format!("{}:{value}", crate::support::quoted(name));
            let at = rest.rfind(&member).unwrap();
            let start = if rest[..at].ends_with(',') { at - 1 } else { at };
            rest.replace_range(start..at + member.len(), "");
        }
        prop_assert_eq!(rest, text);
        for (name, value) in new {
            prop_assert_eq!(top_level(&added, name), Some(value));
        }
        prop_assert!(serde_json::from_str::<Value>(&added.replace("1e400", "1")).is_ok());
    }

    /// T22: removing takes all members of the name and leaves the others as they were spelled.
    #[test]
    fn removing_takes_the_member_and_nothing_else(object in objects(), key in keys()) {
        let text = object.text();
        let removed = without_members(&text, &[key]);

        prop_assert_eq!(top_level(&removed, key), None);
        let left: Vec<_> = members(&removed).unwrap();
        let expected: Vec<_> = object
            .members
            .iter()
            .filter(|member| KEYS[member.0].0 != key)
            .map(|member| (KEYS[member.0].1, VALUES[member.1]))
            .collect();
        prop_assert_eq!(left, expected);
        if object.first(key).is_none() {
            prop_assert_eq!(removed, text);
        }
    }

    /// Setting makes the member read as set, whether it was there or not.
    #[test]
    fn setting_is_seen_afterwards(object in objects(), key in keys()) {
        let set = set_members(&object.text(), &[(key, "\"v\"")]);

        prop_assert_eq!(top_level(&set, key), Some("\"v\""));
        let count = members(&set).unwrap().len();
        prop_assert!(count <= object.members.len() + usize::from(object.first(key).is_none()));
    }

    /// Hostile text is refused or left as it is, never a panic.
    #[test]
    fn hostile_text_never_panics(
        text in prop_oneof![".{0,40}", r#"[{}\[\]":,\\na é0-9]{0,40}"#],
        key in keys(),
    ) {
        let _ = top_level(&text, key);
        let _ = members(&text);
        let _ = replace_top_level(&text, key, "1");
        let _ = set_members(&text, &[(key, "1")]);
        let added = with_members(&text, &[(key, "1")]);
        let removed = without_members(&text, &[key]);
        if members(&text).is_err() {
            prop_assert_eq!((&added, &removed), (&text, &text));
        }
    }

    /// An object cut short is refused, wherever the cut.
    #[test]
    fn an_object_cut_short_is_refused(object in objects(), at in 0_usize..200) {
        let text = object.text();
        let cut = text.trim_end().len() - 1;
        let at = text.floor_char_boundary(at.min(cut));

        prop_assert!(members(&text[..at]).is_err());
    }
}

#[test]
fn members_come_into_an_empty_object() {
    assert_eq!(
        with_members("{}", &[("a", "1"), ("b\"", "{}")]),
        r#"{"a":1,"b\"":{}}"#
    );
    assert_eq!(with_members(" { } ", &[("a", "1")]), r#" {"a":1 } "#);
    assert_eq!(with_members("{}", &[]), "{}");
    assert_eq!(without_members(r#"{ "a":1 }"#, &["a"]), "{  }");
}

#[test]
fn what_is_no_object_is_refused() {
    for text in [
        "",
        "[]",
        "null",
        "\"{}\"",
        "{",
        "{}}",
        "{\"a\"}",
        "{\"a\":}",
        "{,}",
        "{\"a\":1,}",
        "{a:1}",
    ] {
        assert_eq!(
            replace_top_level(text, "a", "2"),
            Err(RawError::NotAnObject),
            "{text}"
        );
        assert_eq!(with_members(text, &[("b", "1")]), text);
        assert_eq!(without_members(text, &["a"]), text);
    }
}

#[test]
fn several_members_are_found_at_once_and_the_first_of_each_counts() {
    let text = r#"{"a":1,"\u0062":{"a":2},"a":3}"#;

    let found = Found::look(text, ["b", "a", "c"]);
    let values = [0, 1, 2].map(|at| found.get(at));
    assert_eq!(values, [Some(r#"{"a":2}"#), Some("1"), None]);
    assert!(!found.is_clear(), "a stands twice");
    assert_eq!(
        found.replaced(1, "7").unwrap(),
        r#"{"a":7,"\u0062":{"a":2}}"#
    );
    assert_eq!(found.replaced(2, "7"), Err(RawError::NoSuchMember));

    assert!(Found::look(text, ["b", "c"]).is_clear());
    assert!(Found::look("{}", ["b"]).is_clear());
    for broken in ["[]", r#"{"b":1"#, r#"{"b":1}x"#] {
        let found = Found::look(broken, ["b"]);
        assert!(!found.is_clear(), "{broken}");
        assert_eq!(found.replaced(0, "7"), Err(RawError::NotAnObject));
    }
}

#[test]
fn strings_end_where_they_end_however_long_they_are() {
    for length in 0..40 {
        for ending in ["", r"\\", r#"\""#, "é", r#"\\\""#] {
            let value = format!("\"{}{ending}\"", "x".repeat(length));
            let text = format!(r#"{{"a":{value},"b":1}}"#);

            assert_eq!(top_level(&text, "a"), Some(&*value));
            assert_eq!(top_level(&text, "b"), Some("1"));
        }
    }
}
