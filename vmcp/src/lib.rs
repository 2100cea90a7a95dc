//! The data plane: an aggregating MCP gateway and its tools.
//!
//! `vmcp serve` joins many MCP servers into one endpoint; `vmcp probe` makes the gateway's own
//! health check once, for a person or a kubelet. Data flows one way: discovery and prober feed the
//! registry, the registry publishes a snapshot, everything else reads it.

pub mod metrics;

pub mod snapshot;

pub mod gateway;

pub mod backend;

pub mod server;

pub mod admin;

pub mod cli;

pub mod clock;

pub mod config;

pub mod discovery;
mod keep_alive;

pub mod alarm;
pub mod lanes;
pub mod near;

pub mod peer;
mod placed;
pub mod pods;

pub mod probe;

pub mod prober;

pub mod registry;

pub mod serve;
pub mod shelf;

pub mod status;
pub mod table;
