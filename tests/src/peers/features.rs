//! Everything that a client may do, tried by clients that nobody here wrote.
//!
//! A [`Plan`] says what to call and what the answer contains, so that the same clients run against
//! any server; each gives a verdict per feature. What a client cannot do at all is not tried and
//! is absent from its verdicts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::{Client, Peers, rmcp};
use crate::process::Launch;

/// All features of one client, several seconds each where the server takes its time.
const RUN_DEADLINE: Duration = Duration::from_secs(100);

/// `ok`, or the reason why not, by feature.
pub type Verdicts = BTreeMap<String, String>;

/// What to try: by feature the arguments of it and `answer`, a part of the expected result.
pub type Plan = Map<String, Value>;

/// A client, and the era in which it is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tester {
    InspectorLegacy,
    InspectorModern,
    TsV1,
    TsV2Legacy,
    TsV2Modern,
    Py1,
    Py2Legacy,
    Py2Modern,
    FastMcp4Legacy,
    FastMcp4Modern,
    RmcpLegacy,
    RmcpModern,
    McpRemote,
}

impl Tester {
    pub const ALL: [Self; 13] = [
        Self::InspectorLegacy,
        Self::InspectorModern,
        Self::TsV1,
        Self::TsV2Legacy,
        Self::TsV2Modern,
        Self::Py1,
        Self::Py2Legacy,
        Self::Py2Modern,
        Self::FastMcp4Legacy,
        Self::FastMcp4Modern,
        Self::RmcpLegacy,
        Self::RmcpModern,
        Self::McpRemote,
    ];

    /// What it is called, whatever the era.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InspectorLegacy | Self::InspectorModern => "Inspector",
            Self::TsV1 => "TypeScript SDK 1",
            Self::TsV2Legacy | Self::TsV2Modern => "TypeScript SDK 2",
            Self::Py1 => "Python SDK 1",
            Self::Py2Legacy | Self::Py2Modern => "Python SDK 2",
            Self::FastMcp4Legacy | Self::FastMcp4Modern => "FastMCP 4",
            Self::RmcpLegacy | Self::RmcpModern => "rmcp",
            Self::McpRemote => "mcp-remote",
        }
    }

    /// The version that the lock files name.
    ///
    /// # Errors
    /// They name none.
    pub fn version(self) -> Result<String> {
        let (file, line) = match self {
            Self::InspectorLegacy | Self::InspectorModern => (
                "peers/npm/package.json",
                "\"@modelcontextprotocol/inspector\":",
            ),
            Self::TsV1 => ("peers/npm/package.json", "\"@modelcontextprotocol/sdk\":"),
            Self::TsV2Legacy | Self::TsV2Modern => (
                "peers/npm/package.json",
                "\"@modelcontextprotocol/client\":",
            ),
            Self::McpRemote => ("peers/npm/package.json", "\"mcp-remote\":"),
            Self::Py1 => ("peers/py1/requirements.txt", "mcp=="),
            Self::Py2Legacy | Self::Py2Modern => ("peers/py2/requirements.txt", "mcp=="),
            Self::FastMcp4Legacy | Self::FastMcp4Modern => {
                ("peers/py2/requirements.txt", "fastmcp==")
            }
            Self::RmcpLegacy | Self::RmcpModern => ("../Cargo.toml", "rmcp = { version ="),
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).context("a lock file")?;
        let mut lines = text.lines().map(str::trim);
        let rest = lines.find_map(|one| one.strip_prefix(line));
        let rest = rest.with_context(|| format!("{file} pins no {line}"))?;
        let is_part = |c: &char| c.is_ascii_digit() || *c == '.';
        let digits = rest.chars().skip_while(|c| !c.is_ascii_digit());
        Ok(digits.take_while(is_part).collect())
    }

    /// The Inspector's command line makes one request per run and answers no questions.
    #[must_use]
    pub fn tries(self, feature: &str) -> bool {
        let plain = ["tools", "resources", "prompts"];
        !matches!(self, Self::InspectorLegacy | Self::InspectorModern) || plain.contains(&feature)
    }

    #[must_use]
    pub fn is_modern(self) -> bool {
        matches!(
            self,
            Self::InspectorModern
                | Self::TsV2Modern
                | Self::Py2Modern
                | Self::FastMcp4Modern
                | Self::RmcpModern
        )
    }

    #[must_use]
    pub fn mode(self) -> &'static str {
        if self.is_modern() { "modern" } else { "legacy" }
    }
}

impl Peers {
    /// Tries every feature of `plan` at `url`.
    ///
    /// # Errors
    /// The client cannot be run, cannot connect, or takes too long.
    pub async fn features(&self, tester: Tester, url: &str, plan: &Plan) -> Result<Verdicts> {
        let tried = async {
            match tester {
                Tester::InspectorLegacy => {
                    self.inspect_features(Client::InspectorLegacy, url, plan)
                        .await
                }
                Tester::InspectorModern => {
                    self.inspect_features(Client::InspectorModern, url, plan)
                        .await
                }
                Tester::RmcpLegacy | Tester::RmcpModern => {
                    rmcp::features(url, plan, tester.is_modern()).await
                }
                _ => self.run_features(tester, url, plan).await,
            }
        };
        tried.await.with_context(|| format!("{tester:?} at {url}"))
    }

    async fn run_features(&self, tester: Tester, url: &str, plan: &Plan) -> Result<Verdicts> {
        let plan = serde_json::to_string(plan)?;
        let python = |venv: &str, script: &str| {
            Launch::new(self.python(venv, "python"))
                .arg(self.script(script))
                .args([url, &plan, tester.mode()])
        };
        let typescript = |sdk: &str| {
            self.node(self.script("features-ts.mjs")).args([
                url,
                &plan,
                "--sdk",
                sdk,
                "--mode",
                tester.mode(),
            ])
        };
        // Where mcp-remote keeps its locks; nobody's home.
        let home = tempfile::tempdir().context("a folder for the client's own files")?;
        let launch = match tester {
            Tester::TsV1 => typescript("1"),
            Tester::McpRemote => typescript("1").args(["--remote", "1"]),
            Tester::TsV2Legacy | Tester::TsV2Modern => typescript("2"),
            Tester::Py1 => python("py1", "features_py1.py"),
            Tester::FastMcp4Legacy | Tester::FastMcp4Modern => python("py2", "features_fastmcp.py"),
            _ => python("py2", "features_py2.py"),
        };
        let launch = launch.env("HOME", home.path());
        let output = launch.run(RUN_DEADLINE).await?.ok()?;
        let line = output.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("it wrote: {output}"))
    }

    async fn inspect_features(&self, client: Client, url: &str, plan: &Plan) -> Result<Verdicts> {
        let mut verdicts = Verdicts::new();
        for (feature, what) in plan {
            let text = |name: &str| what[name].as_str().unwrap_or_default().to_owned();
            let pairs = what["arguments"].as_object().into_iter().flatten();
            let pairs: Vec<String> = pairs.map(super::client::pair).collect();
            let mut words: Vec<String> = vec!["--method".to_owned()];
            let flag = match feature.as_str() {
                "tools" => {
                    words.extend(["tools/call".into(), "--tool-name".into(), text("name")]);
                    "--tool-arg"
                }
                "prompts" => {
                    words.extend(["prompts/get".into(), "--prompt-name".into(), text("name")]);
                    "--prompt-args"
                }
                "resources" => {
                    words.extend(["resources/read".into(), "--uri".into(), text("uri")]);
                    ""
                }
                _ => continue,
            };
            words.extend(pairs.into_iter().flat_map(|pair| [flag.to_owned(), pair]));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let verdict = match self.inspector(client, url, &words).await {
                Ok(result) if result.to_string().contains(&text("answer")) => "ok".to_owned(),
                Ok(result) => format!("no {} in {result}", text("answer")),
                Err(error) => format!("{error:#}"),
            };
            verdicts.insert(feature.clone(), verdict);
        }
        Ok(verdicts)
    }
}
