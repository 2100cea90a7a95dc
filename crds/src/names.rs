//! Names of what our objects own. The schema limits our own names to
//! [`MAX_NAME`], so that every derived name stays a valid DNS label.

/// Longest name of an MCPServer or a VirtualMCPServer.
pub const MAX_NAME: usize = 40;
/// Shape of a name: a DNS label that starts with a letter, because Services insist on it.
pub const NAME_PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// Name of everything that the MCPServer `name` owns.
#[must_use]
pub fn owned_by_mcp_server(name: &str) -> String {
    format!("mcp-{name}")
}

/// Name of everything that the VirtualMCPServer `name` owns, its Lease included.
#[must_use]
pub fn owned_by_virtual_mcp_server(name: &str) -> String {
    format!("vmcp-{name}")
}

/// Host name of a Service for a client inside the cluster.
#[must_use]
pub fn service_host(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc")
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, owned_by_mcp_server, owned_by_virtual_mcp_server};

    /// Build 3: names of owned objects are valid DNS labels (63 characters), with room
    /// for the suffixes that controllers append (`-` + 10 + `-` + 5).
    #[test]
    fn the_longest_allowed_name_leaves_room_for_a_pod_suffix() {
        let longest = "a".repeat(MAX_NAME);

        assert!(owned_by_mcp_server(&longest).len() + 17 <= 63);
        assert!(owned_by_virtual_mcp_server(&longest).len() + 17 <= 63);
    }
}
