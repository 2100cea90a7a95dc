//! URI templates, read backwards.

use proptest::prelude::*;
use vmcp_core::route::Template;

use crate::support::{SOME, cases};

fn matches(template: &str, uri: &str) -> bool {
    Template::parse(template).unwrap().matches(uri)
}

/// Template, URIs that it takes, and URIs that it does not.
fn takes(cases: Vec<(&str, Vec<&str>, Vec<&str>)>) {
    for (template, good, bad) in cases {
        for uri in good {
            assert!(matches(template, uri), "{template} must take {uri}");
        }
        for uri in bad {
            assert!(!matches(template, uri), "{template} must not take {uri}");
        }
    }
}

/// Each form of expression that servers use, with what it takes and what not.
#[test]
fn expressions_take_what_servers_mean_by_them() {
    takes(vec![
        ("a://b", vec!["a://b"], vec!["a://", "a://bc", ""]),
        (
            "users://{id}/profile",
            vec![
                "users://7/profile",
                "users://a@b.c:1/profile",
                "users://%2F/profile",
            ],
            vec![
                "users:///profile",
                "users://a/b/profile",
                "users://7/profile/",
                "users://7?x/profile",
            ],
        ),
        ("x:{a,b}", vec!["x:1,2", "x:1"], vec!["x:", "x:1/2"]),
        (
            "file:///{+path}",
            vec!["file:///a/b?c#d"],
            vec!["file:///", "file://a"],
        ),
        (
            "wild://{path*}",
            vec!["wild://a/b/c"],
            vec!["wild://", "wild://a?b"],
        ),
        ("x:{/a}", vec!["x:", "x:/1"], vec!["x:/", "x:/1/2", "x:1"]),
        (
            "x:{/a,b}/end",
            vec!["x:/1/2/end", "x:/1/end", "x:/end"],
            vec!["x:/1/2/3/end"],
        ),
        ("x:{/a*}", vec!["x:/1/2/3", "x:"], vec!["x:/1?2"]),
    ]);
}

/// The same, of the forms for queries, fragments and extensions.
#[test]
fn expressions_of_queries_take_what_servers_mean_by_them() {
    takes(vec![
        (
            "s://find{?q,limit}",
            vec![
                "s://find",
                "s://find?q=1",
                "s://find?limit=2&q=a/b?c",
                "s://find?q",
            ],
            vec![
                "s://find?",
                "s://find?other=1",
                "s://find?q=1&other=2",
                "s://find?q=1&",
                "s://find&q=1",
            ],
        ),
        (
            "s://f?a=1{&b}",
            vec!["s://f?a=1", "s://f?a=1&b=2"],
            vec!["s://f?a=1&c=2", "s://f?a=1?b=2"],
        ),
        ("s://f{?all*}", vec!["s://f?x=1&y=2"], vec!["s://f?"]),
        (
            "s://f{?q}{#part}",
            vec!["s://f?q=1#top", "s://f#top"],
            vec!["s://f?q=1#"],
        ),
        ("pic{.ext}", vec!["pic.png", "pic"], vec!["pic.", "pic.a/b"]),
        ("m{;v}", vec!["m;v=1", "m"], vec!["m;"]),
        ("x:{id:3}", vec!["x:abc"], vec!["x:"]),
    ]);
}

/// What is no template is refused, and not taken for a literal.
#[test]
fn what_is_no_template_is_refused() {
    for text in [
        "a{", "a}", "a{}", "a{b}}", "{{a}}", "x:{=a}", "x:{a,}", "x:{?}",
    ] {
        assert!(Template::parse(text).is_err(), "{text}");
    }
}

fn value() -> impl Strategy<Value = String> {
    "[a-z0-9_.~%@-]{1,6}"
}

proptest! {
    #![proptest_config(cases(SOME))]

    /// A URI that a template was filled in for goes back to it.
    #[test]
    fn a_filled_template_matches(
        (a, b) in (value(), value()),
        path in "[a-z]{1,3}(/[a-z]{1,3}){0,3}",
    ) {
        for (template, uri) in [
            ("x://{a}/y/{b}", format!("x://{a}/y/{b}")),
            ("x://{a}-{b}", format!("x://{a}-{b}")),
            ("{+path}/{a}", format!("{path}/{a}")),
            ("x://{a}{/b}{?q,r}", format!("x://{a}/{b}?r={a}&q={b}")),
            ("x://{path*}/{b}", format!("x://{path}/{b}")),
        ] {
            prop_assert!(matches(template, &uri), "{} {}", template, uri);
        }
    }

    /// No template and no URI makes it panic or run away.
    #[test]
    fn hostile_input_is_survived(template in "[{}+/?&#.;,*=:a-z]{0,24}", uri in "[/?&#.;,=a-z]{0,40}") {
        if let Ok(template) = Template::parse(&template) {
            let taken = template.matches(&uri);
            prop_assert!(!taken || uri.starts_with(template.lead()));
        }
    }
}

/// Many stars over a long URI are a matter of milliseconds: a backend's template must not stop us.
#[test]
fn many_variables_over_a_long_uri_are_no_trap() {
    let template = Template::parse(&"{+a}x".repeat(200)).unwrap();
    let uri = "x".repeat(4_000);

    let matched = template.matches(&uri);

    assert!(matched);
    assert!(!template.matches(&format!("{uri}y")));
}
