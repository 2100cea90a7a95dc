//! The shape of the house, as far as text shows it: size of files, machine paths, tests that do
//! not run, waits by sleeping, undocumented dependencies, and requirements that no test names.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test stops it as the test itself would"
)]

use std::collections::BTreeSet;

use vmcp_tests::sources::{self, Source};

/// Longest file that needs no excuse.
const MAX_LINES: usize = 400;

/// Files that are longer, and why. Each entry is a debt: shorten this list.
const LONGER: &[(&str, &str)] = &[];

/// What this stage of the project owes a test for; the rest of the numbers comes with its issues.
const REQUIREMENTS: &[(&str, std::ops::RangeInclusive<u32>)] = &[
    ("R0.", 1..=10),
    ("R1.", 12..=14),
    ("R2.", 1..=10),
    ("R3.", 1..=7),
    ("R4.", 1..=13),
    ("T", 1..=18),
];

/// Written by their tools, in those tools' own terms.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json", "go.sum", "LICENSE"];

fn is_generated(path: &str) -> bool {
    GENERATED
        .iter()
        .any(|name| path == *name || path.ends_with(&format!("/{name}")))
}

fn own_files() -> Vec<Source> {
    let files = sources::all().unwrap();
    assert!(
        files.len() > 50,
        "only {} files found: the reader looks in the wrong place",
        files.len()
    );
    files
        .into_iter()
        .filter(|source| !is_generated(&source.path))
        .collect()
}

/// `path:line: what` for every line of `text` that `is_bad` complains about.
fn lines_where(path: &str, text: &str, is_bad: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let numbered = text.lines().enumerate();
    numbered
        .filter_map(|(index, line)| {
            is_bad(line).map(|what| format!("{path}:{}: {what}", index + 1))
        })
        .collect()
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// Whether `line` has `word` with nothing word-like on either side.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let before_is_free = before.is_none_or(|c| !part_of_word(c) && c != '.' && c != '}');
        before_is_free && after.is_none_or(|c| !part_of_word(c))
    })
}

/// A test of the checkout: its name, its documentation, its file.
struct TestCase {
    name: String,
    doc: String,
    path: String,
}

/// The tests in a file: a `#[test]` of any kind, the comment above and the name below it.
fn test_cases(source: &Source) -> Vec<TestCase> {
    let mut found = Vec::new();
    let (mut doc, mut is_test) = (String::new(), false);
    for line in source.text.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let declared = line.split_once("fn ").filter(|_| is_test);
            if let Some((_, rest)) = declared {
                let end = rest.find(['(', '<']).unwrap_or(rest.len());
                let (name, path) = (rest[..end].to_owned(), source.path.clone());
                found.push(TestCase {
                    name,
                    doc: std::mem::take(&mut doc),
                    path,
                });
            }
            (doc, is_test) = (String::new(), false);
        }
    }
    found
}

fn all_test_cases() -> Vec<TestCase> {
    sources::rust()
        .unwrap()
        .iter()
        .flat_map(test_cases)
        .collect()
}

/// The numbers of the form `R2.10` or `T8` in a text.
fn named_requirements(doc: &str) -> BTreeSet<String> {
    doc.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .map(|word| word.trim_end_matches('.').to_owned())
        .filter(|word| word.starts_with(['R', 'T']))
        .collect()
}

/// Build 1: a reader can hold a file in mind.
#[test]
fn no_file_is_longer_than_four_hundred_lines_without_a_reason() {
    let files: Vec<Source> = own_files()
        .into_iter()
        .filter(|source| !source.path.ends_with(".yaml"))
        .collect();

    let mut found = Vec::new();
    for Source { path, text } in &files {
        let lines = text.lines().count();
        let excused = LONGER.iter().any(|(excused, _)| excused == path);
        if lines > MAX_LINES && !excused {
            found.push(format!("{path}: {lines} lines"));
        }
        if lines <= MAX_LINES && excused {
            found.push(format!("{path}: {lines} lines, take it off the list"));
        }
    }

    assert_none("files are at most 400 lines", &found);
}

/// Build 1: the checkout works wherever it lies and whoever has it.
#[test]
fn no_file_names_a_path_of_somebodys_machine_or_the_host_of_a_registry() {
    // Written in two parts, so that this file passes its own rule.
    let machine = [
        concat!("/ro", "ot"),
        concat!("/wo", "rk"),
        concat!("/ho", "me/user"),
    ];
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("npmjs", ".org"),
        concat!("proxy.golang", ".org"),
        concat!("docker", ".io"),
        concat!("ghcr", ".io"),
        concat!("quay", ".io"),
    ];

    let mut found = Vec::new();
    for Source { path, text } in own_files() {
        found.extend(lines_where(&path, &text, |line| {
            let host = hosts.iter().find(|host| line.contains(**host));
            let place = machine.iter().find(|place| has_word(line, place));
            host.or(place).map(|word| (*word).to_owned())
        }));
    }

    assert_none("no machine paths and no registry hosts", &found);
}

/// Build 1: a test that is switched off proves nothing and looks green.
#[test]
fn no_test_is_switched_off() {
    let mut found = Vec::new();
    for Source { path, text } in sources::rust().unwrap() {
        let code = sources::code(&text);
        found.extend(lines_where(&path, &code, |line| {
            line.contains("#[ignore")
                .then(|| "an ignored test".to_owned())
        }));
    }

    assert_none("every test runs", &found);
}

/// Build 1, R3.7: a test waits for a fact, not for a time; a wait that stays says why it must.
#[test]
fn no_behaviour_test_sleeps_without_saying_why() {
    let mut found = Vec::new();
    for Source { path, text } in sources::rust().unwrap() {
        if !path.starts_with("tests/tests/") {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in sources::code(&text).lines().enumerate() {
            let above = index.checked_sub(1).map_or("", |i| lines[i].trim());
            let explained = above.starts_with("//") || lines[index].contains("// ");
            if line.contains("sleep(") && !explained {
                found.push(format!("{path}:{}: sleep", index + 1));
            }
        }
    }

    assert_none("a sleep has a comment that says why", &found);
}

/// Build 1: each file says what it owns before it does anything; `tests.rs` is part of the file that
/// it tests.
#[test]
fn every_rust_file_opens_with_what_it_is_for() {
    let files = sources::rust().unwrap();

    let found: Vec<String> = files
        .iter()
        .filter(|source| !source.text.starts_with("//!") || source.text.contains("//! Placeholder"))
        .filter(|source| !source.path.ends_with("/tests.rs"))
        // This very file names the word that it looks for.
        .filter(|source| source.path != "tests/tests/house_rules.rs")
        .map(|source| source.path.clone())
        .collect();

    assert_none("a file starts with `//!`", &found);
}

/// Build 1: each direct dependency has its reason, and its features in one place only.
#[test]
fn every_dependency_has_a_reason_and_features_stand_in_the_workspace_only() {
    let files = own_files();
    let manifest = files
        .iter()
        .find(|source| source.path == "Cargo.toml")
        .unwrap();
    let from = manifest.text.find("[workspace.dependencies]").unwrap();
    let section = &manifest.text[from..][..manifest.text[from..].find("\n[profile").unwrap()];

    let mut found = Vec::new();
    let mut comment = String::new();
    for line in section.lines().skip(1) {
        if let Some(text) = line.strip_prefix("# ") {
            comment = text.to_owned();
        } else if let Some((name, value)) = line.split_once(" = ") {
            let ours = value.contains("path = ");
            if !ours && !comment.starts_with(&format!("{name}: ")) && !comment.contains(": ") {
                found.push(format!("Cargo.toml: {name} has no reason"));
            }
        }
    }
    for source in files
        .iter()
        .filter(|source| source.path.ends_with("/Cargo.toml"))
    {
        found.extend(lines_where(&source.path, &source.text, |line| {
            line.contains("features")
                .then(|| format!("features outside the workspace: {line}"))
        }));
    }

    assert_none("dependencies are explained once", &found);
}

/// Build 1: a behaviour test says in words which requirement it proves.
#[test]
fn every_behaviour_test_has_a_doc_comment() {
    let cases = all_test_cases();
    assert!(
        cases.len() > 50,
        "only {} tests found: the reader is broken",
        cases.len()
    );

    let found: Vec<String> = cases
        .iter()
        .filter(|case| case.path.starts_with("tests/tests/") && case.doc.trim().is_empty())
        .map(|case| format!("{}: {}", case.path, case.name))
        .collect();

    assert_none("a test has a doc comment", &found);
}

/// Show: each requirement of this stage is named by the doc comment of at least one test.
#[test]
fn every_requirement_of_this_stage_is_named_by_a_test() {
    let named: BTreeSet<String> = all_test_cases()
        .into_iter()
        .flat_map(|case| named_requirements(&case.doc))
        .collect();

    let owed = REQUIREMENTS
        .iter()
        .flat_map(|(family, numbers)| numbers.clone().map(move |n| format!("{family}{n}")));
    let missing: Vec<String> = owed.filter(|number| !named.contains(number)).collect();

    assert!(missing.is_empty(), "no test names: {}", missing.join(" "));
}

/// Build 1: the readers above find what they look for, and nothing beside it.
#[test]
fn the_readers_of_these_rules_see_what_they_look_for() {
    let text = "/// Proves R2.1, T8.\n#[tokio::test(start_paused = true)]\nasync fn one() {}\n\
                /// R2.2\nfn helper() {}\n    #[test]\n    fn two() {}\n";
    let source = Source {
        path: "x.rs".into(),
        text: text.into(),
    };

    let cases = test_cases(&source);

    let seen: Vec<(&str, &str)> = cases
        .iter()
        .map(|case| (case.name.as_str(), case.doc.as_str()))
        .collect();
    assert_eq!(seen, [("one", " Proves R2.1, T8."), ("two", "")]);
    let numbers = named_requirements("R2.10 and (T8), R4.9.");
    assert_eq!(
        numbers.into_iter().collect::<Vec<_>>(),
        ["R2.10", "R4.9", "T8"]
    );
    assert!(has_word("cd /tmp/x", "/tmp"));
    assert!(!has_word("a/tmp", "/tmp") && !has_word("/tmpfile", "/tmp"));
}
