//! Adapters of other people's gateways: where they lie, and their configuration for a fleet.
//!
//! Owns nothing but configuration as their own documentation tells it. Never tunes one up or down:
//! a rival runs as it comes, with logs as quiet as it allows.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use vmcp_tests::eventually::eventually;
use vmcp_tests::process::{Launch, Program};

use super::{Running, Subject, cache};
use crate::client::Place;
use crate::fleet::Fleet;
use crate::wire;

const START: Duration = Duration::from_secs(60);

/// Where a rival lies, or why it is not here.
pub fn locate(subject: Subject) -> Result<PathBuf> {
    let folder = cache()?.join("rivals");
    let path = match subject {
        Subject::McpProxy => folder.join("cargo/bin/mcp-proxy"),
        Subject::ToolHive => folder.join("go/bin/vmcp"),
        Subject::AgentGateway => folder.join("agentgateway"),
        Subject::FastMcp => folder.join("peers/py2/bin/python"),
        _ => bail!("{} is no rival", subject.name()),
    };
    let how = if subject == Subject::AgentGateway {
        "no package registry carries it; put its program there"
    } else {
        "run `make bench-rivals`"
    };
    let place = path.strip_prefix(cache()?)?.display();
    ensure!(path.is_file(), "absent: {place} in the cache folder: {how}");
    Ok(path)
}

pub async fn start(subject: Subject, fleet: &Fleet, folder: &Path) -> Result<Running> {
    let program = locate(subject)?;
    let port = free_port()?;
    let launch = match subject {
        Subject::McpProxy => mcp_proxy(program, fleet, port, folder)?,
        Subject::ToolHive => toolhive(program, fleet, port, folder)?,
        Subject::AgentGateway => agentgateway(program, fleet, port, folder)?,
        Subject::FastMcp => fastmcp(program, fleet, port, folder)?,
        _ => bail!("{} is no rival", subject.name()),
    };
    let program = launch.start(folder.join("log"))?;
    listening(&program, port).await?;
    let address = ([127, 0, 0, 1], port).into();
    let path = if subject == Subject::McpProxy {
        "/"
    } else {
        wire::PATH
    };
    let place = Place {
        address,
        path: path.to_owned(),
    };
    Ok(Running::new(place, program))
}

/// A port that was free a moment ago; rivals cannot tell which one they took.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

async fn listening(program: &Program, port: u16) -> Result<()> {
    let listens = eventually("it listens", START, || async {
        if let Some(status) = program.exited()? {
            return Ok(Err(status));
        }
        TcpStream::connect(("127.0.0.1", port)).await?;
        Ok(Ok(()))
    });
    match listens.await? {
        Ok(()) => Ok(()),
        Err(status) => bail!("it ended with {status}: {}", program.log_tail()),
    }
}

fn servers(fleet: &Fleet) -> impl Iterator<Item = (String, String)> {
    let named = fleet.addresses.iter().enumerate();
    named.map(|(index, address)| {
        let url = format!("http://{address}{}", wire::PATH);
        (wire::backend_name(index), url)
    })
}

fn mcp_proxy(program: PathBuf, fleet: &Fleet, port: u16, folder: &Path) -> Result<Launch> {
    let mut config = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"_\"\n\n\
         [proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\n\
         [observability]\nlog_level = \"error\"\n"
    );
    for (name, url) in servers(fleet) {
        let _ = write!(
            config,
            "\n[[backends]]\nname = \"{name}\"\ntransport = \"http\"\nurl = \"{url}\"\n"
        );
    }
    let file = folder.join("proxy.toml");
    std::fs::write(&file, config)?;
    Ok(Launch::new(program).arg("--config").arg(file))
}

fn toolhive(program: PathBuf, fleet: &Fleet, port: u16, folder: &Path) -> Result<Launch> {
    let backends: Vec<Value> = servers(fleet)
        .map(|(name, url)| json!({ "name": name, "url": url, "transport": "streamable-http" }))
        .collect();
    let config = json!({
        "name": "bench",
        "groupRef": "bench",
        "backends": backends,
        "incomingAuth": { "type": "anonymous" },
        "outgoingAuth": { "source": "inline", "default": { "type": "unauthenticated" } },
        "aggregation": {
            "conflictResolution": "prefix",
            "conflictResolutionConfig": { "prefixFormat": "{workload}_" },
        },
    });
    // JSON is YAML.
    let file = folder.join("config.yaml");
    std::fs::write(&file, config.to_string())?;
    Ok(Launch::new(program)
        .arg("serve")
        .arg("--config")
        .arg(file)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()]))
}

fn agentgateway(program: PathBuf, fleet: &Fleet, port: u16, folder: &Path) -> Result<Launch> {
    let targets: Vec<Value> = servers(fleet)
        .map(|(name, url)| json!({ "name": name, "mcp": { "host": url } }))
        .collect();
    let config = json!({
        "binds": [{
            "port": port,
            "listeners": [{ "routes": [{ "backends": [{ "mcp": { "targets": targets } }] }] }],
        }],
    });
    let file = folder.join("config.yaml");
    std::fs::write(&file, config.to_string())?;
    Ok(Launch::new(program)
        .arg("--file")
        .arg(file)
        .env("RUST_LOG", "error"))
}

fn fastmcp(program: PathBuf, fleet: &Fleet, port: u16, folder: &Path) -> Result<Launch> {
    let mut members = Map::new();
    for (name, url) in servers(fleet) {
        members.insert(name, json!({ "url": url, "transport": "http" }));
    }
    let file = folder.join("servers.json");
    std::fs::write(&file, json!({ "mcpServers": members }).to_string())?;
    let script = vmcp_tests::sources::root()?.join("tests/bench/rivals/fastmcp_proxy.py");
    Ok(Launch::new(program)
        .arg(script)
        .arg(file)
        .arg(port.to_string()))
}
