//! Who may import whom, as data. It must say what docs/ARCHITECTURE.md says, and nothing else.

/// Folder of each package's sources, and the name that its paths start with.
pub const PACKAGES: &[(&str, &str)] = &[
    ("vmcp/core/src/", "vmcp_core"),
    ("vmcp/src/", "vmcp"),
    ("crds/src/", "vmcp_crds"),
    ("operator/src/", "vmcp_operator"),
];

/// Which of our packages may depend on which.
pub const PACKAGE_EDGES: &[(&str, &[&str])] = &[
    ("vmcp-core", &[]),
    ("vmcp-crds", &[]),
    ("vmcp-operator", &["vmcp-crds"]),
    ("vmcp", &["vmcp-core", "vmcp-crds"]),
    ("vmcp-tests", &["vmcp", "vmcp-core", "vmcp-crds"]),
];

/// What the deciding package may link: codecs and hashes, nothing that acts.
pub const CORE_DEPENDENCIES: &[&str] = &[
    "base64",
    "memchr",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
];

/// Modules of `vmcp-core`, lowest first. A module may use those of an earlier row, and itself.
pub const CORE_ORDER: &[&[&str]] = &[
    &["time", "id"],
    &["limits"],
    &["reason", "text"],
    &["jsonrpc"],
    &["mcp"],
    &["backoff"],
    &["health"],
    &["catalog"],
    &["route"],
    &["session", "authz", "replay"],
    &["bridge"],
    &["report"],
];

/// Crates that speak HTTP.
pub const HTTP: &[&str] = &["hyper", "hyper_util", "http_body_util"];
/// Crates that speak to Kubernetes.
pub const KUBE: &[&str] = &["kube", "k8s_openapi"];
/// Parts of `kube` that hold or make a connection, or wait.
pub const CLIENTS: &[&str] = &[
    "kube::Client",
    "kube::Api",
    "kube::Config",
    "kube::client",
    "kube::config",
    "kube::api::Api",
    "kube::runtime",
];
/// Crates that wait or talk.
pub const EFFECTS: &[&str] = &["tokio", "tokio_util", "futures", "tracing"];
/// What a deciding module may not touch beyond that.
pub const AMBIENT: &[&str] = &[
    "prometheus",
    "rand",
    "std::fs",
    "std::net",
    "std::env",
    "std::io",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// One row of the table: nothing under `module` may name anything under `forbidden`, unless it is
/// under `except`.
pub struct Rule {
    pub module: &'static str,
    pub forbidden: Vec<&'static str>,
    pub except: &'static [&'static str],
}

fn rule(module: &'static str, forbidden: &[&[&'static str]]) -> Rule {
    Rule {
        module,
        forbidden: forbidden.concat(),
        except: &[],
    }
}

pub fn rules() -> Vec<Rule> {
    vec![
        rule("vmcp_core", &[HTTP, KUBE, EFFECTS, AMBIENT]),
        rule("vmcp_crds", &[HTTP, EFFECTS, CLIENTS]),
        rule(
            "vmcp::gateway",
            &[
                HTTP,
                KUBE,
                &["prometheus", "vmcp::backend", "vmcp::registry"],
            ],
        ),
        rule("vmcp::server", &[KUBE, &["vmcp::backend"]]),
        rule("vmcp::peer", &[KUBE, &["vmcp::backend", "vmcp::gateway"]]),
        // The port is the one file of the gateway that backends see: it is what they implement.
        Rule {
            except: &["vmcp::gateway::port"],
            ..rule(
                "vmcp::backend",
                &[KUBE, &["vmcp::gateway", "vmcp::registry"]],
            )
        },
        rule(
            "vmcp::backend::fresh",
            &[&["vmcp::backend::pool", "vmcp::backend::upstream"]],
        ),
        rule(
            "vmcp::prober",
            &[&[
                "vmcp::backend::pool",
                "vmcp::backend::upstream",
                "vmcp::gateway",
            ]],
        ),
        rule(
            "vmcp::discovery::kube",
            &[HTTP, &["vmcp::gateway", "vmcp::backend"]],
        ),
        rule("vmcp::status", &[HTTP, &["vmcp::gateway", "vmcp::backend"]]),
        rule("vmcp::admin", &[KUBE, &["vmcp::backend"]]),
    ]
}

/// Rows whose module comes with a later issue.
pub const NOT_YET: &[&str] = &[];

/// The pure steps of a controller, whichever controller it is.
pub const PURE_STEPS: &[&str] = &["validate", "build", "status"];
