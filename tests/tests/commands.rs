//! The commands of the house: what `make` offers, and that its closing line cannot lie.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test stops it as the test itself would"
)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use vmcp_tests::sources;

/// What the doctest runner writes for three packages.
const DOCTESTS: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n\
                        test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n";

fn root() -> PathBuf {
    sources::root().unwrap()
}

/// The names of the test binaries that the checkout has, as the runner spells them.
fn binaries() -> Vec<String> {
    let packages = [
        ("vmcp-core", "vmcp/core"),
        ("vmcp-crds", "crds"),
        ("vmcp", "vmcp"),
        ("vmcp-operator", "operator"),
        ("vmcp-tests", "tests"),
    ];
    let mut found = Vec::new();
    for (package, folder) in packages {
        found.push(package.to_owned());
        let Ok(entries) = std::fs::read_dir(root().join(folder).join("tests")) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            let is_test = path.join("main.rs").is_file()
                || path.extension().is_some_and(|extension| extension == "rs");
            if is_test {
                let stem = path.file_stem().unwrap().to_string_lossy();
                found.push(format!("{package}::{stem}"));
            }
        }
    }
    found
}

/// A report in which each binary ran ten tests, of which `failures` of the first failed.
fn report(binaries: &[String], failures: u32) -> String {
    let mut report = String::from("<testsuites name=\"vmcp\">\n");
    for (index, name) in binaries.iter().enumerate() {
        let failures = if index == 0 { failures } else { 0 };
        writeln!(
            report,
            "<testsuite name=\"{name}\" tests=\"10\" skipped=\"0\" errors=\"0\" \
             failures=\"{failures}\">\n</testsuite>"
        )
        .unwrap();
    }
    report + "</testsuites>\n"
}

/// What the summary makes of a report, with the exit codes of both runners.
fn summary(report: &str, codes: [&str; 2]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (junit, doctests) = (
        folder.path().join("junit.xml"),
        folder.path().join("doctests.log"),
    );
    std::fs::write(&junit, report).unwrap();
    std::fs::write(&doctests, DOCTESTS).unwrap();
    Command::new(root().join("tests/tools/summary.sh"))
        .args([&junit, &doctests])
        .args(codes)
        .output()
        .unwrap()
}

fn closing_line(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().last().unwrap().to_owned()
}

/// Build 1: `make help` lists every command that the project promises, and each has a recipe.
#[test]
fn make_help_lists_the_commands() {
    let output = Command::new("make")
        .arg("help")
        .current_dir(root())
        .output()
        .unwrap();

    let text = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    for command in [
        "help", "build", "test", "demo", "lint", "generate", "verify", "bench", "cluster",
    ] {
        assert!(listed.contains(&command), "{command} is not in {listed:?}");
    }
}

/// Show: the closing line counts what ran, doctests included.
#[test]
fn the_closing_line_counts_every_test() {
    let binaries = binaries();

    let output = summary(&report(&binaries, 0), ["0", "0"]);

    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        closing_line(&output),
        format!("{} passed, 0 failed", 10 * binaries.len() + 2)
    );
}

/// Show: a failed test is counted and makes the command fail.
#[test]
fn a_failed_test_is_in_the_closing_line() {
    let output = summary(&report(&binaries(), 3), ["100", "0"]);

    assert!(!output.status.success());
    assert!(
        closing_line(&output).ends_with(" passed, 3 failed"),
        "{output:?}"
    );
}

/// Show: a test file that ran nothing is a failure, although no test failed.
#[test]
fn a_test_file_that_ran_nothing_is_a_failure() {
    let mut binaries = binaries();
    let silent = binaries.pop().unwrap();

    let output = summary(&report(&binaries, 0), ["0", "0"]);

    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains(&format!("{silent} ran no test")), "{text}");
    assert!(
        closing_line(&output).ends_with(" passed, 1 failed"),
        "{text}"
    );
}

/// Show: a runner that fails without a failed test (a leak, a crash) is a failure.
#[test]
fn a_runner_that_fails_without_a_failed_test_is_a_failure() {
    for codes in [["100", "0"], ["0", "101"]] {
        let output = summary(&report(&binaries(), 0), codes);

        assert!(!output.status.success());
        assert!(
            closing_line(&output).ends_with(" passed, 1 failed"),
            "{output:?}"
        );
    }
}

/// Show: a run that wrote no report at all never looks green.
#[test]
fn a_run_without_a_report_is_a_failure() {
    let output = summary("", ["1", "0"]);

    assert!(!output.status.success());
    assert!(!closing_line(&output).ends_with(" 0 failed"), "{output:?}");
}
