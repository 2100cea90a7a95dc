//! `VirtualMCPServer`: many MCP servers behind one endpoint.
//!
//! Owns the shape of `spec` and `status` and the defaults that the schema announces.

mod spec;
mod status;

pub use spec::{
    Aggregation, BackendRef, Backends, ConflictResolution, ConflictStrategy, GatewayService,
    ServiceType, VirtualMCPServer, VirtualMCPServerSpec,
};
pub use status::{DiscoveredBackend, VirtualMCPServerStatus};
