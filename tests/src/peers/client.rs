//! Real clients: connect to a URL, list tools, call some, say what came back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Peers;
use crate::process::Launch;

/// One run of a client, several calls included.
const RUN_DEADLINE: Duration = Duration::from_secs(90);

/// A client and how it is told to choose its era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    InspectorLegacy,
    InspectorAuto,
    InspectorModern,
    TsV1,
    TsV1Sse,
    TsV2Auto,
    TsV2Legacy,
    TsV2Modern,
    Py1Http,
    Py1Sse,
    Py2Auto,
    Py2Legacy,
    Py2Modern,
}

/// What a client got.
#[derive(Clone, Debug, Deserialize)]
pub struct ClientReport {
    /// Names of all tools, in the order listed.
    pub tools: Vec<String>,
    /// The `CallToolResult` of each call in turn; `{"failed": TEXT}` for one that failed.
    pub results: Vec<Value>,
}

impl ClientReport {
    /// The result of the only call, `Null` where there was none.
    #[must_use]
    pub fn result(&self) -> &Value {
        self.results.first().unwrap_or(&Value::Null)
    }
}

impl Client {
    /// Every client that speaks streamable HTTP.
    pub const HTTP: [Self; 11] = [
        Self::InspectorLegacy,
        Self::InspectorAuto,
        Self::InspectorModern,
        Self::TsV1,
        Self::TsV2Auto,
        Self::TsV2Legacy,
        Self::TsV2Modern,
        Self::Py1Http,
        Self::Py2Auto,
        Self::Py2Legacy,
        Self::Py2Modern,
    ];

    /// Every client that speaks HTTP+SSE of 2024-11-05.
    pub const SSE: [Self; 2] = [Self::TsV1Sse, Self::Py1Sse];

    /// Whether it can talk to a server that knows the handshake only.
    #[must_use]
    pub fn speaks_legacy(self) -> bool {
        !matches!(
            self,
            Self::InspectorModern | Self::TsV2Modern | Self::Py2Modern
        )
    }

    /// Whether it can talk to a server that knows 2026-07-28 only.
    #[must_use]
    pub fn speaks_modern(self) -> bool {
        use Client::{InspectorAuto, Py2Auto, TsV2Auto};
        matches!(self, InspectorAuto | TsV2Auto | Py2Auto) || !self.speaks_legacy()
    }

    fn is_inspector(self) -> bool {
        matches!(
            self,
            Self::InspectorLegacy | Self::InspectorAuto | Self::InspectorModern
        )
    }

    fn mode(self) -> &'static str {
        match self {
            Self::InspectorLegacy | Self::TsV2Legacy | Self::Py2Legacy => "legacy",
            Self::InspectorModern | Self::TsV2Modern | Self::Py2Modern => "modern",
            Self::InspectorAuto | Self::TsV2Auto | Self::Py2Auto => "auto",
            Self::TsV1 | Self::Py1Http => "http",
            Self::TsV1Sse | Self::Py1Sse => "sse",
        }
    }
}

impl Peers {
    /// Lists the tools at `url` and calls one of them; an empty `tool` only lists.
    ///
    /// # Errors
    /// The client cannot be run, fails, or takes too long; the error carries what it wrote.
    pub async fn client(
        &self,
        client: Client,
        url: &str,
        tool: &str,
        arguments: &Value,
    ) -> Result<ClientReport> {
        let calls = [(tool, arguments.clone())];
        let calls = if tool.is_empty() {
            &[]
        } else {
            calls.as_slice()
        };
        self.client_calls(client, url, calls).await
    }

    /// Lists the tools at `url` and makes the calls one after the other, in one session where the
    /// client keeps one (the Inspector connects anew each time).
    ///
    /// # Errors
    /// The client cannot be run, cannot connect or list, or takes too long; the error carries what
    /// it wrote. A call that fails is no error but its result.
    pub async fn client_calls(
        &self,
        client: Client,
        url: &str,
        calls: &[(&str, Value)],
    ) -> Result<ClientReport> {
        let run = async {
            if client.is_inspector() {
                return self.inspect(client, url, calls).await;
            }
            let output = self
                .command(client, url, calls)?
                .run(RUN_DEADLINE)
                .await?
                .ok()?;
            let line = output.lines().last().unwrap_or_default();
            serde_json::from_str(line).with_context(|| format!("it wrote: {output}"))
        };
        run.await.with_context(|| format!("{client:?} at {url}"))
    }

    /// Runs the client that lists and calls everything, in the era that the conformance suite's
    /// variables in the environment name; what it wrote.
    ///
    /// # Errors
    /// It cannot connect, or takes too long.
    pub async fn generic_client(&self, url: &str) -> Result<String> {
        let script = self.script("client-conformance.mjs");
        self.node(script).arg(url).run(RUN_DEADLINE).await?.ok()
    }

    fn command(&self, client: Client, url: &str, calls: &[(&str, Value)]) -> Result<Launch> {
        let calls = serde_json::to_string(calls)?;
        let mode = client.mode();
        Ok(match client {
            Client::TsV1 | Client::TsV1Sse => {
                self.node(self.script("client-ts-v1.mjs"))
                    .args([url, &calls, "--transport", mode])
            }
            Client::TsV2Auto | Client::TsV2Legacy | Client::TsV2Modern => self
                .node(self.script("client-ts-v2.mjs"))
                .args([url, &calls, "--mode", mode]),
            Client::Py1Http | Client::Py1Sse => Launch::new(self.python("py1", "python"))
                .arg(self.script("client_py1.py"))
                .args([url, &calls, mode]),
            Client::Py2Auto | Client::Py2Legacy | Client::Py2Modern => {
                Launch::new(self.python("py2", "python"))
                    .arg(self.script("client_py2.py"))
                    .args([url, &calls, mode])
            }
            Client::InspectorLegacy | Client::InspectorAuto | Client::InspectorModern => {
                anyhow::bail!("the Inspector makes one request per run")
            }
        })
    }

    async fn inspect(
        &self,
        client: Client,
        url: &str,
        calls: &[(&str, Value)],
    ) -> Result<ClientReport> {
        let listed = self
            .inspector(client, url, &["--method", "tools/list"])
            .await?;
        let entries = listed["tools"]
            .as_array()
            .context("the list holds no tools")?;
        let names = entries
            .iter()
            .filter_map(|tool| tool["name"].as_str().map(str::to_owned));
        let mut report = ClientReport {
            tools: names.collect(),
            results: Vec::new(),
        };
        for (tool, arguments) in calls {
            let pairs = arguments
                .as_object()
                .into_iter()
                .flat_map(Map::iter)
                .map(pair);
            let mut words = vec!["--method".to_owned(), "tools/call".to_owned()];
            words.extend(["--tool-name".to_owned(), (*tool).to_owned()]);
            words.extend(pairs.flat_map(|pair| ["--tool-arg".to_owned(), pair]));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let result = self.inspector(client, url, &words).await;
            let failed = |error: anyhow::Error| serde_json::json!({"failed": format!("{error:#}")});
            report.results.push(result.unwrap_or_else(failed));
        }
        Ok(report)
    }

    /// One request by the Inspector's command line; its exit code is 5 for a result that
    /// `isError`, which is a result all the same.
    pub(super) async fn inspector(
        &self,
        client: Client,
        url: &str,
        words: &[&str],
    ) -> Result<Value> {
        let home = tempfile::tempdir().context("a folder for the Inspector's own files")?;
        let output = self
            .node(self.npm_bin("mcp-inspector"))
            .env("HOME", home.path())
            .args([
                "--cli",
                url,
                "--transport",
                "http",
                "--format",
                "json",
                "-q",
            ])
            .args(["--protocol-era", client.mode()])
            .args(words)
            .run(RUN_DEADLINE)
            .await?;
        let said: Value = serde_json::from_str(output.stdout.trim())
            .with_context(|| format!("it wrote: {} {}", output.stdout, output.stderr))?;
        ensure!(
            said["result"].is_object(),
            "{}: {said} {}",
            output.status,
            output.stderr.trim()
        );
        Ok(said["result"].clone())
    }
}

pub(super) fn pair((name, value): (&String, &Value)) -> String {
    match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    }
}
