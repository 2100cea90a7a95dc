//! The control plane: turns `MCPServer` into running pods and `VirtualMCPServer` into a
//! gateway, owns their conditions and phases, and removes what was deleted.
//!
//! Opens no connection to any MCP server and reads no Secret: health is what gateways
//! report. Each controller is five steps (`dereference`, `validate`, `build`, `apply`,
//! `status`) joined by a short driver; `apply` is the only writer.

pub mod admin;
pub mod apply;
pub mod cache;
pub mod cli;
pub mod client;
pub mod ensured;
pub mod events;
pub mod fields;
pub mod guard;
pub mod leader;
pub mod lease;
pub mod limits;
pub mod look;
pub mod mcpserver;
pub mod metrics;
pub mod owner;
pub mod patch;
pub mod pod_spec;
pub mod pods;
pub mod queue;
pub mod run;
pub mod settled;
pub mod transitions;
pub mod virtualmcpserver;
pub mod watches;
pub mod worker;
pub mod world;
