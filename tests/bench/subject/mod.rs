//! What is measured: the direct way, the raw reference, our gateway and its rivals.
//!
//! Owns how each is found and started before a fleet. A rival that is not installed is named as
//! absent; one that cannot serve a pair of eras is named as such. Never leaves one out silently.

mod rivals;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use vmcp_tests::eventually::eventually;
use vmcp_tests::process::{Launch, Program};
use vmcp_tests::stack::GatewayProcess;

use crate::backend;
use crate::check;
use crate::client::{Client, Place};
use crate::fleet::Fleet;
use crate::load::Target;
use crate::wire::{self, Era};

const START: Duration = Duration::from_secs(30);

/// How long a subject may take to list all tools of its backends.
const LISTED: Duration = Duration::from_secs(20);

/// A rival that has not listed everything by then does not speak this pair of eras.
const LISTED_RIVAL: Duration = Duration::from_secs(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Direct,
    Reference,
    Gateway,
    McpProxy,
    ToolHive,
    AgentGateway,
    FastMcp,
}

/// A subject before a fleet.
#[derive(Debug)]
pub struct Running {
    pub place: Place,
    program: Option<Program>,
}

impl Running {
    pub(crate) fn new(place: Place, program: Program) -> Self {
        Self {
            place,
            program: Some(program),
        }
    }

    /// Its process, if there is one between client and backend.
    pub fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self) -> String {
        let tail = self.program.as_ref().map(Program::log_tail);
        tail.unwrap_or_default()
    }
}

impl Subject {
    pub const OURS: [Self; 3] = [Self::Direct, Self::Reference, Self::Gateway];
    pub const RIVALS: [Self; 4] = [
        Self::McpProxy,
        Self::ToolHive,
        Self::AgentGateway,
        Self::FastMcp,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Reference => "reference",
            Self::Gateway => "vmcp",
            Self::McpProxy => "mcp-proxy (crate)",
            Self::ToolHive => "ToolHive vmcp",
            Self::AgentGateway => "agentgateway",
            Self::FastMcp => "fastmcp proxy",
        }
    }

    pub fn is_rival(self) -> bool {
        Self::RIVALS.contains(&self)
    }

    /// Why it cannot be measured here, if it cannot.
    pub fn absent(self) -> Option<String> {
        if self.is_rival() {
            rivals::locate(self).err().map(|why| why.to_string())
        } else {
            None
        }
    }

    pub async fn start(self, fleet: &Fleet, folder: &Path) -> Result<Running> {
        std::fs::create_dir_all(folder)?;
        match self {
            Self::Direct => Ok(Running {
                place: Place::at(fleet.addresses[0]),
                program: None,
            }),
            Self::Reference => reference(fleet, folder).await,
            Self::Gateway => gateway(fleet, folder).await,
            _ => rivals::start(self, fleet, folder).await,
        }
    }

    /// All tools as the subject exposes them, once it exposes all; tool by tool within a backend.
    pub async fn targets(self, running: &Running, fleet: &Fleet, era: Era) -> Result<Vec<Target>> {
        if self == Self::Direct {
            return Ok((0..fleet.tools).map(|tool| bare(0, tool)).collect());
        }
        let limit = if self.is_rival() {
            LISTED_RIVAL
        } else {
            LISTED
        };
        let listed = eventually("all tools are listed", limit, || async {
            all_targets(&running.place, era, fleet.count(), fleet.tools).await
        });
        listed.await.with_context(|| running.log_tail())
    }
}

/// All tools that are exposed at a place; an error if one is missing.
pub async fn all_targets(
    place: &Place,
    era: Era,
    backends: usize,
    tools: usize,
) -> Result<Vec<Target>> {
    let names = names(place, era).await?;
    let mut targets = Vec::new();
    for tool in 0..tools {
        for backend in 0..backends {
            targets.push(exposed(&names, backend, tool)?);
        }
    }
    Ok(targets)
}

fn bare(backend: usize, tool: usize) -> Target {
    Target {
        exposed: wire::tool_name(tool),
        backend: wire::backend_name(backend),
        tool,
    }
}

/// Every subject puts the backend's name before the tool's; what stands between differs.
fn exposed(names: &[String], backend: usize, tool: usize) -> Result<Target> {
    let bare = bare(backend, tool);
    let fits = |name: &&String| name.starts_with(&bare.backend) && name.ends_with(&bare.exposed);
    match names.iter().find(fits) {
        Some(name) => Ok(Target {
            exposed: name.clone(),
            ..bare
        }),
        None => bail!(
            "{} of {} is not among {} tools",
            bare.exposed,
            bare.backend,
            names.len()
        ),
    }
}

async fn names(place: &Place, era: Era) -> Result<Vec<String>> {
    let mut client = Client::open(place, era).await?;
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let (id, body) = client.list(cursor.as_deref()).await?;
        let (names, next) = check::names(&body, id)?;
        all.extend(names);
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    let _ = client.end().await;
    Ok(all)
}

async fn reference(fleet: &Fleet, folder: &Path) -> Result<Running> {
    let ready = folder.join("ready.json");
    let backends: Vec<String> = fleet.addresses.iter().map(ToString::to_string).collect();
    let program = Launch::new(std::env::current_exe()?)
        .args(["reference", "--kind", fleet.kind.word()])
        .args(["--backends", &backends.join(",")])
        .arg("--ready-file")
        .arg(&ready)
        .start(folder.join("log"))?;
    let ports: Vec<u16> = eventually("the reference listens", START, || async {
        let text = std::fs::read(&ready).with_context(|| program.log_tail())?;
        Ok(serde_json::from_slice(&text)?)
    })
    .await?;
    Ok(Running::new(
        Place::at(backend::addresses(&ports)[0]),
        program,
    ))
}

/// Our gateway, from files as a user would write them; nothing is set but what must be.
async fn gateway(fleet: &Fleet, folder: &Path) -> Result<Running> {
    let files = folder.join("objects");
    std::fs::create_dir_all(&files)?;
    for (index, address) in fleet.addresses.iter().enumerate() {
        let name = wire::backend_name(index);
        let url = format!("http://{address}{}", wire::PATH);
        let object = json!({
            "apiVersion": "vmcp.dev/v1alpha1", "kind": "MCPServer",
            "metadata": { "name": name },
            "spec": { "remote": { "url": url, "allowInsecure": true } },
        });
        std::fs::write(files.join(format!("{name}.json")), object.to_string())?;
    }
    let object = json!({
        "apiVersion": "vmcp.dev/v1alpha1", "kind": "VirtualMCPServer",
        "metadata": { "name": "bench" },
        "spec": { "backends": { "selector": {} } },
    });
    std::fs::write(files.join("gateway.json"), object.to_string())?;
    let gateway = GatewayProcess::from_files(&files, &[], folder).await?;
    Ok(Running::new(Place::at(gateway.listen), gateway.program))
}

/// The folder that `make bench-rivals` fills.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("VMCP_CACHE") {
        return Ok(folder.into());
    }
    if let Some(folder) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(Path::new(&folder).join("vmcp"));
    }
    let home = std::env::var_os("HOME").context("neither VMCP_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/vmcp"))
}
