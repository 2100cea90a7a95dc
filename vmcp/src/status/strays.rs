//! Entries of `status.discoveredBackends` that an apply of ours cannot remove.
//!
//! Owns the JSON patch that removes them. An apply only takes back what its own manager owns; an
//! entry that the operator wrote while the gateway was away, and still owns because it is down
//! now, would stay for ever (R2.8). Pure.

use std::collections::BTreeSet;

use json_patch::Patch;
use serde_json::{Value, json};

use vmcp_core::report::Report;
use vmcp_crds::VirtualMCPServer;

/// The patch that removes every entry of `live` that the report does not have. Each removal tests
/// that the entry is still the one that was looked at; the last goes first, so that no removal
/// moves another. `None` where there is nothing to remove.
pub(super) fn removal(live: &VirtualMCPServer, report: &Report) -> Option<Patch> {
    let wanted: BTreeSet<&str> = report
        .discovered_backends
        .iter()
        .map(|backend| backend.name.as_str())
        .collect();
    let entries = &live.status.as_ref()?.discovered_backends;
    let strays = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| !wanted.contains(&*entry.name));
    let removals: Vec<Value> = strays
        .rev()
        .flat_map(|(position, entry)| {
            let path = format!("/status/discoveredBackends/{position}");
            let is_it =
                json!({ "op": "test", "path": format!("{path}/name"), "value": entry.name });
            [is_it, json!({ "op": "remove", "path": path })]
        })
        .collect();
    if removals.is_empty() {
        return None;
    }
    let uid = json!({ "op": "test", "path": "/metadata/uid", "value": live.metadata.uid });
    let operations: Vec<Value> = std::iter::once(uid).chain(removals).collect();
    // Our own operations are well formed; if not, nothing is removed rather than something else.
    serde_json::from_value(Value::Array(operations)).ok()
}

#[cfg(test)]
mod tests {
    use vmcp_core::health::Observed;
    use vmcp_core::id::BackendId;
    use vmcp_core::report::{self, BackendFacts, Configuration, FirstRound, Situation};

    use super::*;

    fn live(names: &[&str]) -> VirtualMCPServer {
        let mut object = VirtualMCPServer::default();
        object.metadata.uid = Some("u".to_owned());
        let entries: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        object.status = serde_json::from_value(json!({ "discoveredBackends": entries })).unwrap();
        object
    }

    fn reporting(names: &[&str]) -> Report {
        let observed = Observed::default();
        let ids: Vec<BackendId> = names.iter().map(|name| BackendId::new(name, "u")).collect();
        let facts: Vec<BackendFacts<'_>> = ids
            .iter()
            .map(|id| BackendFacts {
                id,
                url: None,
                transport: "streamable-http",
                observed: &observed,
                tools: 0,
                catalog_hash: None,
                last_transition_unix_ms: 0,
            })
            .collect();
        let situation = Situation {
            observed_generation: 1,
            min_ready_backends: 1,
            first_round: FirstRound::Done,
            configuration: Configuration::Valid,
            conflicts: &[],
            tool_count: 0,
        };
        report::build(&facts, &situation)
    }

    /// R2.8: what another manager still owns is removed all the same, the last entry first.
    #[test]
    fn entries_that_the_report_does_not_have_are_removed_from_the_end() {
        let patch = removal(&live(&["a", "b", "c", "d"]), &reporting(&["b", "d"])).unwrap();

        assert_eq!(
            serde_json::to_value(patch).unwrap(),
            json!([
                { "op": "test", "path": "/metadata/uid", "value": "u" },
                { "op": "test", "path": "/status/discoveredBackends/2/name", "value": "c" },
                { "op": "remove", "path": "/status/discoveredBackends/2" },
                { "op": "test", "path": "/status/discoveredBackends/0/name", "value": "a" },
                { "op": "remove", "path": "/status/discoveredBackends/0" },
            ])
        );
    }

    #[test]
    fn nothing_is_patched_where_nothing_is_left_over() {
        assert_eq!(removal(&live(&["a"]), &reporting(&["a", "b"])), None);
    }
}
