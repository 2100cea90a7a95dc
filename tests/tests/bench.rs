//! The benchmark works: all of its parts run, every reply is checked, every figure has its row.
//!
//! Nothing here judges speed: this build is not optimised and the machine is shared.

#![expect(
    clippy::panic,
    reason = "a helper of a test stops it as the test itself would"
)]

use std::time::Duration;

use vmcp_tests::process::Launch;

const LIMIT: Duration = Duration::from_secs(150);

/// Build 7: the short run goes through every scenario with our gateway and the reference, finds no
/// wrong reply, and prints the figures and the checklist.
#[tokio::test(flavor = "multi_thread")]
async fn the_short_run_measures_everything_and_finds_no_wrong_reply() {
    let output = Launch::ours("bench")
        .unwrap()
        .arg("--quick")
        .run(LIMIT)
        .await
        .unwrap();

    let text = &output.stdout;
    assert!(output.success(), "{text}\n{}", output.stderr);
    assert!(text.contains(", 0 wrong"), "{text}");
    for cell in [
        "modern -> modern",
        "legacy -> legacy, stateful",
        "legacy -> modern",
    ] {
        for connections in ["1 connection", "8 connections"] {
            assert_figures(text, &format!("| call, {cell}, {connections} |"));
        }
    }
    for row in [
        "| tools/list, modern -> modern, 4 backends |",
        "| tools/list, modern -> modern, 2 backends |",
        "| initialize, 4 backends |",
        "| with sessions open |",
    ] {
        assert_figures(text, row);
    }
    assert!(!text.contains("not measured"), "{text}");
}

/// The last two columns of the row, reference and gateway, hold a figure each.
fn assert_figures(text: &str, row: &str) {
    let line = text.lines().find(|line| line.starts_with(row));
    let line = line.unwrap_or_else(|| panic!("no row {row} in:\n{text}"));
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let figures = cells.iter().skip(2).filter(|cell| **cell != "-");
    assert_eq!(figures.count(), 2, "{line}");
}
