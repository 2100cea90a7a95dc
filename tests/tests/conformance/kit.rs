//! What these tests share.

use std::path::{Path, PathBuf};

use vmcp_tests::conformance::suite::Run;

/// A file of expected failures; every line of it has a reason.
pub fn expected(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance")
        .join(name)
}

/// Prints the table and fails where anything is not as its file says.
pub fn judge(runs: &[(String, Run)]) {
    let table: String = runs.iter().map(|(title, run)| run.report(title)).collect();
    println!("{table}");
    for (title, run) in runs {
        assert!(run.as_expected, "{title}:\n{}\n{table}", run.summary);
    }
}
