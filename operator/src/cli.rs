//! The command line. Every option has a default that fits a pod.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Turns MCPServer and VirtualMCPServer objects into running servers and gateways.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "vmcp-operator", version)]
pub struct Options {
    /// Namespaces to serve, separated by commas; the whole cluster if absent.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = namespace)]
    pub namespaces: Vec<String>,
    /// Image of the gateways.
    #[arg(long, value_name = "IMAGE", default_value = concat!("vmcp:", env!("CARGO_PKG_VERSION")))]
    pub gateway_image: String,
    /// Address of /healthz, /readyz and /metrics; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    pub admin: SocketAddr,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Write the bound addresses there as JSON, once they are bound.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Namespace of the Lease for leader election; the kubeconfig's if absent.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub pod_namespace: Option<String>,
    /// Name of this replica; host name and process number if absent.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Longest name of a namespace: a DNS label.
const MAX_NAMESPACE: usize = 63;

fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: char| c != '-';
    let fits = (1..=MAX_NAMESPACE).contains(&text.len());
    if fits && text.chars().all(inner) && text.starts_with(edge) && text.ends_with(edge) {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is no name of a namespace"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Options;

    /// Build 8: wrong flags are refused with a usage text (exit code 2 is clap's).
    #[test]
    fn namespaces_are_a_list_of_names_and_anything_else_is_refused() {
        let parse = |value: &str| Options::try_parse_from(["vmcp-operator", "--namespaces", value]);

        assert_eq!(parse("a,b-1").unwrap().namespaces, ["a", "b-1"]);
        for wrong in ["", "a,,b", "A", "-a", "a/b"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        let defaults = Options::try_parse_from(["vmcp-operator"]).unwrap();
        assert!(defaults.namespaces.is_empty());
        assert_eq!(defaults.admin.port(), 9090);
    }
}
