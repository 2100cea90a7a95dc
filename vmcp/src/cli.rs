//! The command line of `vmcp`.
//!
//! Owns flags, their defaults and their help. Never opens anything: what the flags mean together is
//! settled in [`crate::config`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Many MCP servers, one endpoint.
#[derive(Clone, Debug, Parser)]
#[command(name = "vmcp", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve the backends of one VirtualMCPServer behind one endpoint
    Serve(Box<ServeArgs>),
    /// Check one MCP server once, the way the gateway does
    Probe(Box<ProbeArgs>),
}

/// Flags of `vmcp serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// File or folder with MCPServer and VirtualMCPServer objects (YAML, JSON); watched; repeatable
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Namespace of the VirtualMCPServer
    #[arg(long, env = "VMCP_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// Name of the VirtualMCPServer
    #[arg(long, env = "VMCP_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// UID of the VirtualMCPServer: no other one of that name is served
    #[arg(long, env = "VMCP_UID", value_name = "UID")]
    pub uid: Option<String>,
    /// Name of this pod, the identity in the Lease
    #[arg(long, env = "POD_NAME", value_name = "POD")]
    pub pod_name: Option<String>,
    /// Address for MCP clients [default: 0.0.0.0:8080, with -f 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of health, status and metrics [default: 0.0.0.0:9090, with -f 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Folder of session keys, 32 bytes a file: the first by name seals, all open
    /// [default: a key of its own, for a gateway of one replica]
    #[arg(long, env = "VMCP_SESSION_KEYS", value_name = "DIR")]
    pub session_keys: Option<PathBuf>,
    /// Address for the other replicas [default: 0.0.0.0:9091 in Kubernetes, 127.0.0.1:9091
    /// with --peers FILE]
    #[arg(long, value_name = "ADDR", requires = "session_keys")]
    pub peer_listen: Option<SocketAddr>,
    /// With -f: file that names the replicas, `POD HOST:PORT [unready]` a line; watched
    #[arg(long, value_name = "FILE", requires = "session_keys")]
    pub peers: Option<PathBuf>,
    /// Folder where the last good lists of backends are kept over a restart, or none
    /// [default: none, with -f a folder of the VirtualMCPServer's name in ~/.cache/vmcp]
    #[arg(long, env = "VMCP_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    #[arg(long, env = "XDG_CACHE_HOME", hide = true)]
    pub cache_home: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true)]
    pub home: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Time that a stop gives to calls in flight
    #[arg(long, default_value_t = 75, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=3660))]
    pub drain_seconds: u64,
    /// A session that nobody uses for this long loses its state; its id stays good
    #[arg(long, default_value_t = vmcp_core::limits::SESSION_IDLE.as_secs(), value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub session_idle_seconds: u64,
    /// A session ends this long after it was opened, however busy it is; its id is good no more
    #[arg(long, default_value_t = vmcp_core::limits::SESSION_MAX_AGE.as_secs(), value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub session_max_seconds: u64,
    /// Host header to accept beside those of the spec; repeatable
    #[arg(long = "allow-host", value_name = "HOST")]
    pub allow_hosts: Vec<String>,
    /// Write {"listen": "ip:port", "admin": "ip:port"} here once both are bound; with replicas
    /// also "peer"
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
}

/// Flags of `vmcp probe`.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// Where the server is, for example http://127.0.0.1:8080/mcp
    #[arg(value_name = "URL")]
    pub url: url::Url,
    #[arg(long, value_enum, default_value_t = ProtocolArg::Auto)]
    pub protocol: ProtocolArg,
    #[arg(long, value_enum, default_value_t = TransportArg::StreamableHttp)]
    pub transport: TransportArg,
    /// Host header to send instead of the URL's
    #[arg(long, value_name = "HOST")]
    pub host_header: Option<String>,
    /// Deadline of the whole check
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub timeout: Duration,
    /// File that remembers the health session between runs
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    Auto,
    Modern,
    Legacy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportArg {
    StreamableHttp,
    Sse,
}

/// `5s`, `500ms`, or `5` for seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no time: write 5s or 500ms");
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, Duration::from_millis(1)),
        None => (
            text.strip_suffix('s').unwrap_or(text),
            Duration::from_secs(1),
        ),
    };
    let count: u32 = digits.parse().map_err(|_| refused())?;
    if count == 0 {
        return Err("the time must be longer than nothing".to_owned());
    }
    unit.checked_mul(count).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Build 8: wrong flags end with clap's usage text and exit code 2.
    #[test]
    fn wrong_flags_are_usage_errors() {
        for wrong in [
            &["vmcp", "serve", "--listen", "nowhere"][..],
            &["vmcp", "serve", "--drain-seconds", "4000"],
            &["vmcp", "probe", "no url"],
            &["vmcp", "probe", "http://x", "--timeout", "soon"],
            &["vmcp", "fly"],
        ] {
            let error = Cli::try_parse_from(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}: {error}");
        }
    }

    #[test]
    fn times_are_read_in_seconds_and_milliseconds() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("0s").is_err() && duration("-1s").is_err());
    }
}
