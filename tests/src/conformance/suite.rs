//! Runs of the official suite, and what they found.
//!
//! Owns starting it under the pinned Node.js and reading the checks that it saves. The verdict is
//! the suite's own: its exit code against the file of expected failures, which is strict both
//! ways and counts warnings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::Era;
use crate::peers::Peers;
use crate::process::{Launch, Program};

/// One run of all scenarios of a revision; a perfect server takes 3 s of it.
const RUN_DEADLINE: Duration = Duration::from_secs(150);
/// One scenario, in milliseconds as the suite wants it.
const SCENARIO_TIMEOUT: &str = "15000";
/// One client scenario: the start of a gateway and of Node.js, too.
const CLIENT_TIMEOUT: &str = "60000";
/// Until the backend has said where it listens.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Of the reason that a check gives, in characters.
const WHY: usize = 400;
/// The package, below `node_modules`.
const PACKAGE: &str = "@modelcontextprotocol/conformance";

/// A revision that the suite has a requirement set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Server scenarios that the revision requires.
    #[must_use]
    pub fn required(self) -> usize {
        match self {
            Self::V2025_11_25 => 30,
            Self::V2026_07_28 => 37,
        }
    }

    /// The era of a server that speaks it.
    #[must_use]
    pub fn era(self) -> Era {
        match self {
            Self::V2025_11_25 => Era::Legacy,
            Self::V2026_07_28 => Era::Modern,
        }
    }
}

/// Our own server of the suite's scenarios; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    /// With `127.0.0.1`, as a gateway names it.
    pub url: String,
    pub program: Program,
    _folder: TempDir,
}

impl Server {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// It ends or says nothing.
    pub async fn start(era: Era) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for its log")?;
        let word = match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
            Era::Dual => "dual",
        };
        let program = Launch::ours("conformance-backend")?
            .args(["--era", word, "--listen", "127.0.0.1:0"])
            .start(folder.path().join("log"))?;
        let url = program.wait_for_line("http://", START_DEADLINE).await?;
        Ok(Self {
            url: url.trim().to_owned(),
            program,
            _folder: folder,
        })
    }
}

/// What one run found.
#[derive(Debug)]
pub struct Run {
    /// By name, in the order of the alphabet.
    pub scenarios: BTreeMap<String, Scenario>,
    /// Whether exactly what was expected to fail failed.
    pub as_expected: bool,
    /// From the suite's summary on.
    pub summary: String,
}

/// One scenario of a run.
#[derive(Debug)]
pub struct Scenario {
    /// Counts towards conformance with the revision.
    pub required: bool,
    pub checks: Vec<Check>,
}

/// One check of a scenario.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub id: String,
    pub status: Status,
    pub error_message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Success,
    Failure,
    Warning,
    Skipped,
    Info,
}

impl Scenario {
    /// Neither a failure nor a warning.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.problems().next().is_none()
    }

    fn problems(&self) -> impl Iterator<Item = &Check> {
        let bad = |check: &&Check| matches!(check.status, Status::Failure | Status::Warning);
        self.checks.iter().filter(bad)
    }
}

impl Run {
    /// Required scenarios that pass.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.required().filter(|(_, found)| found.passed()).count()
    }

    fn required(&self) -> impl Iterator<Item = (&String, &Scenario)> {
        self.scenarios.iter().filter(|(_, found)| found.required)
    }

    /// A line of a table, and below it what did not pass: the required scenarios with the checks
    /// that say why, the others by name.
    #[must_use]
    pub fn report(&self, title: &str) -> String {
        let required = self.required().count();
        let verdict = if self.as_expected {
            "as expected"
        } else {
            "NOT AS EXPECTED"
        };
        let mut text = format!("{title:<60} {:>2}/{required:<2} {verdict}\n", self.passed());
        for (name, scenario) in self.required() {
            for check in scenario.problems() {
                let why = check.error_message.as_deref().unwrap_or_default();
                let why: String = why.chars().take(WHY).collect();
                let _ = writeln!(text, "    {name}:{} ({:?}) {why}", check.id, check.status);
            }
        }
        let others = self.scenarios.iter().filter(|(_, found)| !found.required);
        let (good, bad): (Vec<_>, Vec<_>) = others.partition(|(_, found)| found.passed());
        let names: Vec<&str> = bad.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(
            text,
            "    not scored: {} pass, {} do not: {}",
            good.len(),
            bad.len(),
            names.join(" ")
        );
        text
    }
}

/// Runs the server scenarios of `revision` at `url`, whose host becomes `localhost` as the suite
/// demands. `expected` is the file of expected failures.
///
/// # Errors
/// The suite cannot be run, takes too long, or did not run every required scenario.
pub async fn server(peers: &Peers, url: &str, revision: Revision, expected: &Path) -> Result<Run> {
    let url = url.replace("127.0.0.1", "localhost");
    let results = tempfile::tempdir().context("a folder for the results")?;
    let output = peers
        .node(peers.npm_file(PACKAGE).join("dist/index.js"))
        .args(["server", "--url", &url, "--requirements", revision.name()])
        .args(["--timeout", SCENARIO_TIMEOUT])
        .arg("--expected-failures")
        .arg(expected)
        .arg("-o")
        .arg(results.path())
        .run(RUN_DEADLINE)
        .await?;
    let summary = output.stdout.split("=== SUMMARY ===").nth(1);
    let Some(summary) = summary else {
        bail!("it wrote: {} {}", output.stdout, output.stderr);
    };
    let required = required(peers, revision)?;
    let scenarios = read(results.path(), "server-", &required)?;
    for name in &required {
        ensure!(
            scenarios.contains_key(name),
            "{name} did not run: {summary}"
        );
    }
    ensure!(
        required.len() == revision.required(),
        "{} are required",
        required.len()
    );
    Ok(Run {
        scenarios,
        as_expected: output.success(),
        summary: summary.to_owned(),
    })
}

/// Runs one client scenario: the suite starts `command` with the URL of its mock server.
///
/// # Errors
/// The suite cannot be run or takes too long.
pub async fn client(
    peers: &Peers,
    command: &Path,
    scenario: &str,
    revision: Revision,
    expected: &Path,
) -> Result<Run> {
    let results = tempfile::tempdir().context("a folder for the results")?;
    let output = peers
        .node(peers.npm_file(PACKAGE).join("dist/index.js"))
        .args(["client", "--scenario", scenario])
        .args(["--spec-version", revision.name()])
        .args(["--timeout", CLIENT_TIMEOUT])
        .arg("--command")
        .arg(command)
        .arg("--expected-failures")
        .arg(expected)
        .arg("-o")
        .arg(results.path())
        .run(RUN_DEADLINE)
        .await?;
    let scenarios = read(results.path(), "", &[scenario.to_owned()])?;
    ensure!(
        scenarios.contains_key(scenario),
        "{scenario} did not run: {} {}",
        output.stdout,
        output.stderr
    );
    Ok(Run {
        scenarios,
        as_expected: output.success(),
        summary: format!("{}\n{}", output.stdout, output.stderr),
    })
}

/// The names under `server:` in the requirement set of the suite.
fn required(peers: &Peers, revision: Revision) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Requirements {
        server: Vec<String>,
    }
    let file = format!("{PACKAGE}/requirements/{}.yaml", revision.name());
    let text = std::fs::read_to_string(peers.npm_file(&file)).context("the requirement set")?;
    let set: Requirements = serde_saphyr::from_str(&text).context("the requirement set")?;
    Ok(set.server)
}

/// The folders are named `{prefix}{scenario}-{time}`.
fn read(folder: &Path, prefix: &str, required: &[String]) -> Result<BTreeMap<String, Scenario>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).context("the results")? {
        let path: PathBuf = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = name.strip_prefix(prefix).unwrap_or(&name);
        let scenario = scenario_of(name).to_owned();
        // A scenario that took too long saves nothing; the summary names it as failed.
        let checks = match std::fs::read(path.join("checks.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("checks.json")?,
            Err(_) => vec![Check {
                id: "ran".to_owned(),
                status: Status::Failure,
                error_message: Some("it did not end in time".to_owned()),
            }],
        };
        let required = required.contains(&scenario);
        found.insert(scenario, Scenario { required, checks });
    }
    Ok(found)
}

/// Without the time `-2026-11-21T13-24-00-363Z` at its end.
fn scenario_of(folder: &str) -> &str {
    let cut = folder.match_indices("-20").map(|(at, _)| at).find(|at| {
        let rest = &folder[at + 1..];
        rest.len() == "2026-11-21T13-24-00-363Z".len() && rest.ends_with('Z')
    });
    cut.map_or(folder, |at| &folder[..at])
}
