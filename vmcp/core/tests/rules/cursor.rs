//! Cursors: round trip, and text that is none.

use proptest::prelude::*;
use vmcp_core::catalog::{Cursor, CursorError, locate};
use vmcp_core::limits;

use crate::support::{SOME, cases};

proptest! {
    #![proptest_config(cases(SOME))]

    /// A cursor is read as it was written, and can stand in JSON and in a URL as it is.
    #[test]
    fn a_cursor_is_read_as_it_was_written(place in any::<u64>(), last in ".{0,40}") {
        let cursor = Cursor { place, last };
        let text = cursor.encode();

        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        prop_assert_eq!(Cursor::decode(&text), Ok(cursor));
    }

    /// Hostile text is refused or read, never a panic, and what is read is written the same way.
    #[test]
    fn hostile_text_is_refused_or_read(text in prop_oneof![".{0,40}", "[A-Za-z0-9_-]{0,60}"]) {
        if let Ok(cursor) = Cursor::decode(&text) {
            prop_assert_eq!(cursor.encode(), &*text);
        }
        let _ = locate(&[Cursor { place: 3, last: "c".to_owned() }.encode().into()], &[], &text);
    }
}

#[test]
fn text_that_is_no_cursor_is_refused() {
    let other_layout = "AgAAAAAAAAAAYQ";
    for text in [
        "",
        "A",
        "AQ",
        "=",
        "not a cursor",
        other_layout,
        &"A".repeat(limits::CURSOR + 1),
    ] {
        assert_eq!(Cursor::decode(text), Err(CursorError), "{text:?}");
    }
}
