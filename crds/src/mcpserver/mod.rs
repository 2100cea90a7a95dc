//! `MCPServer`: one MCP server, wherever it runs.
//!
//! Owns the shape of `spec` and `status` and the defaults that the schema announces.
//! Never validates: what a schema can see, the API server refuses; what it cannot,
//! `discover` and the operator turn into conditions.

mod spec;
mod status;
mod workload;

pub use spec::{
    Catalog, CatalogPolicy, MCPServer, MCPServerSpec, Protocol, Remote, ServiceRef, SessionLoss,
    Timeouts, Transport,
};
pub use status::{MCPServerStatus, ServerInfo};
pub use workload::{ImagePullPolicy, Workload, WorkloadSecurityContext, WorkloadVolume};
