//! The API of `vmcp.dev/v1alpha1`: both kinds, their conditions, phases, reasons,
//! names and labels, and the pure functions that both programs derive from them.
//!
//! Never talks to anything: no client, no clock, no file system, no logging. Time
//! comes in as an argument. It exists so that operator and gateway cannot read the
//! same object differently.

pub mod condition;
pub mod discover;
pub mod health;
pub mod labels;
pub mod mcpserver;
pub mod names;
pub mod phase;
pub mod pod;
pub mod reason;
pub mod schema;
pub mod tools;
pub mod virtualmcpserver;

pub use mcpserver::{MCPServer, MCPServerSpec, MCPServerStatus};
pub use virtualmcpserver::{VirtualMCPServer, VirtualMCPServerSpec, VirtualMCPServerStatus};

/// API group of both kinds.
pub const GROUP: &str = "vmcp.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
