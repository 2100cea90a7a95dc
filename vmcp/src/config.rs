//! What the flags of `vmcp serve` mean together.
//!
//! Owns the one decision between files and Kubernetes and the defaults that follow from it. Reads
//! no environment of its own: clap did.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{LogFormat, ServeArgs};
use crate::discovery::kube::Identity;
use crate::discovery::peers::PEER_PORT;

/// Settings of one `vmcp serve`.
#[derive(Clone, Debug)]
pub struct Config {
    pub origin: Origin,
    /// Name of this replica: identity in the Lease and towards the other replicas.
    pub pod: String,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub log_format: LogFormat,
    pub drain: Duration,
    pub session_idle: Duration,
    pub session_max_age: Duration,
    pub allow_hosts: Vec<String>,
    /// Folder of the keys that all replicas share.
    pub session_keys: Option<PathBuf>,
    /// Where other replicas come in; `None` for a gateway of one.
    pub peer_listen: Option<SocketAddr>,
    /// Names the replicas where no cluster does.
    pub peers_file: Option<PathBuf>,
    pub ready_file: Option<PathBuf>,
    pub cache: CacheDir,
}

/// Where the last good lists are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheDir {
    None,
    At(PathBuf),
    /// In a folder of the gateway's name below this one.
    Below(PathBuf),
}

impl CacheDir {
    fn of(args: &ServeArgs) -> Self {
        let home = args.home.as_ref().map(|home| home.join(".cache"));
        // A relative path is no path here, says the standard that names the variable.
        let shared = args.cache_home.clone().filter(|path| path.is_absolute());
        match (&args.cache_dir, shared.or(home)) {
            (Some(path), _) if path.as_os_str() == "none" || path.as_os_str().is_empty() => {
                Self::None
            }
            (Some(path), _) => Self::At(path.clone()),
            (None, Some(path)) if !args.files.is_empty() => Self::Below(path.join("vmcp")),
            (None, _) => Self::None,
        }
    }

    /// The folder of the gateway of this name.
    #[must_use]
    pub fn of_gateway(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::At(path) => Some(path.clone()),
            Self::Below(path) => Some(path.join(name)),
        }
    }
}

/// Where the objects come from.
#[derive(Clone, Debug)]
pub enum Origin {
    Files(Vec<PathBuf>),
    Kubernetes(Identity),
}

/// Flags that make no sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("say where the objects are: -f PATH, or --namespace NS --name NAME")]
    NoOrigin,
}

impl TryFrom<ServeArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: ServeArgs) -> Result<Self, ConfigError> {
        let cache = CacheDir::of(&args);
        let pod = args
            .pod_name
            .unwrap_or_else(|| format!("process-{}", std::process::id()));
        let (origin, host) = match (args.files.is_empty(), args.namespace, args.name) {
            (false, _, _) => (Origin::Files(args.files), [127, 0, 0, 1]),
            (true, Some(namespace), Some(name)) => {
                let uid = args.uid.filter(|uid| !uid.is_empty());
                let identity = Identity {
                    namespace,
                    name,
                    uid,
                };
                (Origin::Kubernetes(identity), [0, 0, 0, 0])
            }
            _ => return Err(ConfigError::NoOrigin),
        };
        let in_cluster = matches!(origin, Origin::Kubernetes(_));
        // Ids that open nowhere else need no neighbours.
        let replicated = args.session_keys.is_some() && (in_cluster || args.peers.is_some());
        let peer_listen = replicated.then(|| {
            let default = SocketAddr::from((host, PEER_PORT));
            args.peer_listen.unwrap_or(default)
        });
        Ok(Self {
            origin,
            pod,
            session_keys: args.session_keys,
            peer_listen,
            peers_file: args.peers.filter(|_| !in_cluster),
            listen: args
                .listen
                .unwrap_or_else(|| SocketAddr::from((host, 8080))),
            admin: args.admin.unwrap_or_else(|| SocketAddr::from((host, 9090))),
            log_format: args.log_format,
            drain: Duration::from_secs(args.drain_seconds),
            session_idle: Duration::from_secs(args.session_idle_seconds),
            session_max_age: Duration::from_secs(args.session_max_seconds),
            allow_hosts: args.allow_hosts,
            ready_file: args.ready_file,
            cache,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let flags = ["vmcp", "serve"].iter().chain(flags);
        match Cli::try_parse_from(flags).unwrap().command {
            Command::Serve(args) => Config::try_from(*args),
            Command::Probe(_) => unreachable!("the flags say serve"),
        }
    }

    #[test]
    fn files_listen_on_loopback_and_kubernetes_everywhere() {
        let files = config(&["-f", "x.yaml"]).unwrap();
        let pod = config(&["--namespace", "a", "--name", "b"]).unwrap();

        assert!(files.listen.ip().is_loopback() && files.admin.ip().is_loopback());
        assert!(pod.listen.ip().is_unspecified());
        assert!(matches!(pod.origin, Origin::Kubernetes(_)));
    }

    /// Replicas speak to each other only if they share keys.
    #[test]
    fn only_replicas_with_common_keys_have_a_peer_port() {
        let alone = config(&["--namespace", "a", "--name", "b"]).unwrap();
        let keys = ["--session-keys", "k"];
        let pod = config(&[&["--namespace", "a", "--name", "b"], &keys[..]].concat()).unwrap();
        let files = config(&[&["-f", "x", "--peers", "p"], &keys[..]].concat()).unwrap();
        let single = config(&[&["-f", "x"], &keys[..]].concat()).unwrap();

        assert_eq!((alone.peer_listen, single.peer_listen), (None, None));
        assert_eq!(pod.peer_listen, Some(([0, 0, 0, 0], 9091).into()));
        assert_eq!(files.peer_listen, Some(([127, 0, 0, 1], 9091).into()));
        assert!(pod.peers_file.is_none() && files.peers_file.is_some());
    }

    /// Only a gateway from files has a place of its own for its lists, and each can be told one.
    #[test]
    fn lists_are_kept_where_the_flags_say() {
        let home = ["--cache-home", "/c", "--home", "/h"];
        let of = |flags: &[&str]| {
            let config = config(&[flags, &home[..]].concat()).unwrap();
            config.cache.of_gateway("all")
        };
        let pod = ["--namespace", "a", "--name", "b"];

        assert_eq!(of(&["-f", "x"]), Some("/c/vmcp/all".into()));
        assert_eq!(of(&["-f", "x", "--cache-dir", "/d"]), Some("/d".into()));
        assert_eq!(of(&["-f", "x", "--cache-dir", "none"]), None);
        assert_eq!(
            of(&[&pod[..], &["--cache-dir", "/d"]].concat()),
            Some("/d".into())
        );
        if std::env::var_os("VMCP_CACHE_DIR").is_none() {
            assert_eq!(of(&pod), None);
        }
    }

    #[test]
    fn without_an_origin_there_is_nothing_to_serve() {
        assert_eq!(
            config(&["--namespace", "a"]).unwrap_err(),
            ConfigError::NoOrigin
        );
    }
}
