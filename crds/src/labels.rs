//! Label and annotation keys, and field managers: the one place where they are spelled.

/// The kind of program, for example `mcp-server`.
pub const NAME: &str = "app.kubernetes.io/name";
/// The object that the program belongs to.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The role inside the whole, for example `gateway`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The whole: always [`PART_OF_VMCP`].
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// Who writes the object: always [`MANAGED_BY_OPERATOR`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Value of [`PART_OF`].
pub const PART_OF_VMCP: &str = "vmcp";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_OPERATOR: &str = "vmcp-operator";
/// Value of [`NAME`] on what an MCPServer owns.
pub const NAME_MCP_SERVER: &str = "mcp-server";
/// Value of [`NAME`] on what a VirtualMCPServer owns.
pub const NAME_GATEWAY: &str = "vmcp-gateway";
/// Value of [`COMPONENT`] on what an MCPServer owns.
pub const COMPONENT_BACKEND: &str = "backend";
/// Value of [`COMPONENT`] on what a VirtualMCPServer owns.
pub const COMPONENT_GATEWAY: &str = "gateway";

/// Prefix of our own keys; nobody else may set labels under it.
pub const OWN_PREFIX: &str = "vmcp.dev/";
/// On what an MCPServer owns: its name.
pub const MCP_SERVER: &str = "vmcp.dev/mcpserver";
/// On what a VirtualMCPServer owns: its name.
pub const VIRTUAL_MCP_SERVER: &str = "vmcp.dev/virtualmcpserver";
/// Annotation of an object of ours: changing it rolls its pods.
pub const RESTARTED_AT: &str = "vmcp.dev/restartedAt";
/// Annotation of a VirtualMCPServer: changing it replaces the session keys of its gateway.
pub const ROTATE_SESSION_KEYS: &str = "vmcp.dev/rotateSessionKeys";
/// Annotation of a namespace: the Secrets that servers there may use.
pub const CONSUMABLE_SECRETS: &str = "vmcp.dev/consumable-secrets";

/// Field manager of everything that the operator writes.
pub const FIELD_MANAGER_OPERATOR: &str = "vmcp-operator";
/// Field manager of the served facts in a status, written by a gateway.
pub const FIELD_MANAGER_STATUS: &str = "vmcp-status";
