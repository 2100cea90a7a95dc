//! Foreign text made fit to be shown.

use proptest::prelude::*;
use vmcp_core::text::{clip, sanitise};

use crate::support::{SOME, cases};

proptest! {
    #![proptest_config(cases(SOME))]

    /// R3.4: never longer than asked, never a control character, never a panic.
    #[test]
    fn a_text_is_short_and_printable(text in ".{0,60}", max in 0_usize..80) {
        let shown = sanitise(&text, max);

        prop_assert!(shown.len() <= max);
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(text.starts_with(clip(&text, max)));
    }

    /// R3.4: a secret is gone wherever it stands, whatever stands around it, and however long the
    /// text may be.
    #[test]
    fn a_secret_is_gone_wherever_it_stands(
        before in "[ -~é]{0,30}",
        after in "[ -~é]{0,30}",
        secret in "[A-Za-z0-9]{16,30}",
        shape in 0_usize..SHAPES.len(),
        max in 20_usize..200,
    ) {
        let text = format!("{before} {} {after}", SHAPES[shape].replace("S3CR3T", &secret));

        let shown = sanitise(&text, max);

        prop_assert!(!shown.contains(&secret[..8]), "{text:?} -> {shown:?}");
    }
}

/// How secrets come along in error texts.
const SHAPES: [&str; 14] = [
    "https://user:S3CR3T@host/path",
    "https://S3CR3T@host",
    "Bearer S3CR3T",
    "bearer  S3CR3T",
    "Basic S3CR3T",
    "token=S3CR3T",
    "access_token: S3CR3T",
    "\"api-key\":\"S3CR3T\"",
    "apiKey='S3CR3T'",
    "https://host/?x=1&api_key=S3CR3T&y=2",
    "X-Api-Key: S3CR3T",
    "password = S3CR3T",
    "Authorization: Custom abc S3CR3T",
    "Cookie: a=b; c=S3CR3T",
];

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "initialize answered HTTP 500: internal error",
        "https://host:8080/mcp?x=1",
        "connect to 127.0.0.1:9000: connection refused",
        "mail a@b.example: not found",
        "größer als erlaubt",
    ] {
        assert_eq!(sanitise(text, 512), text);
    }
}

#[test]
fn a_masked_text_says_where_the_secret_stood() {
    assert_eq!(
        sanitise("https://u:p@h/x refused", 99),
        "https://***@h/x refused"
    );
    assert_eq!(
        sanitise("got Bearer abc.def, bad", 99),
        "got Bearer ***, bad"
    );
    assert_eq!(sanitise("a?token=abc&b=1", 99), "a?token=***&b=1");
    assert_eq!(sanitise("line\r\nInjected: yes", 99), "line  Injected: yes");
}

/// Masking comes before the cut: the cut never leaves the front of a secret.
#[test]
fn the_cut_never_leaves_half_a_secret() {
    let text = format!("{} token=abcdefgh", "x".repeat(20));

    for max in 0..60 {
        assert!(!sanitise(&text, max).contains("=a"), "{max}");
    }
    assert_eq!(sanitise("ééé", 3), "é");
}
